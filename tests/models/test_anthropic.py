"""The Anthropic wire against a server that checks what it is sent as strictly as the real one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from roost.log.content import (
    AssistantMessage,
    Audio,
    File,
    Image,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    Usage,
    UserMessage,
)
from roost.models.http_model import HttpModel
from roost.models.profile import Knob
from roost.models.request import (
    CallDelta,
    Completed,
    Failed,
    Price,
    Profile,
    Request,
    TextDelta,
    ThinkingDelta,
    ToolSpec,
)
from roost.providers.accounts import Models
from roost.stub.dialects.anthropic import DIALECT, signed
from roost.stub.dialects.base import Asked
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply
from roost.testing.models import ask, completed, failed, run, user
from roost.testing.scripted import Call

Make = Callable[..., HttpModel]
Raw = Callable[..., Awaitable[str]]
TOOLS = (ToolSpec("look", "Looks.", {"type": "object", "properties": {"path": {"type": "string"}}}),)
FULL = Reply(
    text="Grüße 世界 😀",
    thinking="let me think",
    sealed="c2VhbGVk",
    calls=(Call("look", {"path": "ä"}), Call("look", {"path": "b"})),
    usage=Usage(input=1000, output=50, cached=400, written=100, thinking=9),
    piece=3,
)
ORIGIN = "anthropic/default"


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_of_every_kind_of_part(stream: bool, model: Make) -> None:
    price = Price(input=3000, output=15000, cached=300, written=3750)
    with ProviderServer(lambda _: FULL, key="k") as server:
        made = model(server.url, "anthropic", key="k", profile=Profile(price=price))
        deltas, end = await run(made, ask(tools=TOOLS, stream=stream))
    assert isinstance(end, Completed)
    sealed, thinking, text, one, two = end.parts
    assert sealed == Thinking("", "c2VhbGVk", ORIGIN, redacted=True)
    assert thinking == Thinking("let me think", signed("let me think"), ORIGIN)
    assert text == Text(FULL.text)
    assert [json.loads(part.arguments) for part in (one, two)] == [{"path": "ä"}, {"path": "b"}]
    assert end.stop == "tool_calls"
    cost = 500 * 3000 + 400 * 300 + 100 * 3750 + 50 * 15000
    assert end.usage == Usage(1000, 50, 400, cost, written=100, thinking=9)
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == FULL.text
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == "let me think"
    calls = [d for d in deltas if isinstance(d, CallDelta)]
    assert [d.name for d in calls if d.name] == ["look", "look"]
    for index, part in enumerate((one, two)):
        assert "".join(d.arguments for d in calls if d.index == index) == part.arguments
    assert (len(deltas) > 10) is stream


async def test_reasoning_goes_back_as_it_came_and_to_nobody_else(model: Make) -> None:
    with ProviderServer(lambda _: FULL) as server:
        end = await completed(model(server.url, "anthropic"), ask(tools=TOOLS))
        one, two = (part for part in end.parts if isinstance(part, ToolCall))
        results = (ToolMessage(one.id, "look", (Text("ok"),)), ToolMessage(two.id, "look", (), error=True))
        turn = ask(user("Hello"), AssistantMessage(end.parts), *results, tools=TOOLS)
        await completed(model(server.url, "anthropic"), turn)
        kinds = [block["type"] for block in server.provider.bodies[-1]["messages"][1]["content"]]
        assert kinds == ["redacted_thinking", "thinking", "text", "tool_use", "tool_use"]
        assert [block.get("is_error") for block in server.provider.bodies[-1]["messages"][2]["content"]] == [None, True]
        for kind in ("anthropic", "openai_chat"):
            other = model(server.url, kind, profile=Profile(thinking_back="none"))
            foreign = AssistantMessage(
                (Thinking("deep", "other's", "gemini/default"), Thinking("open"), *end.parts[2:]),
            )
            await completed(other, ask(user("Hello"), foreign, *results, tools=TOOLS))
            assert "other's" not in json.dumps(server.provider.bodies[-1])
        assert server.stats.violations == 0


ODD: list[tuple[Message, ...]] = [
    (user(""),),
    (user(" \n"), AssistantMessage((Thinking("hm"),)), user("\ud83d")),
    (user("1"), user("2"), AssistantMessage((Text("a"),)), AssistantMessage((Text("b"),)), user("3")),
    (
        user("go"),
        AssistantMessage((ToolCall("functions.f:0", "rm -rf /", "{bad"), ToolCall("x" * 300, "g", "[1]"))),
        ToolMessage("functions.f:0", "rm -rf /", ()),
        ToolMessage("x" * 300, "g", (Text(""), Image("image/png", "aGk="))),
        user("and now?"),
    ),
    (
        UserMessage(
            (
                Text("see"),
                Image("image/png", url="https://example.org/a.png"),
                File("application/pdf", "aGk=", name="a.pdf"),
                Audio("audio/wav", "aGk="),
            )
        ),
    ),
]


@pytest.mark.parametrize("messages", ODD)
@pytest.mark.parametrize("effort", [None, "off", "high"])
async def test_any_conversation_is_sent_in_a_form_that_is_taken(
    messages: tuple[Message, ...], effort: Any, model: Make
) -> None:
    profile = Profile(images=True, files=True)
    with ProviderServer() as server:
        request = ask(*messages, tools=TOOLS, effort=effort, tool_choice="required", temperature=0.5)
        await completed(model(server.url, "anthropic", profile=profile), request)
        assert server.stats.violations == 0
        sent = server.provider.bodies[-1]
    assert "temperature" not in sent
    assert ("thinking" in sent) == (effort == "off")


async def sent(server: ProviderServer, made: HttpModel, request: Request) -> dict[str, Any]:
    await completed(made, request)
    return server.provider.bodies[-1]


async def test_knobs_are_the_profile_s(model: Make) -> None:
    def thinks(tokens: int) -> dict[str, Any]:
        return {"thinking": {"type": "enabled", "budget_tokens": tokens}}

    old = Profile(
        max_output=8000,
        knobs={
            "temperature": Knob(field="temperature", low=0, high=1),
            "effort": Knob(values={"low": thinks(2000), "high": thinks(60_000)}),
            "cache": None,
        },
    )
    with ProviderServer() as server:
        made = model(server.url, "anthropic", profile=old)
        assert (await sent(server, made, ask(temperature=1.7)))["temperature"] == 1
        assert server.provider.headers["anthropic-version"] == "2023-06-01"
        high = await sent(server, made, ask(effort="max", temperature=0.2))
        assert high["thinking"] == {"type": "enabled", "budget_tokens": 4000}
        assert "temperature" not in high
        assert server.provider.headers["anthropic-version"] == "2026-10-21"
        assert "thinking" not in await sent(server, made, ask(effort="high", max_output=900))
        assert "thinking" not in await sent(server, made, ask(effort="off"))
        # In the midst of another provider's turn there is no reasoning to go on from.
        turn = (user("go"), AssistantMessage((ToolCall("c", "look"),)), ToolMessage("c", "look", (Text("ok"),)))
        assert "thinking" not in await sent(server, made, ask(*turn, effort="high"))
        assert "cache_control" not in json.dumps(high)
        new = await sent(server, model(server.url, "anthropic"), ask(*turn, effort="medium", temperature=0.2))
        assert new["thinking"]["type"] == "adaptive"
        assert new["output_config"] == {"effort": "medium"}
        schema = {"type": "object", "properties": {"a": {"type": "string"}}}
        shaped = await sent(server, made, ask(output_schema=schema, stop=("END", " ")))
        assert shaped["output_config"]["format"]["schema"]["additionalProperties"] is False
        assert shaped["stop_sequences"] == ["END"]
        assert server.stats.violations == 0


async def test_what_stays_the_same_is_marked_for_the_cache(model: Make) -> None:
    def marked(body: dict[str, Any]) -> list[str]:
        blocks = [*body["system"], *(block for message in body["messages"] for block in message["content"])]
        return [block.get("text") or block["content"][0]["text"] for block in blocks if "cache_control" in block]

    talk: list[Message] = [user("one")]
    with ProviderServer() as server:
        made = model(server.url, "anthropic")
        first = await sent(server, made, ask(*talk, context=("Today.",)))
        assert marked(first) == ["Be brief.", "one"]
        call = AssistantMessage((ToolCall("c", "look"),))
        talk += [call, ToolMessage("c", "look", (Text("two"),))]
        assert marked(await sent(server, made, ask(*talk))) == ["Be brief.", "one", "two"]
        talk += [AssistantMessage((Text("ok"),)), user("three")]
        assert marked(await sent(server, made, ask(*talk))) == ["Be brief.", "two", "three"]
        assert server.stats.violations == 0


STATUSES = [
    (400, "prompt is too long: 210000 tokens > 200000 maximum", "context_overflow", False),
    (400, "input length and `max_tokens` exceed context limit: 1 + 2 > 2", "context_overflow", False),
    (400, "Your credit balance is too low to access the Anthropic API", "quota", False),
    (400, "max_tokens: field required", "bad_request", False),
    (401, "invalid x-api-key", "auth", False),
    (402, "billing", "quota", False),
    (403, "no", "auth", False),
    (404, "model: nothing", "bad_request", False),
    (413, "Request exceeds the maximum size", "context_overflow", False),
    (429, "slow down", "rate_limited", True),
    (500, "Internal server error", "overloaded", True),
    (529, "Overloaded", "overloaded", True),
]


@pytest.mark.parametrize(("status", "message", "code", "retryable"), STATUSES)
@pytest.mark.parametrize("kind", ["status", "error"])
async def test_errors_before_and_in_the_midst(
    kind: Any, status: int, message: str, code: str, retryable: bool, model: Make
) -> None:
    fault = Fault(kind=kind, status=status, message=message, at=500, retry_after="7")
    with ProviderServer(lambda _: Reply(text="half of it", fault=fault)) as server:
        end = await failed(model(server.url, "anthropic"))
    assert (end.error.code, end.error.retryable) == (code, retryable)
    assert message in end.error.message
    assert end.error.retry_after == (7.0 if kind == "status" and retryable else None)
    assert end.usage is not None
    assert (end.usage == Usage(cost=0)) == (kind == "status")


ANSWER = Reply(text="Grüße, 世界 😀! " * 3, thinking="hm", calls=(Call("look", {"path": "ä/b"}),), piece=7)
FRAMES = DIALECT.frames(ANSWER, Asked("scripted", True, [{}], {}))
SIZE = sum(map(len, FRAMES))
FINISHED = sum(map(len, FRAMES[:-1]))


@pytest.mark.parametrize("kind", ["reset", "close", "malformed", "stall"])
async def test_a_fault_at_a_byte_gives_the_whole_answer_or_a_typed_failure(kind: Any, model: Make) -> None:
    code = {"malformed": "malformed", "stall": "timeout"}.get(kind, "connection")
    patience = 0.6 if kind == "stall" else 60.0
    positions = [0, 1, 60, SIZE // 3, SIZE // 2, FINISHED - 1, FINISHED, FINISHED + 3, SIZE - 1]
    faults = iter([Fault(kind=kind, at=at) for at in (positions if kind != "stall" else positions[2:4])])
    with ProviderServer(lambda _: Reply(**{**_fields(ANSWER), "fault": next(faults)})) as server:
        for fault_at in positions if kind != "stall" else positions[2:4]:
            _, end = await asyncio.wait_for(run(model(server.url, "anthropic", patience=patience)), 60)
            if isinstance(end, Failed):
                assert (end.error.code, end.error.retryable) == (code, True)
                assert fault_at < FINISHED, "the answer was whole"
            else:
                assert end.parts[1] == Text(ANSWER.text)
                assert fault_at >= FINISHED - 1


def _fields(reply: Reply) -> dict[str, Any]:
    return {name: getattr(reply, name) for name in reply.__struct_fields__}


@pytest.mark.parametrize(
    ("fault", "code"), [("empty", "empty"), ("html", "malformed"), ("no_finish", "malformed"), ("json", None)]
)
async def test_odd_bodies(fault: Any, code: str | None, model: Make) -> None:
    with ProviderServer(lambda _: Reply(text="hi", fault=Fault(kind=fault))) as server:
        _, end = await run(model(server.url, "anthropic"))
    assert (end.error.code if isinstance(end, Failed) else None) == code


async def test_stops(model: Make, raw: Raw) -> None:
    def start(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
        return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}

    def stop(reason: str, **details: Any) -> dict[str, Any]:
        return {"type": "message_delta", "delta": {"stop_reason": reason, **details}, "usage": {"output_tokens": 5}}

    async def said(*frames: Any) -> Completed | Failed:
        url = await raw({"type": "message_start", "message": {}}, *frames, {"type": "message_stop"}, done=False)
        return (await run(model(url, "anthropic")))[1]

    for reason, name in (("pause_turn", "end"), ("stop_sequence", "end"), ("model_context_window_exceeded", "length")):
        end = await said(start("text", text="hi"), stop(reason))
        assert isinstance(end, Completed)
        assert end.stop == name
    assert end.word is None
    end = await said(start("text", text="hi"), stop("stop_sequence", stop_sequence="END"))
    assert (end.stop, end.word) == ("end", "END")
    end = await said(start("text", text="hi"), stop("refusal"))
    assert isinstance(end, Completed)
    assert end.stop == "refusal"
    refused = await said(stop("refusal", stop_details={"category": "bio", "explanation": "dangerous"}))
    assert isinstance(refused, Failed)
    assert refused.error.code == "refused"
    assert "dangerous" in refused.error.message
    half = {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"pa'}}
    end = await said(
        start("text", text="hi"), start("tool_use", 1, id="t", name="rm", input={}), half, stop("max_tokens")
    )
    assert isinstance(end, Completed)
    assert (end.parts, end.stop) == ((Text("hi"),), "length")
    end = await said(
        start("server_tool_use", id="s"),
        start("thinking", 1, thinking="hm"),
        start("text", 2, text="a"),
        stop("end_turn"),
    )
    assert isinstance(end, Completed)
    assert end.parts == (Thinking("hm"), Text("a"))


async def test_the_account(model: Make) -> None:
    with ProviderServer(key="secret-key") as server:
        environ = {"ANTHROPIC_API_KEY": "secret-key", "ANTHROPIC_BASE_URL": server.url.removesuffix("/v1")}
        found = Models(environ=environ, dotenv=None)
        made = found.resolve("anthropic/claude-x")
        assert (await completed(made)).parts == (Text("You said: Hello"),)
        assert server.provider.bodies[-1]["model"] == "claude-x"
        assert found.resolve(None).name.startswith("anthropic/")
        assert "secret-key" not in repr(made)
        await found.close()
        assert (await failed(model(server.url, "anthropic", key="no"))).error.code == "auth"


@pytest.mark.long
async def test_the_official_sdk_understands_the_stub() -> None:
    anthropic = pytest.importorskip("anthropic")
    with ProviderServer(lambda _: FULL, key="k") as server:
        client = anthropic.AsyncAnthropic(base_url=server.url.removesuffix("/v1"), api_key="k", max_retries=0)
        asked: dict[str, Any] = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
        whole = await client.messages.create(**asked)
        async with client.messages.stream(**asked) as stream:
            streamed = await stream.get_final_message()
        for message in (whole, streamed):
            sealed, thinking, text, one, two = message.content
            assert (sealed.data, thinking.thinking, text.text) == (FULL.sealed, "let me think", FULL.text)
            assert thinking.signature == signed("let me think")
            assert (one.input, two.input) == ({"path": "ä"}, {"path": "b"})
            assert (message.stop_reason, message.usage.cache_read_input_tokens) == ("tool_use", 400)
        with pytest.raises(anthropic.BadRequestError, match="first message"):
            await client.messages.create(**{**asked, "messages": [{"role": "assistant", "content": "hi"}]})
        await client.close()
        async with anthropic.AsyncAnthropic(base_url=str(client.base_url), api_key="no", max_retries=0) as stranger:
            with pytest.raises(anthropic.AuthenticationError):
                await stranger.messages.create(**asked)
