"""The OpenAI Responses wire against a server that checks what it is sent as strictly as the real one."""

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
from roost.stub.dialects.base import Asked
from roost.stub.dialects.openai_responses import DIALECT, signed
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply
from roost.testing.models import ask, completed, failed, run, user
from roost.testing.scripted import Call

Make = Callable[..., HttpModel]
Raw = Callable[..., Awaitable[str]]
WIRE = "openai_responses"
TOOLS = (ToolSpec("look", "Looks.", {"type": "object", "properties": {"path": {"type": "string"}}}),)
FULL = Reply(
    text="Grüße 世界 😀",
    thinking="let me think",
    sealed="c2VhbGVk",
    calls=(Call("look", {"path": "ä"}), Call("look", {"path": "b"})),
    usage=Usage(input=1000, output=50, cached=400, written=100, thinking=9),
    piece=3,
)
ORIGIN = f"{WIRE}/default"


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_of_every_kind_of_part(stream: bool, model: Make) -> None:
    price = Price(input=3000, output=15000, cached=300, written=3750)
    with ProviderServer(lambda _: FULL, key="k") as server:
        made = model(server.url, WIRE, key="k", profile=Profile(price=price))
        deltas, end = await run(made, ask(tools=TOOLS, stream=stream))
    assert isinstance(end, Completed)
    sealed, thinking, text, one, two = end.parts
    assert sealed == Thinking("", "c2VhbGVk", ORIGIN)
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


async def sent(server: ProviderServer, made: HttpModel, request: Request) -> dict[str, Any]:
    await completed(made, request)
    return server.provider.bodies[-1]


async def test_reasoning_goes_back_encrypted_and_in_its_place(model: Make) -> None:
    with ProviderServer(lambda _: FULL) as server:
        made = model(server.url, WIRE)
        end = await completed(made, ask(tools=TOOLS))
        one, two = (part for part in end.parts if isinstance(part, ToolCall))
        results = (ToolMessage(one.id, "look", (Text("ok"),)), ToolMessage(two.id, "look", (), error=True))
        turn = (user("Hello"), AssistantMessage(end.parts), *results)
        body = await sent(server, made, ask(*turn, tools=TOOLS))
        assert [item["type"] for item in body["input"][1:]] == [
            "reasoning",
            "reasoning",
            "message",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output",
        ]
        assert body["input"][2]["encrypted_content"] == signed("let me think")
        assert (body["store"], body["include"]) == (False, ["reasoning.encrypted_content"])
        foreign = AssistantMessage((Thinking("deep", "other's", "gemini/default"), Thinking("open"), *end.parts[2:]))
        body = await sent(server, made, ask(user("Hello"), foreign, *results, tools=TOOLS))
        assert "reasoning" not in {item["type"] for item in body["input"]}
        later = (*turn, user("and?"))
        for back, count in (("none", 0), ("turn", 0), ("all", 2)):
            kept = model(server.url, WIRE, profile=Profile(thinking_back=back))
            body = await sent(server, kept, ask(*later))
            assert [item["type"] for item in body["input"]].count("reasoning") == count
        assert server.stats.violations == 0


ODD: list[tuple[Message, ...]] = [
    (user(""),),
    (user(" \n"), AssistantMessage((Thinking("hm", "gAAAA", ORIGIN),)), user("\ud83d")),
    (user("1"), user("2"), AssistantMessage((Text("a"),)), AssistantMessage((Text("b"),)), user("3")),
    (
        user("go"),
        AssistantMessage((ToolCall("functions.f:0", "rm -rf /", "{bad"), ToolCall("x" * 300, "g", "[1]"))),
        ToolMessage("functions.f:0", "rm -rf /", ()),
        ToolMessage("x" * 300, "g", (Text(""), Image("image/png", "aGk="), Audio("audio/wav", "aGk="))),
        user("and now?"),
    ),
    (
        UserMessage(
            (
                Text("see"),
                Image("image/png", url="https://example.org/a.png"),
                File("application/pdf", "aGk=", name="a.pdf"),
                File("application/pdf", url="https://example.org/a.pdf"),
                Audio("audio/wav", "aGk="),
            )
        ),
    ),
]


