"""The GLM wire against a server that checks what it is sent as strictly as the real one."""

# Parts and ends are unions, whose kind a test asserts by their content.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportPossiblyUnboundVariable=false
from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from roost.errors import ConfigError
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
    Video,
)
from roost.models.compile import compiler
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
from roost.models.wire import Endpoint
from roost.models.wires import wire
from roost.stub.dialects.base import Asked
from roost.stub.dialects.glm import DIALECT
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
    calls=(Call("look", {"path": "ä"}), Call("look", {"path": "b" * 30})),
    usage=Usage(input=1000, output=50, cached=400, thinking=9),
    piece=3,
)
ALL = Profile(images=True, audio=True, video=True, files=True)
TURN = (user("go"), AssistantMessage((Thinking("why"), ToolCall("c", "look"))), ToolMessage("c", "look", (Text("ok"),)))


@pytest.mark.parametrize("how", ["stream", "whole", "task"])
async def test_an_answer_of_every_kind_of_part(how: str, model: Make) -> None:
    with ProviderServer(lambda _: FULL, key="k") as server:
        made = model(
            server.url,
            "glm",
            key="k",
            profile=Profile(price=Price(8000, 28000, cached=2000)),
            **{"async": how == "task"},
        )
        deltas, end = await run(made, ask(tools=TOOLS, stream=how == "stream"))
        assert server.stats.violations == 0, server.stats.reasons
    assert isinstance(end, Completed)
    thinking, text, one, two = end.parts
    assert (thinking, text) == (Thinking("let me think"), Text(FULL.text))
    assert [json.loads(part.arguments) for part in (one, two)] == [{"path": "ä"}, {"path": "b" * 30}]
    assert end.stop == "tool_calls"
    assert end.usage == Usage(1000, 50, 400, 600 * 8000 + 400 * 2000 + 50 * 28000, thinking=9)
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == FULL.text
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == "let me think"
    calls = [d for d in deltas if isinstance(d, CallDelta)]
    assert [d.name for d in calls if d.name] == ["look", "look"]
    for index, part in enumerate((one, two)):
        assert "".join(d.arguments for d in calls if d.index == index) == part.arguments
    assert (len(calls) > 4) is (how == "stream")


async def sent(server: ProviderServer, made: HttpModel, request: Request) -> dict[str, Any]:
    await completed(made, request)
    assert server.stats.violations == 0, server.stats.reasons
    return server.provider.bodies[-1]


