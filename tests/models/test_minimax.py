"""The MiniMax wire, in its three interfaces, against a server that checks what it is sent strictly."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.pairs import pairwise

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
from roost.models.http_model import HttpModel
from roost.models.profile import Knob
from roost.models.request import CallDelta, Completed, Price, Profile, Request, TextDelta, ThinkingDelta, ToolSpec
from roost.models.wires import wire
from roost.stub.dialects.minimax import CHAT, DIALECT, TEXT, signed
from roost.stub.provider import ProviderServer, Replies
from roost.stub.script import Reply
from roost.testing.models import ask, completed, run, user
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


@pytest.mark.parametrize(("messages", "effort", "interface"), pairwise(ODD, [None, "off", "high"], list(DIALECTS)))
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