@pytest.mark.parametrize("messages", ODD)
@pytest.mark.parametrize("images", [True, False])
async def test_any_conversation_is_sent_in_a_form_that_is_taken(
    messages: tuple[Message, ...], images: bool, model: Make
) -> None:
    with ProviderServer() as server:
        made = model(server.url, WIRE, profile=Profile(images=images, files=images))
        body = await sent(server, made, ask(*messages, tools=TOOLS, tool_choice="required", stop=("END",)))
        assert server.stats.violations == 0
    assert ("input_image" in json.dumps(body)) is (images and "Image" in repr(messages))


async def test_settings(model: Make) -> None:
    closed = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    knobs = {"verbosity": "low", "speed": "priority"}
    with ProviderServer() as server:
        made = model(server.url, WIRE, summary="auto")
        request = ask(output_schema=closed, effort="high", max_output=3, temperature=0.5, knobs=knobs)
        body = await sent(server, made, request)
        assert body["reasoning"] == {"effort": "high", "summary": "auto"}
        assert body["text"]["format"] == {"type": "json_schema", "name": "output", "schema": closed, "strict": True}
        assert (body["text"]["verbosity"], body["service_tier"]) == ("low", "priority")
        assert (body["max_output_tokens"], body["temperature"]) == (16, 0.5)
        body = await sent(server, made, ask(output_schema={"type": "object"}, tools=TOOLS))
        assert body["text"]["format"]["strict"] is body["tools"][0]["strict"] is False
        plain = model(server.url, WIRE, profile=Profile(thinks="never"), summary="auto")
        body = await sent(server, plain, ask(effort="high"))
        assert {"include", "reasoning"} & set(body) == set()
        assert server.stats.violations == 0


STATUSES = [
    (400, "Your input exceeds the context window of this model", "context_overflow", False),
    (400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy", "refused", False),
    (400, "Unknown parameter", "bad_request", False),
    (401, "Incorrect API key provided", "auth", False),
    (403, "no", "auth", False),
    (404, "The model does not exist", "bad_request", False),
    (429, "Rate limit reached", "rate_limited", True),
    (429, "You exceeded your current quota", "quota", False),
    (500, "The server had an error", "overloaded", True),
]


@pytest.mark.parametrize(
    ("kind", "status", "message", "code", "retryable"),
    [("status", *case) for case in STATUSES] + [("error", *case) for case in STATUSES if case[0] in (400, 429, 500)],
)
async def test_errors_before_and_in_the_midst(
    kind: Any, status: int, message: str, code: str, retryable: bool, model: Make
) -> None:
    fault = Fault(kind=kind, status=status, message=message, at=1500, retry_after="7")
    with ProviderServer(lambda _: Reply(text="half of it", fault=fault)) as server:
        end = await failed(model(server.url, WIRE))
    assert (end.error.code, end.error.retryable) == (code, retryable)
    assert message in end.error.message
    assert end.error.retry_after == (7.0 if kind == "status" and retryable else None)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"code": "server_error", "message": "oh"}, "overloaded"),
        ({"code": "rate_limit_exceeded", "message": "slow"}, "rate_limited"),
        ({"code": "context_length_exceeded", "message": "too long"}, "context_overflow"),
        ({"code": "bio_policy", "message": "no"}, "refused"),
        ({"code": "invalid_image", "message": "what is this"}, "bad_request"),
        (None, "overloaded"),
    ],
)
async def test_a_response_that_failed(stream: bool, error: Any, code: str, model: Make, raw: Raw) -> None:
    response = {"status": "failed", "error": error, "output": [], "usage": {"input_tokens": 5, "output_tokens": 0}}
    if stream:
        url = await raw({"type": "response.failed", "response": response}, done=False)
    else:
        url = await raw(response, kind="application/json")
    end = await failed(model(url, WIRE))
    assert end.error.code == code
    assert end.usage == Usage(5)


ANSWER = Reply(text="Grüße, 世界 😀! " * 3, thinking="hm", calls=(Call("look", {"path": "ä/b"}),), piece=7)
ASKED = Asked("scripted", True, [{"role": "user", "content": "Hello"}], {"instructions": "Be brief."})
FRAMES = DIALECT.frames(ANSWER, ASKED)
SIZE = sum(map(len, FRAMES))
FINISHED = SIZE - 2
"""The byte behind which the last event is whole but for its blank line."""