async def test_the_whole_request(model: Make) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    request = ask(
        *TURN,
        tools=TOOLS,
        tool_choice="required",
        output_schema=schema,
        max_output=99,
        temperature=1.5,
        stop=("END", "STOP"),
        effort="max",
        knobs={"top_p": 0.001, "seed": 7},
    )
    with ProviderServer() as server:
        body = await sent(server, model(server.url, "glm"), request)
        head, go, called, result = body.pop("messages")
        assert server.provider.headers["accept"] == "text/event-stream"
    assert head["content"].startswith("Be brief.\n\nAnswer with one JSON object")
    assert head["content"].endswith(json.dumps(schema, separators=(",", ":")))
    assert go == {"role": "user", "content": "go"}
    function = {"name": "look", "arguments": "{}"}
    calls = [{"id": "c", "type": "function", "function": function}]
    assert called == {"role": "assistant", "content": None, "tool_calls": calls, "reasoning_content": "why"}
    assert result == {"role": "tool", "tool_call_id": "c", "content": "ok"}
    look = {"name": "look", "description": "Looks.", "parameters": TOOLS[0].schema}
    assert body == {
        "model": "scripted",
        "stream": True,
        "tool_stream": True,
        "tools": [{"type": "function", "function": look}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "max_tokens": 99,
        "temperature": 1,
        "top_p": 0.01,
        "stop": ["END"],
        "thinking": {"type": "enabled"},
        "reasoning_effort": "max",
    }


async def test_knobs_and_choices(model: Make) -> None:
    with ProviderServer() as server:
        made = model(server.url, "glm")
        plain = await sent(server, made, ask(tools=TOOLS, stream=False))
        assert not {"thinking", "stream", "tool_stream", "stop", "temperature"} & set(plain)
        assert (await sent(server, made, ask(temperature=1 / 3)))["temperature"] == 0.33
        assert (await sent(server, made, ask(effort="off")))["thinking"] == {"type": "disabled"}
        assert (await sent(server, made, ask(effort="low")))["reasoning_effort"] == "high"
        assert "tools" not in await sent(server, made, ask(*TURN, tools=TOOLS, tool_choice="none"))
        kept = await sent(server, made, ask(knobs={"clear_thinking": False}))
        assert kept["thinking"] == {"type": "enabled", "clear_thinking": False}
        off = await sent(server, made, ask(effort="off", knobs={"clear_thinking": False}))
        assert off["thinking"] == {"type": "disabled"}
        older = model(server.url, "glm", tool_stream=False, profile=Profile(knobs={"clear_thinking": None}))
        body = await sent(server, older, ask(tools=TOOLS, knobs={"clear_thinking": False}))
        assert not {"tool_stream", "thinking"} & set(body)
    with pytest.raises(ConfigError, match="nonsense"):
        wire("glm", {"nonsense": 1})


TALK = (user("1"), AssistantMessage((Thinking("old"), Text("a"))), *TURN)


def thoughts(body: dict[str, Any]) -> list[str]:
    return [message["reasoning_content"] for message in body["messages"] if "reasoning_content" in message]


async def test_reasoning_goes_back_as_far_as_the_server_keeps_it(model: Make) -> None:
    with ProviderServer() as server:

        async def back(profile: Profile, **options: Any) -> list[str]:
            return thoughts(await sent(server, model(server.url, "glm", profile=profile), ask(*TALK, **options)))

        assert await back(Profile()) == ["why"]
        assert await back(Profile(), knobs={"clear_thinking": False}) == ["old", "why"]
        assert await back(Profile(knobs={"clear_thinking": Knob(field="thinking.clear_thinking", default=False)})) == [
            "old",
            "why",
        ]
        assert await back(Profile(thinking_back="none")) == []
        assert await back(Profile(thinking_back="all")) == ["old", "why"]
        endpoint = Endpoint(base_url=server.url)
        profile = Profile(thinking_back="all", family="glm_52")
        newest = HttpModel(model="m", endpoint=endpoint, wire=wire("glm"), compiler=compiler("glm_52"), profile=profile)
        body = await sent(server, newest, ask(*TALK, effort="high"))
        await newest.close()
        assert thoughts(body) == ["old", "why"]
        assert body["thinking"] == {"type": "enabled", "clear_thinking": False}
        end = await completed(model(server.url, "glm"))
        assert not any(isinstance(part, Thinking) for part in end.parts)


ODD: list[tuple[Message, ...]] = [
    (user(""),),
    (user(" \n"), AssistantMessage((Thinking("hm"),)), user("\ud83d")),
    (user("1"), user("2"), AssistantMessage((Text("a"),)), AssistantMessage((Text("b"),)), user("3")),
    (
        user("go"),
        AssistantMessage((Thinking("x", "sig", "anthropic/default"), ToolCall("functions.f:0", "rm -rf /", "{bad"))),
        ToolMessage("functions.f:0", "rm -rf /", ()),
        user("and now?"),
    ),
]


@pytest.mark.parametrize("messages", ODD)
@pytest.mark.parametrize("effort", [None, "off", "max"])
async def test_any_conversation_is_sent_in_a_form_that_is_taken(
    messages: tuple[Message, ...], effort: Any, model: Make
) -> None:
    with ProviderServer() as server:
        request = ask(*messages, tools=TOOLS, effort=effort, tool_choice="required", temperature=0.5)
        body = await sent(server, model(server.url, "glm", profile=ALL), request)
    assert "sig" not in json.dumps(body)


async def test_media(model: Make) -> None:
    shown = UserMessage(
        (
            Text("see"),
            Image("image/png", "aGk="),
            Video("video/mp4", url="https://example.org/a.mp4"),
            Audio("audio/mpeg", "aGk="),
            File("application/pdf", url="https://example.org/a.pdf"),
            File("application/pdf", "aGk=", name="b.pdf"),
        )
    )
    with ProviderServer() as server:
        body = await sent(server, model(server.url, "glm", profile=ALL), ask(shown))
        assert body["messages"][1]["content"] == [
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
            {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}},
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "mp3"}},
            {"type": "file_url", "file_url": {"url": "https://example.org/a.pdf"}},
            {"type": "text", "text": "[file 'b.pdf', application/pdf]"},
        ]
        blind = await sent(server, model(server.url, "glm"), ask(shown))
        assert blind["messages"][1]["content"].splitlines()[1] == "[image, image/png]"
        look = AssistantMessage((ToolCall("c", "look"),))
        turn = (user("go"), look, ToolMessage("c", "look", (Image("image/png", "aGk="),)))
        body = await sent(server, model(server.url, "glm", profile=ALL), ask(*turn))
        assert [part["type"] for part in body["messages"][-1]["content"]] == ["text", "image_url"]


