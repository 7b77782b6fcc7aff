"""Answers of every shape that servers of this wire give."""

# Parts and ends are unions, whose kind a test asserts by their content.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportPossiblyUnboundVariable=false
from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.yardstick import slowness

from roost.log.content import AssistantMessage, Text, Thinking, ToolCall, ToolMessage, Usage
from roost.models.http_model import HttpModel
from roost.models.request import CallDelta, Price, Profile, TextDelta, ThinkingDelta
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply
from roost.testing.models import ask, completed, failed, run, user
from roost.testing.scripted import Call

Chat = Callable[..., HttpModel]
Raw = Callable[..., Awaitable[str]]


def delta(finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish}]}


def call(index: int | None = None, id: str | None = None, **function: Any) -> dict[str, Any]:
    entry = {"index": index, "id": id, "function": function}
    return delta(tool_calls=[{key: value for key, value in entry.items() if value is not None}])


async def test_an_answer_of_every_kind_of_part(chat: Chat) -> None:
    reply = Reply(
        text="Grüße 世界 😀",
        thinking="let me think",
        calls=(Call("look", {"path": "a"}), Call("look", {"path": "b"})),
        usage=Usage(input=1000, output=50, cached=400),
        piece=3,
    )
    with ProviderServer(lambda _: reply) as server:
        profile = Profile(price=Price(input=250, output=2000, cached=25))
        deltas, end = await run(chat(server.url, profile=profile))
    thinking, text, one, two = end.parts
    assert (thinking, text) == (Thinking("let me think"), Text("Grüße 世界 😀"))
    assert [(part.name, part.arguments) for part in (one, two)] == [("look", '{"path":"a"}'), ("look", '{"path":"b"}')]
    assert end.stop == "tool_calls"
    assert end.usage == Usage(1000, 50, 400, cost=600 * 250 + 400 * 25 + 50 * 2000)
    assert "".join(d.text for d in deltas if isinstance(d, TextDelta)) == text.text
    assert "".join(d.text for d in deltas if isinstance(d, ThinkingDelta)) == "let me think"
    assert len([d for d in deltas if isinstance(d, TextDelta)]) > 2
    pieces = [d for d in deltas if isinstance(d, CallDelta)]
    assert [d.name for d in pieces if d.name] == ["look", "look"]
    for index, part in enumerate((one, two)):
        assert "".join(d.arguments for d in pieces if d.index == index) == part.arguments


async def test_deltas_come_while_the_answer_is_still_open(chat: Chat) -> None:
    with ProviderServer(lambda _: Reply(text="0123456789" * 3, piece=10, pace=0.1)) as server:
        stream = chat(server.url).stream(ask())
        assert await anext(stream) == TextDelta("0123456789")
        assert server.stats.open == 1
        await stream.aclose()


async def test_without_a_price_the_cost_is_unknown(chat: Chat, raw: Raw) -> None:
    with ProviderServer(lambda _: Reply(text="hi")) as server:
        assert (await completed(chat(server.url))).usage.cost is None
    url = await raw(delta("stop", content="hi"))
    assert (await completed(chat(url))).usage == Usage()
    url = await raw(delta("stop", content="hi"), {"choices": [], "usage": {"prompt_tokens": 3, "cost": 0.000002}})
    assert (await completed(chat(url))).usage == Usage(input=3, cost=2000)


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"prompt_tokens": 12.0, "completion_tokens": 3.0}, Usage(12, 3)),
        ({"prompt_tokens": -5, "completion_tokens": 7}, Usage()),
        ({"prompt_tokens": 5, "completion_tokens": -7}, Usage()),
        ({"prompt_tokens": 10**18, "completion_tokens": 7}, Usage()),
        ({"prompt_tokens": 10**30, "completion_tokens": 10**30}, Usage()),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, Usage()),
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 10**30}}, Usage(5, 0, 5)),
        ({"prompt_tokens": 5, "cost": -1.0}, Usage(5)),
        ({"prompt_tokens": 5, "cost": 1e300}, Usage(5)),
    ],
)
async def test_a_count_that_cannot_be_true_is_none(counts: dict[str, Any], usage: Usage, chat: Chat, raw: Raw) -> None:
    end = await completed(chat(await raw(delta("stop", content="hi"), {"choices": [], "usage": counts})))
    assert (end.usage, end.parts) == (usage, (Text("hi"),))


async def test_an_id_that_no_provider_gives_is_not_kept(chat: Chat, raw: Raw) -> None:
    for given in ("a" * 5_000, "a\0b", ""):
        url = await raw(call(0, given, name="f" * 5_000, arguments=""), delta("tool_calls"))
        (part,) = (await completed(chat(url))).parts
        assert isinstance(part, ToolCall)
        assert part.id.startswith("call_")
        assert len(part.name) < 300


async def test_huge_arguments(chat: Chat) -> None:
    big = "x" * 2_000_000
    for piece in (3_000_000, 50_000):
        with ProviderServer(lambda _, size=piece: Reply(calls=(Call("save", {"data": big}),), piece=size)) as server:
            end = await completed(chat(server.url))
        assert json.loads(end.parts[0].arguments) == {"data": big}


