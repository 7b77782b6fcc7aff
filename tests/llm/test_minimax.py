"""The MiniMax wire, in its three interfaces, against a server that checks what it is sent strictly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from roost.errors import ConfigError
from roost.llm.http_model import HttpModel
from roost.llm.ir import CallDelta, Completed, Failed, Price, Profile, Request, TextDelta, ThinkingDelta, ToolSpec
from roost.llm.profile import Knob
from roost.llm.wires import wire
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
from roost.testing.dialects.base import Asked
from roost.testing.dialects.minimax import CHAT, DIALECT, TEXT, signed
from roost.testing.models import ask, completed, failed, run, user
from roost.testing.provider import ProviderServer, Replies
from roost.testing.script import Fault, Reply
from roost.testing.scripted import Call

Make = Callable[..., HttpModel]
Raw = Callable[..., Awaitable[str]]
DIALECTS = {"messages": DIALECT, "chat": CHAT, "text": TEXT}
TOOLS = (ToolSpec("look", "Looks.", {"type": "object", "properties": {"path": {"type": "string"}}}),)
FULL = Reply(
    text="Grüße 世界 😀",
    thinking="let me think",
    calls=(Call("look", {"path": "ä"}), Call("look", {"path": "b"})),
    usage=Usage(input=1000, output=50, cached=400, thinking=9),
    piece=3,
)
ALL = Profile(images=True, audio=True, video=True, files=True)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}

every = pytest.mark.parametrize("interface", DIALECTS)


@contextmanager
def serving(interface: str, replies: Replies | None = None, **options: Any) -> Iterator[ProviderServer]:
    with ProviderServer(replies, speaks=[DIALECTS[interface]], **options) as server:
        yield server
        assert server.stats.violations == 0, server.stats.reasons


async def sent(server: ProviderServer, made: HttpModel, request: Request) -> dict[str, Any]:
    await completed(made, request)
    return server.provider.bodies[-1]


@every
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_of_every_kind_of_part(stream: bool, interface: str, model: Make) -> None:
    price = Profile(price=Price(300, 1200, cached=30))
    with serving(interface, lambda _: FULL, key="k") as server:
        made = model(server.url, "minimax", key="k", profile=price, interface=interface)
        deltas, end = await run(made, ask(tools=TOOLS, stream=stream))
    assert isinstance(end, Completed)
    thinking, text, one, two = end.parts
    proof = (signed("let me think"), "minimax/default") if interface == "messages" else ()
    assert (thinking, text) == (Thinking("let me think", *proof), Text(FULL.text))
    assert [json.loads(part.arguments) for part in (one, two)] == [{"path": "ä"}, {"path": "b"}]
    assert end.stop == "tool_calls"
    assert end.usage == Usage(1000, 50, 400, 600 * 300 + 400 * 30 + 50 * 1200, thinking=9)
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == FULL.text
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == "let me think"
    calls = [d for d in deltas if isinstance(d, CallDelta)]
    for index, part in enumerate((one, two)):
        assert "".join(d.arguments for d in calls if d.index == index) == part.arguments
    assert (len(deltas) > 10) is stream


TURN = (
    user("go"),
    AssistantMessage((Thinking("why", signed("why"), "minimax/default"), ToolCall("c", "look"))),
    ToolMessage("c", "look", (Text("ok"),)),
)
REQUEST = ask(
    *TURN,
    tools=TOOLS,
    output_schema=SCHEMA,
    max_output=99,
    temperature=0,
    stop=("END",),
    effort="max",
    knobs={"top_p": 2, "seed": 7},
)


async def test_the_whole_request_of_messages(model: Make) -> None:
    with serving("messages") as server:
        body = await sent(server, model(server.url, "minimax", key="k"), REQUEST)
        headers = server.provider.headers
    assert (headers["authorization"], headers["anthropic-version"]) == ("Bearer k", "2023-06-01")
    first, asks = body.pop("system")
    mark = {"cache_control": {"type": "ephemeral"}}
    assert first == {"type": "text", "text": "Be brief.", **mark}
    assert asks["text"].startswith("Answer with one JSON object")
    assert body == {
        "model": "scripted",
        "max_tokens": 99,
        "stream": True,
        "tools": [{"name": "look", "description": "Looks.", "input_schema": TOOLS[0].schema}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "adaptive"},
        "temperature": 0.01,
        "top_p": 1,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "go", **mark}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "why", "signature": signed("why")},
                    {"type": "tool_use", "id": "c", "name": "look", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "ok"}], **mark}
                ],
            },
        ],
    }


DETAIL = {
    "type": "reasoning.text",
    "id": "reasoning-text-1",
    "format": "MiniMax-response-v1",
    "index": 0,
    "text": "why",
}


@pytest.mark.parametrize(
    ("interface", "thought", "more"),
    [
        ("text", {"reasoning_content": "why"}, {}),
        ("chat", {"reasoning_details": [DETAIL]}, {"reasoning_split": True, "thinking": {"type": "adaptive"}}),
    ],
)
async def test_the_whole_request_of_text_and_chat(interface: str, thought: Any, more: Any, model: Make) -> None:
    with serving(interface) as server:
        body = await sent(server, model(server.url, "minimax", key="k", interface=interface), REQUEST)
        assert server.provider.headers["authorization"] == "Bearer k"
    head, go, called, result = body.pop("messages")
    assert head["role"] == "system"
    assert head["content"].endswith(json.dumps(SCHEMA, separators=(",", ":")))
    assert go == {"role": "user", "content": "go"}
    calls = [{"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}]
    assert called == {"role": "assistant", "content": None, "tool_calls": calls, **thought}
    assert result == {"role": "tool", "tool_call_id": "c", "content": "ok"}
    look = {"name": "look", "description": "Looks.", "parameters": TOOLS[0].schema}
    assert body == {
        "model": "scripted",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function", "function": look}],
        "tool_choice": "auto",
        "max_completion_tokens": 99,
        "temperature": 0.01,
        "top_p": 1,
        **more,
    }


async def test_knobs_and_choices(model: Make) -> None:
    with serving("messages") as server:
        made = model(server.url, "minimax")
        assert (await sent(server, made, ask(effort="off")))["thinking"] == {"type": "disabled"}
        assert (await sent(server, made, ask(effort="low")))["thinking"] == {"type": "adaptive"}
        assert "thinking" not in await sent(server, made, ask())
        forced = await sent(server, made, ask(tools=TOOLS, tool_choice="required"))
        assert forced["tool_choice"] == {"type": "any"}
        always = Profile(knobs={"effort": None, "cache": None})
        body = await sent(server, model(server.url, "minimax", profile=always), ask(effort="off"))
        assert "thinking" not in body
        assert "cache_control" not in json.dumps(body)
    with serving("text") as server:
        made = model(server.url, "minimax", interface="text")
        assert "thinking" not in await sent(server, made, ask(effort="off"))
        assert (await sent(server, made, ask(tools=TOOLS, tool_choice="none")))["tool_choice"] == "none"
        assert (await sent(server, made, ask(tools=TOOLS, tool_choice="required")))["tool_choice"] == "auto"
    with serving("chat") as server:
        tier = Profile(knobs={"speed": Knob(field="temperature", values={"fast": 0.5})})
        made = model(server.url, "minimax", interface="chat", profile=tier)
        assert (await sent(server, made, ask(knobs={"speed": "fast"})))["temperature"] == 0.5
    assert set(wire("minimax").knobs) == {"temperature", "top_p", "effort", "cache"}
    assert set(wire("minimax", {"interface": "text"}).knobs) == {"temperature", "top_p"}
    for wrong in ({"interface": "fax"}, {"nonsense": 1}):
        with pytest.raises(ConfigError):
            wire("minimax", wrong)


@every
@pytest.mark.parametrize("tail", ["/v1", "", "/", "/anthropic"])
async def test_the_base_url_is_the_server_s(tail: str, interface: str, model: Make) -> None:
    with serving(interface) as server:
        await completed(model(server.url.removesuffix("/v1") + tail, "minimax", interface=interface))


@every
async def test_reasoning_goes_back_and_to_nobody_else(interface: str, model: Make) -> None:
    with serving(interface, lambda _: FULL) as server:
        made = model(server.url, "minimax", interface=interface)
        end = await completed(made, ask(tools=TOOLS))
        results = [ToolMessage(part.id, "look", (Text("ok"),)) for part in end.parts if isinstance(part, ToolCall)]
        talk = (user("Hello"), AssistantMessage(end.parts), *results, AssistantMessage((Text("so"),)), user("and?"))
        assert "let me think" in json.dumps(await sent(server, made, ask(*talk, tools=TOOLS)))
        foreign = AssistantMessage((Thinking("deep", "other's proof", "anthropic/default"), *end.parts[2:]))
        body = await sent(server, made, ask(user("Hello"), foreign, *results, tools=TOOLS))
        assert "other's proof" not in json.dumps(body)
    silent = Profile(thinking_back="none")
    if interface != "messages":
        with serving(interface) as server:
            body = await sent(server, model(server.url, "minimax", interface=interface, profile=silent), ask(*talk))
            assert "let me think" not in json.dumps(body)
    with ProviderServer(lambda _: FULL) as server:
        await sent(server, model(server.url, "anthropic"), ask(*talk, tools=TOOLS))
        assert server.stats.violations == 0, "MiniMax's proof is not Anthropic's"


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
]


@every
@pytest.mark.parametrize("messages", ODD)
@pytest.mark.parametrize("effort", [None, "off", "high"])
async def test_any_conversation_is_sent_in_a_form_that_is_taken(
    messages: tuple[Message, ...], effort: Any, interface: str, model: Make
) -> None:
    with serving(interface) as server:
        request = ask(*messages, tools=TOOLS, effort=effort, tool_choice="required", temperature=0.5, stop=("END",))
        await sent(server, model(server.url, "minimax", profile=ALL, interface=interface), request)


SHOWN = UserMessage(
    (
        Text("see"),
        Image("image/png", "aGk="),
        Video("video/mp4", "aGk="),
        Video("video/mp4", url="https://example.org/a.mp4"),
        Audio("audio/mpeg", "aGk="),
        File("application/pdf", "aGk=", name="b.pdf"),
    )
)


async def test_media_in_messages(model: Make) -> None:
    data = {"type": "base64", "media_type": "video/mp4", "data": "aGk="}
    with serving("messages") as server:
        body = await sent(server, model(server.url, "minimax", profile=ALL), ask(SHOWN))
        content = [
            {key: value for key, value in block.items() if key != "cache_control"}
            for block in body["messages"][0]["content"]
        ]
        assert content == [
            {"type": "text", "text": "see"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
            {"type": "video", "source": data},
            {"type": "video", "source": {"type": "url", "url": "https://example.org/a.mp4"}},
            {"type": "text", "text": "[audio, audio/mpeg]"},
            {"type": "text", "text": "[file 'b.pdf', application/pdf]"},
        ]
        look = AssistantMessage((ToolCall("c", "look"),))
        turn = (user("go"), look, ToolMessage("c", "look", (Video("video/mp4", "aGk="),)))
        body = await sent(server, model(server.url, "minimax", profile=ALL), ask(*turn))
        assert body["messages"][2]["content"][0]["content"] == [{"type": "video", "source": data}]
        blind = await sent(server, model(server.url, "minimax"), ask(SHOWN))
        assert {block["type"] for block in blind["messages"][0]["content"]} == {"text"}


@pytest.mark.parametrize(("interface", "seen"), [("text", 1), ("chat", 3)])
async def test_media_in_text_and_chat(interface: str, seen: int, model: Make) -> None:
    with serving(interface) as server:
        body = await sent(server, model(server.url, "minimax", profile=ALL, interface=interface), ask(SHOWN))
    parts = body["messages"][1]["content"]
    assert parts[1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    assert [part["type"] for part in parts[2:4]] == (["video_url"] * 2 if seen == 3 else ["text"] * 2)
    assert [part["text"] for part in parts[4:]] == ["[audio, audio/mpeg]", "[file 'b.pdf', application/pdf]"]


@every
async def test_huge_arguments_and_many_calls(interface: str, model: Make) -> None:
    huge = {"text": "ä\n\"'😀" * 20_000}
    calls = (Call("look", huge), *(Call("look", {"n": n}) for n in range(30)))
    with serving(interface, lambda _: Reply(calls=calls, piece=7_000)) as server:
        made = model(server.url, "minimax", interface=interface)
        end = await completed(made, ask(tools=TOOLS))
        given = [json.loads(part.arguments) for part in end.parts if isinstance(part, ToolCall)]
        assert given == [huge, *({"n": n} for n in range(30))]
        results = [ToolMessage(part.id, "look", (Text("ok"),)) for part in end.parts if isinstance(part, ToolCall)]
        await sent(server, made, ask(user("go"), AssistantMessage(end.parts), *results))


CODES = [
    (500, "1000", "", "overloaded", True),
    (500, "1001", "", "timeout", True),
    (429, "1002", "", "rate_limited", True),
    (401, "1004", "", "auth", False),
    (401, "2049", "", "auth", False),
    (429, "1008", "", "quota", False),
    (500, "1024", "", "overloaded", True),
    (400, "1026", "", "refused", False),
    (400, "1027", "", "refused", False),
    (429, "1039", "", "rate_limited", True),
    (429, "1041", "", "rate_limited", True),
    (400, "1042", "", "bad_request", False),
    (400, "2013", "invalid params", "bad_request", False),
    (400, "2013", "invalid params, context window exceeds limit", "context_overflow", False),
    (429, "2045", "", "rate_limited", True),
    (429, "2056", "", "quota", False),
    (400, "2061", "", "auth", False),
]


@every
@pytest.mark.parametrize(("status", "number", "said", "code", "retryable"), CODES)
@pytest.mark.parametrize("how", ["status", "stream", "whole"])
async def test_each_number_has_a_stable_code_wherever_it_comes(
    how: str, status: int, number: str, said: str, code: str, retryable: bool, interface: str, model: Make
) -> None:
    kind: Any = "status" if how == "status" else "error"
    fault = Fault(kind=kind, status=status, message=f"{number}: {said or 'it says no'}", at=300, retry_after="7")
    with serving(interface, lambda _: Reply(text="half of it", fault=fault)) as server:
        made = model(server.url, "minimax", interface=interface)
        error = (await failed(made, ask(stream=how != "whole"))).error
    assert (error.code, error.retryable) == (code, retryable)
    assert (said or "it says no") in error.message
    assert f"({number})" in error.message
    assert error.retry_after == (7.0 if how == "status" and retryable else None)


@every
async def test_an_error_in_base_resp_is_one_behind_a_whole_answer_too(interface: str, raw: Raw, model: Make) -> None:
    content = {"content": [{"type": "text", "text": "half"}], "stop_reason": "end_turn"}
    choice = {"choices": [{"index": 0, "message": {"content": "half"}, "finish_reason": "stop"}]}
    said = {**(content if interface == "messages" else choice), "base_resp": {"status_code": 1027, "status_msg": "no"}}
    url = await raw(said, kind="application/json")
    error = (await failed(model(url, "minimax", interface=interface), ask(stream=False))).error
    assert (error.code, error.message) == ("refused", "scripted refused: no (1027)")
    unknown = {**said, "base_resp": {"status_code": 4711, "status_msg": "new"}}
    url = await raw(unknown, kind="application/json")
    assert (await failed(model(url, "minimax", interface=interface), ask(stream=False))).error.code == "overloaded"


@every
@pytest.mark.parametrize(("stop", "text"), [("length", "half"), ("length", ""), ("refusal", "no")])
async def test_stop_reasons(stop: Any, text: str, interface: str, model: Make) -> None:
    with serving(interface, lambda _: Reply(text=text, stop=stop)) as server:
        _, end = await run(model(server.url, "minimax", interface=interface))
    if not text:
        assert isinstance(end, Failed)
        assert end.error.code == "empty"
        return
    assert isinstance(end, Completed)
    # The chat only flags what its filter lets through.
    assert end.stop == ("end" if stop == "refusal" and interface != "messages" else stop)


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


async def test_what_the_filter_emptied_is_a_refusal(raw: Raw, model: Make) -> None:
    url = await raw(delta(content=""), {**delta("stop"), "output_sensitive": True, "output_sensitive_type": 1})
    error = (await failed(model(url, "minimax", interface="text"))).error
    assert (error.code, error.retryable) == ("refused", False)


def details(*texts: str) -> list[dict[str, Any]]:
    return [delta(reasoning_details=[{"type": "reasoning.text", "text": text}]) for text in texts]


@pytest.mark.parametrize(
    "texts",
    [
        ("I", " think", ", so"),
        ("I", "I think", "I think, so", "I think, so"),
        ("I think, so",),
        ("I ", "think", "", ", so"),
    ],
)
async def test_reasoning_that_grows_and_reasoning_in_pieces(texts: tuple[str, ...], raw: Raw, model: Make) -> None:
    url = await raw(*details(*texts), delta(content="am"), delta("stop"))
    deltas, end = await run(model(url, "minimax", interface="chat"))
    assert isinstance(end, Completed)
    assert end.parts == (Thinking("I think, so"), Text("am"))
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == "I think, so"


async def test_reasoning_in_two_fields_counts_once(raw: Raw, model: Make) -> None:
    both = [delta(reasoning_content=text, reasoning_details=[{"text": text}]) for text in ("I ", "am")]
    end = await completed(model(await raw(*both, delta("stop", content="so")), "minimax", interface="chat"))
    assert end.parts == (Thinking("I am"), Text("so"))


async def test_the_message_behind_a_stream_is_not_said_twice(raw: Raw, model: Make) -> None:
    whole = {"choices": [{"index": 0, "message": {"content": "so it is"}, "finish_reason": "stop"}]}
    usage = {"usage": {"total_tokens": 73}, "base_resp": {"status_code": 0, "status_msg": ""}}
    url = await raw(delta(content="so "), delta("stop", content="it is"), {**whole, **usage})
    end = await completed(model(url, "minimax", interface="text", profile=Profile(price=Price(1, 1))))
    assert end.parts == (Text("so it is"),)
    assert end.usage == Usage(), "what is not counted is not known"
    alone = await completed(model(await raw({**whole, **usage}), "minimax", interface="text"))
    assert alone.parts == (Text("so it is"),)


@every
@pytest.mark.parametrize("kind", ["reset", "close", "malformed", "stall"])
async def test_a_fault_at_a_byte_gives_the_whole_answer_or_a_typed_failure(
    kind: Any, interface: str, model: Make
) -> None:
    reply = Reply(text="Grüße, 世界 😀! " * 3, thinking="hm", calls=(Call("look", {"path": "ä"}),), piece=7)
    asked = Asked("scripted", True, [{}], {"stream_options": {"include_usage": True}})
    frames = DIALECTS[interface].frames(reply, asked)
    size = sum(map(len, frames))
    finished = sum(map(len, frames[:-1]))
    code = {"malformed": "malformed", "stall": "timeout"}.get(kind, "connection")
    for at in [0, 1, size // 3, size // 2, finished, size - 1] if kind != "stall" else [size // 2]:
        faulty = {name: getattr(reply, name) for name in reply.__struct_fields__} | {"fault": Fault(kind=kind, at=at)}
        with serving(interface, lambda _, faulty=faulty: Reply(**faulty)) as server:
            _, end = await asyncio.wait_for(run(model(server.url, "minimax", interface=interface)), 20)
        if isinstance(end, Failed):
            assert (end.error.code, end.error.retryable) == (code, True)
            assert at < finished, "the answer was whole"
        else:
            assert end.parts[1] == Text(reply.text)


async def test_the_official_sdk_understands_the_messages() -> None:
    anthropic = pytest.importorskip("anthropic")
    asked: dict[str, Any] = {"model": "MiniMax-M3", "max_tokens": 500, "messages": [{"role": "user", "content": "hi"}]}
    with ProviderServer(lambda _: FULL, key="k") as server:
        root = server.url.removesuffix("/v1") + "/anthropic"
        client = anthropic.AsyncAnthropic(base_url=root, api_key="k", max_retries=0)
        whole = await client.messages.create(**asked, thinking={"type": "adaptive"})
        async with client.messages.stream(**asked) as stream:
            streamed = await stream.get_final_message()
        for message in (whole, streamed):
            thinking, text, one, two = message.content
            assert (thinking.thinking, thinking.signature) == ("let me think", signed("let me think"))
            assert (text.text, one.input, two.input) == (FULL.text, {"path": "ä"}, {"path": "b"})
            assert (message.stop_reason, message.usage.cache_read_input_tokens) == ("tool_use", 400)
        turn = [*asked["messages"], {"role": "assistant", "content": whole.content}]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "ok"} for call in (one, two)]
        await client.messages.create(**{**asked, "messages": [*turn, {"role": "user", "content": results}]})
        with pytest.raises(anthropic.BadRequestError):
            await client.messages.create(**asked, stop_sequences=["END"])
        with pytest.raises(anthropic.AuthenticationError):
            await client.with_options(api_key="no").messages.create(**asked)
        await client.close()


async def test_the_official_sdk_understands_the_chat() -> None:
    openai = pytest.importorskip("openai")
    asked: dict[str, Any] = {"model": "MiniMax-M3", "messages": [{"role": "user", "content": "hi"}]}
    with ProviderServer(lambda _: FULL, speaks=[CHAT]) as server:
        client = openai.AsyncOpenAI(base_url=server.url, api_key="k", max_retries=0)
        whole = await client.chat.completions.create(**asked, extra_body={"reasoning_split": True})
        message = whole.choices[0].message
        assert message.reasoning_details[0]["text"] == "let me think"
        assert [json.loads(call.function.arguments)["path"] for call in message.tool_calls] == ["ä", "b"]
        text = ""
        async for piece in await client.chat.completions.create(**asked, stream=True):
            text += (piece.choices[0].delta.content or "") if piece.choices else ""
        assert text == FULL.text
        await client.close()