async def test_huge_arguments_and_many_calls(model: Make) -> None:
    huge = {"text": "ä\n\"'😀" * 40_000}
    calls = (Call("look", huge), *(Call("look", {"n": n}) for n in range(50)))
    with ProviderServer(lambda _: Reply(calls=calls, piece=7_000)) as server:
        end = await completed(model(server.url, "glm"), ask(tools=TOOLS))
        given = [json.loads(part.arguments) for part in end.parts if isinstance(part, ToolCall)]
        assert given == [huge, *({"n": n} for n in range(50))]
        results = [ToolMessage(part.id, "look", (Text("ok"),)) for part in end.parts if isinstance(part, ToolCall)]
        await sent(server, model(server.url, "glm"), ask(user("go"), AssistantMessage(end.parts), *results))


CODES = [
    (401, "1000", "auth", False),
    (401, "1003", "auth", False),
    (429, "1113", "quota", False),
    (403, "1220", "auth", False),
    (400, "1211", "bad_request", False),
    (400, "1214", "bad_request", False),
    (500, "1234", "overloaded", True),
    (400, "1261", "context_overflow", False),
    (400, "1301", "refused", False),
    (429, "1302", "rate_limited", True),
    (429, "1303", "rate_limited", True),
    (429, "1305", "overloaded", True),
    (429, "1308", "quota", False),
    (429, "1311", "auth", False),
    (429, "1321", "quota", False),
]


@pytest.mark.parametrize(("status", "number", "code", "retryable"), CODES)
@pytest.mark.parametrize("kind", ["status", "error"])
async def test_each_number_has_a_stable_code_before_and_in_the_midst(
    kind: Any, status: int, number: str, code: str, retryable: bool, model: Make
) -> None:
    fault = Fault(kind=kind, status=status, message=f"{number}: it says no", at=200, retry_after="7")
    with ProviderServer(lambda _: Reply(text="half of it", fault=fault)) as server:
        error = (await failed(model(server.url, "glm"))).error
    assert (error.code, error.retryable) == (code, retryable)
    assert "it says no" in error.message
    assert error.retry_after == (7.0 if kind == "status" and retryable else None)