@pytest.mark.long
async def test_many_calls_in_parallel(chat: Chat) -> None:
    def echo(body: dict[str, Any]) -> Reply:
        return Reply(text=body["messages"][-1]["content"] * 20, piece=5)

    with ProviderServer(echo) as server:
        model = chat(server.url)
        ends = await asyncio.gather(*(completed(model, ask(user(f"<{n}>"))) for n in range(40)))
        assert server.stats.answered == 40
    assert [end.parts[0].text for end in ends] == [f"<{n}>" * 20 for n in range(40)]


async def test_a_document_of_too_many_parts_is_not_taken_apart(chat: Chat, raw: Raw) -> None:
    body = b'{"choices": [' + b"{}," * 1_100_000 + b"{}]}"
    began = time.process_time()
    error = (await failed(chat(await raw(body, kind="application/json")))).error
    assert (error.code, "parts" in error.message) == ("malformed", True)
    assert (time.process_time() - began) / slowness() < 2


HALF = "\ud83d"
"""Of a character: JSON can carry it, and UTF-8 cannot."""


@pytest.mark.parametrize(
    ("kind", "frame"),
    [
        ("openai_chat", {"error": {"message": HALF, "code": HALF}}),
        (
            "openai_chat",
            {"choices": [{"delta": {"tool_calls": [{"function": {"name": "f", "arguments": {"a": HALF}}}]}}]},
        ),
        ("openai_responses", {"type": "error", "code": HALF, "message": HALF}),
        ("anthropic", {"type": "error", "error": {"type": HALF, "message": HALF}}),
        (
            "anthropic",
            {"content": [{"type": "tool_use", "name": "f", "input": {"a": HALF}}], "stop_reason": "tool_use"},
        ),
        (
            "anthropic",
            {"content": [{"type": "thinking", "signature": HALF}, {"type": "text", "text": "x"}], "stop_reason": "e"},
        ),
        ("gemini", {"error": {"message": HALF}}),
        ("gemini", {"candidates": [{"finishReason": "OTHER", "finishMessage": HALF}]}),
        ("glm", {"id": HALF, "task_status": "FAIL"}),
        ("glm", {"error": {"code": HALF, "message": HALF}}),
        ("minimax", {"base_resp": {"status_code": 1000, "status_msg": HALF}}),
    ],
)
async def test_halves_of_characters_are_in_no_outcome(
    kind: str, frame: Any, model: Callable[..., HttpModel], raw: Raw
) -> None:
    for type_of in ("application/json", "text/event-stream"):
        _, end = await run(model(await raw(frame, kind=type_of), kind))
        assert "unexpected failure" not in str(getattr(end, "error", ""))
        assert "\\ud83d" not in repr(end)


async def test_split_and_lone_surrogates(chat: Chat, raw: Raw) -> None:
    frames = [
        b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}',
        b'{"choices":[{"delta":{"content":"\\ude00b"}}]}',
        b'{"choices":[{"delta":{"content":"c\\ud83d"}}]}',
        call(0, name="f", arguments='{"k": "\ud83d'),
        call(0, arguments='\ude00"}'),
        delta("stop"),
    ]
    deltas, end = await run(chat(await raw(*frames)))
    assert end.parts[0] == Text("a😀bc\ufffd")
    assert end.parts[1].arguments == '{"k": "😀"}'
    "".join(d.text for d in deltas if isinstance(d, TextDelta)).encode()


async def test_a_frame_that_is_not_utf8_is_read_as_far_as_possible(chat: Chat, raw: Raw) -> None:
    end = await completed(chat(await raw(b'{"choices":[{"delta":{"content":"a\xffb"},"finish_reason":"stop"}]}')))
    assert end.parts == (Text("a\ufffdb"),)


ODD_CALLS = {
    "no index, a name starts a call": [
        call(id="a", name="f", arguments='{"n":1}'),
        call(id="b", name="f", arguments='{"n":2}'),
    ],
    "every index 0": [call(0, "a", name="f", arguments='{"n":1}'), call(0, "b", name="f", arguments='{"n":2}')],
    "one id for both": [call(0, "a", name="f", arguments='{"n":1}'), call(1, "a", name="f", arguments='{"n":2}')],
    "no ids": [call(0, name="f", arguments='{"n":1}'), call(1, name="f", arguments='{"n":2}')],
    "the name in every frame": [
        call(0, "a", name="f", arguments='{"n"'),
        call(0, "a", name="f", arguments=":1}"),
        call(1, "b", name="f", arguments='{"n":2}'),
    ],
    "interleaved": [
        call(0, "a", name="f", arguments='{"n"'),
        call(1, "b", name="f", arguments='{"n"'),
        call(0, arguments=":1}"),
        call(1, arguments=":2}"),
    ],
    "objects": [call(0, "a", name="f", arguments={"n": 1}), call(1, "b", name="f", arguments={"n": 2})],
}