@pytest.mark.parametrize("kind", ["reset", "close", "malformed"])
async def test_a_fault_at_any_byte_gives_the_whole_answer_or_a_typed_failure(kind: Any, model: Make) -> None:
    code = {"malformed": "malformed"}.get(kind, "connection")
    positions = [0, 1, *range(60, SIZE - 8, SIZE // 40), *range(SIZE - 4, SIZE)]
    faults = iter([Fault(kind=kind, at=at) for at in positions])
    with ProviderServer(lambda _: Reply(**{**_fields(ANSWER), "fault": next(faults)})) as server:
        for fault_at in positions:
            _, end = await asyncio.wait_for(run(model(server.url, WIRE)), 30)
            if isinstance(end, Failed):
                assert (end.error.code, end.error.retryable) == (code, True)
            else:
                assert end.parts[1] == Text(ANSWER.text)
                assert fault_at >= FINISHED or kind == "malformed"


async def test_a_stream_that_stands_still(model: Make) -> None:
    with ProviderServer(lambda _: Reply(text="half of it", fault=Fault(kind="stall", at=1500))) as server:
        assert (await failed(model(server.url, WIRE, patience=0.6))).error.code == "timeout"


def _fields(reply: Reply) -> dict[str, Any]:
    return {name: getattr(reply, name) for name in reply.__struct_fields__}


@pytest.mark.parametrize(
    ("fault", "code"), [("empty", "empty"), ("html", "malformed"), ("no_finish", "malformed"), ("json", None)]
)
async def test_odd_bodies(fault: Any, code: str | None, model: Make) -> None:
    with ProviderServer(lambda _: Reply(text="hi", fault=Fault(kind=fault))) as server:
        _, end = await run(model(server.url, WIRE))
    assert (end.error.code if isinstance(end, Failed) else None) == code


async def test_huge_arguments_and_a_text_that_is_no_object(model: Make) -> None:
    big = {"data": "ä\n" * 200_000}
    reply = Reply(calls=(Call("look", big), Call("look", "{bad")), piece=50_000)
    with ProviderServer(lambda _: reply) as server:
        made = model(server.url, WIRE)
        end = await completed(made, ask(tools=TOOLS))
        one, two = end.parts
        assert isinstance(one, ToolCall)
        assert isinstance(two, ToolCall)
        assert (json.loads(one.arguments), two.arguments) == (big, "{bad")
        results = (ToolMessage(call.id, "look", (Text("ok"),)) for call in (one, two))
        body = await sent(server, made, ask(user("go"), AssistantMessage(end.parts), *results))
        assert json.loads(body["input"][2]["arguments"]) == {"invalid_arguments": "{bad"}


@pytest.mark.parametrize("stream", [True, False])
async def test_stops(stream: bool, model: Make) -> None:
    replies = [Reply(text="half", stop="length"), Reply(text="I will not.", stop="refusal"), Reply(stop="refusal")]
    with ProviderServer(lambda body: replies[int(body["input"][0]["content"][0]["text"])]) as server:
        ends = [(await run(model(server.url, WIRE), ask(user(str(n)), stream=stream)))[1] for n in range(3)]
    cut, refused, silent = ends
    assert isinstance(cut, Completed)
    assert isinstance(refused, Completed)
    assert isinstance(silent, Failed)
    assert (cut.stop, cut.parts) == ("length", (Text("half"),))
    assert (refused.stop, refused.parts) == ("refusal", (Text("I will not."),))
    assert silent.error.code == "refused"
    assert "content_filter" in silent.error.message


def added(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": {"type": kind, **fields}}


def done(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {**added(index, kind, **fields), "type": "response.output_item.done"}


def delta(index: int, kind: str, text: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "output_index": index, "delta": text, **fields}


def over(status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": {"status": status, **fields}}


async def test_streams_as_odd_servers_send_them(model: Make, raw: Raw) -> None:
    said = {"type": "output_text", "text": "hi"}

    async def parts(*frames: Any) -> tuple[Any, ...]:
        return (await completed(model(await raw(*frames, done=False), WIRE))).parts

    assert await parts(over(output=[{"type": "message", "content": [said]}])) == (Text("hi"),)
    assert await parts(done(0, "message", content=[said]), over(output=[{"type": "message", "content": [said]}])) == (
        Text("hi"),
    )
    assert await parts(
        added(0, "reasoning"),
        delta(0, "reasoning_summary_text", "one", summary_index=0),
        delta(0, "reasoning_summary_text", "two", summary_index=1),
        done(0, "reasoning", encrypted_content="gA", summary=[{"type": "summary_text", "text": "one"}]),
        added(1, "web_search_call"),
        delta(1, "custom_tool_call_input", "?"),
        added(2, "message"),
        delta(2, "output_text", "a\ud83d"),
        delta(2, "output_text", "\ude00\ud83d"),
        over(),
    ) == (Thinking("one\n\ntwo", "gA", ORIGIN), Text("a😀\ufffd"))
    one, two = await parts(
        added(0, "function_call", call_id="a", name="f"),
        added(1, "function_call", call_id="a", name="f"),
        delta(1, "function_call_arguments", '{"n":2}'),
        done(0, "function_call", call_id="a", name="f", arguments='{"n":1}'),
        over(),
    )
    assert (one.arguments, two.arguments) == ('{"n":1}', '{"n":2}')
    cut = (
        added(0, "function_call", call_id="a", name="f"),
        delta(0, "function_call_arguments", '{"n":1}'),
        added(1, "function_call", call_id="b", name="rm"),
        delta(1, "function_call_arguments", '{"path":"/'),
        over("incomplete", incomplete_details={"reason": "max_output_tokens"}),
    )
    (only,) = await parts(*cut)
    assert only.name == "f"


BAD = [b"not json", b"[1]", b'{"type": 5}', b"[" * 100_000, b'{"type":"response.completed","response":7}']


@pytest.mark.parametrize("frame", BAD)
async def test_a_frame_that_cannot_be_read_is_a_failure(frame: bytes, model: Make, raw: Raw) -> None:
    url = await raw(added(0, "message"), delta(0, "output_text", "Half"), frame, over(), done=False)
    error = (await failed(model(url, WIRE))).error
    assert (error.code, error.retryable) == ("malformed", True)


async def test_the_account() -> None:
    with ProviderServer(key="secret-key") as server:
        found = Models(environ={"OPENAI_API_KEY": "secret-key", "OPENAI_BASE_URL": server.url}, dotenv=None)
        made = found.resolve("openai-responses/gpt-x")
        assert (await completed(made, ask(effort="off", temperature=1.0))).parts == (Text("You said: Hello"),)
        body = server.provider.bodies[-1]
        # Another server than OpenAI's: what it takes is not known, so the protocol's own settings count.
        assert (body["model"], body["reasoning"], body["temperature"]) == ("gpt-x", {"effort": "none"}, 1.0)
        assert "secret-key" not in repr(made)
        await found.close()


async def test_the_official_sdk_understands_the_stub() -> None:
    import openai

    asked: dict[str, Any] = {
        "model": "m",
        "input": "hi",
        "tools": [
            {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False}
        ],
    }
    with ProviderServer(lambda _: FULL, key="k") as server:
        async with openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0) as client:
            whole = await client.responses.create(**asked)
            async with client.responses.stream(**asked) as stream:
                streamed = await stream.get_final_response()
            for response in (whole, streamed):
                sealed, thinking, _, one, two = response.output
                assert (sealed.encrypted_content, thinking.summary[0].text) == (FULL.sealed, "let me think")
                assert response.output_text == FULL.text
                assert [json.loads(call.arguments) for call in (one, two)] == [{"path": "ä"}, {"path": "b"}]
                assert response.usage.input_tokens_details.cached_tokens == 400
            orphan = {"type": "function_call_output", "call_id": "c", "output": "x"}
            with pytest.raises(openai.BadRequestError, match="No tool call found"):
                await client.responses.create(model="m", input=[orphan])
        async with openai.AsyncOpenAI(base_url=server.url, api_key="no", max_retries=0) as stranger:
            with pytest.raises(openai.AuthenticationError):
                await stranger.responses.create(**asked)