def chunk(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": "1", "request_id": "r7", "choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("finish", "stop", "code"),
    [
        ("stop", "end", "empty"),
        ("length", "length", "empty"),
        ("sensitive", "refusal", "refused"),
        ("model_context_window_exceeded", "length", "context_overflow"),
        ("network_error", "overloaded", "overloaded"),
    ],
)
async def test_finish_reasons_with_and_without_words(finish: str, stop: str, code: str, raw: Raw, model: Make) -> None:
    usage = {"usage": {"prompt_tokens": 8, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}}}
    for said in ({"content": "words"}, {"reasoning_content": ""}):
        url = await raw(chunk(**said), {**chunk(finish), **usage})
        _, end = await run(model(url, "glm"))
        if isinstance(end, Completed):
            # A limit that comes before the first word is for the caller to make good.
            assert (end.stop, end.parts) == (stop, (Text("words"),) if end.cut is None else ())
            assert end.usage == Usage(8, 2, 3)
            continue
        assert end.error.code == (stop if "content" in said else code)
        assert end.error.message.endswith("(request r7)")
        assert end.usage == Usage(8, 2, 3)


async def test_what_the_filter_found_is_said(raw: Raw, model: Make) -> None:
    end = {**chunk("sensitive"), "content_filter": [{"role": "user", "level": 1}]}
    error = (await failed(model(await raw(end), "glm"))).error
    assert error.code == "refused"
    assert "in what the user said" in error.message


@pytest.mark.parametrize("kind", ["reset", "close", "malformed", "stall"])
async def test_a_fault_at_a_byte_gives_the_whole_answer_or_a_typed_failure(kind: Any, model: Make) -> None:
    reply = Reply(text="Grüße, 世界 😀! " * 3, thinking="hm", calls=(Call("look", {"path": "ä"}),), piece=7)
    frames = DIALECT.frames(reply, Asked("scripted", True, [{}], {}))
    size, finished = sum(map(len, frames)), sum(map(len, frames[:-1]))
    code = {"malformed": "malformed", "stall": "timeout"}.get(kind, "connection")
    patience = 0.6 if kind == "stall" else 60.0
    places = [0, 1, size // 3, size // 2, finished - 1, finished, size - 1] if kind != "stall" else [size // 2]
    for at in places:
        faulty = {name: getattr(reply, name) for name in reply.__struct_fields__} | {"fault": Fault(kind=kind, at=at)}
        with ProviderServer(lambda _, faulty=faulty: Reply(**faulty)) as server:
            _, end = await asyncio.wait_for(run(model(server.url, "glm", patience=patience)), 60)
        if isinstance(end, Failed):
            assert (end.error.code, end.error.retryable) == (code, True)
            assert at < finished, "the answer was whole"
        else:
            assert end.parts[1] == Text(reply.text)


async def test_the_official_sdk_understands_the_stub() -> None:
    openai = pytest.importorskip("openai")
    asked: dict[str, Any] = {"model": "glm-5.2", "messages": [{"role": "user", "content": "hi"}]}
    extra = {"extra_body": {"thinking": {"type": "enabled", "clear_thinking": False}, "reasoning_effort": "max"}}
    with ProviderServer(lambda _: FULL, key="k") as server:
        root = server.url.removesuffix("/v1") + "/api/paas/v4/"
        client = openai.AsyncOpenAI(base_url=root, api_key="k", max_retries=0)
        whole = await client.chat.completions.create(**asked, **extra)
        message = whole.choices[0].message
        assert (message.content, message.reasoning_content) == (FULL.text, "let me think")
        assert [json.loads(call.function.arguments)["path"] for call in message.tool_calls] == ["ä", "b" * 30]
        text = ""
        stream = await client.chat.completions.create(**asked, stream=True)
        async for piece in stream:
            text += piece.choices[0].delta.content or "" if piece.choices else ""
            usage = piece.usage
        assert (text, usage.prompt_tokens_details.cached_tokens) == (FULL.text, 400)
        for wrong in ({"tool_choice": "required"}, {"stream_options": {"include_usage": True}}, {"seed": 1}):
            with pytest.raises(openai.BadRequestError):
                await client.chat.completions.create(**asked, stream=True, **wrong)
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="no").chat.completions.create(**asked)
        await client.close()