@pytest.mark.parametrize("kind", ODD_CALLS)
async def test_calls_as_odd_servers_send_them(kind: str, chat: Chat, raw: Raw) -> None:
    end = await completed(chat(await raw(*ODD_CALLS[kind], delta("stop"))))
    assert [(part.name, json.loads(part.arguments)) for part in end.parts] == [("f", {"n": 1}), ("f", {"n": 2})]
    assert end.stop == "tool_calls"


async def test_a_call_id_of_the_transcript_is_not_used_again(chat: Chat, raw: Raw) -> None:
    past = (
        user("go"),
        AssistantMessage((ToolCall("call_0", "f"),)),
        ToolMessage("call_0", "f", (Text("done"),)),
    )
    url = await raw(call(0, "call_0", name="f", arguments=""), delta("tool_calls"))
    (part,) = (await completed(chat(url), ask(*past))).parts
    assert part.id != "call_0"
    assert part.arguments == "{}"


async def test_a_call_without_a_name_is_no_answer(chat: Chat, raw: Raw) -> None:
    url = await raw(delta(content="Now:"), call(0, "a", arguments="{}"), delta("tool_calls"))
    assert (await failed(chat(url))).error.code == "malformed"


async def test_the_output_limit_leaves_no_half_call(chat: Chat, raw: Raw) -> None:
    cut = [call(0, "a", name="f", arguments='{"n":1}'), call(1, "b", name="rm", arguments='{"path":"/')]
    end = await completed(chat(await raw(*cut, delta("length"))))
    assert (end.stop, [part.name for part in end.parts]) == ("length", ["f"])
    assert end.cut == "rm"
    end = await completed(chat(await raw(call(0, "b", name="rm", arguments=""), delta("length"))))
    assert (end.stop, end.parts, end.cut) == ("length", (), "rm")


async def test_refusals(chat: Chat, raw: Raw) -> None:
    end = await completed(chat(await raw(delta(refusal="I will not."), delta("stop"))))
    assert (end.stop, end.parts) == ("refusal", (Text("I will not."),))
    end = await completed(chat(await raw(delta(content="Half a"), delta("content_filter"))))
    assert end.stop == "refusal"
    assert (await failed(chat(await raw(delta("content_filter"))))).error.code == "refused"


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        ({"message": "upstream died", "code": 502}, "overloaded", True),
        ({"message": "slow down", "type": "rate_limit_exceeded"}, "rate_limited", True),
        ({"message": "maximum context length is 5"}, "context_overflow", False),
        ("just a text", "overloaded", True),
    ],
)
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json"])
async def test_an_error_inside_a_good_status(
    error: Any, code: str, retryable: bool, kind: str, chat: Chat, raw: Raw
) -> None:
    frames = [{"error": error}] if kind == "application/json" else [delta(content="Half"), {"error": error}]
    found = (await failed(chat(await raw(*frames, kind=kind)))).error
    assert (found.code, found.retryable) == (code, retryable)


BAD = [b"not json", b"[1]", b'{"choices": 5}', b"[" * 100_000, b'{"choices":[{"delta":{"content":7}}]}', b"{"]


@pytest.mark.parametrize("frame", BAD)
async def test_a_frame_that_cannot_be_read_is_a_failure(frame: bytes, chat: Chat, raw: Raw) -> None:
    error = (await failed(chat(await raw(delta(content="Half"), frame, delta("stop", content="more"))))).error
    assert (error.code, error.retryable) == ("malformed", True)
    assert len(error.message) < 1000


async def test_an_event_above_the_cap_is_a_failure(chat: Chat, raw: Raw) -> None:
    error = (await failed(chat(await raw(delta("stop", content="x" * 70_000_000))))).error
    assert (error.code, "more than" in error.message) == ("oversized", True)


async def test_a_stream_without_its_end_mark_is_whole_with_a_finish_reason(chat: Chat, raw: Raw) -> None:
    end = await completed(chat(await raw(delta(content="hi"), delta("stop"), done=False)))
    assert end.parts == (Text("hi"),)
    error = (await failed(chat(await raw(delta(content="hi"), done=False)))).error
    assert (error.code, error.retryable) == ("malformed", True)


async def test_content_in_parts_and_other_choices(chat: Chat, raw: Raw) -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "yes"}]
    other = {"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"}]}
    end = await completed(chat(await raw(delta(content=parts), other, delta(reasoning="!"), delta("stop"))))
    assert end.parts == (Thinking("hm!"), Text("yes"))


async def test_only_thinking_is_an_empty_answer(chat: Chat, raw: Raw) -> None:
    error = (await failed(chat(await raw(delta(reasoning_content="hm"), delta("stop"))))).error
    assert (error.code, error.retryable) == ("empty", True)


async def test_the_environment_s_proxy_is_used_but_not_for_the_loopback(
    chat: Chat, raw: Raw, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = (await raw(delta("stop", content="through the proxy"))).removesuffix("/v1")
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert (await completed(chat("http://model.invalid/v1"))).parts == (Text("through the proxy"),)
    with ProviderServer(lambda _: Reply(text="direct")) as server:
        assert (await completed(chat(server.url))).parts == (Text("direct"),)
