"""How MiniMax's answers end, and break, in its three interfaces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.pairs import pairwise

from roost.log.content import Text, Thinking, Usage
from roost.models.http_model import HttpModel
from roost.models.request import Completed, Failed, Price, Profile, ThinkingDelta
from roost.stub.dialects.base import Asked
from roost.stub.dialects.minimax import CHAT, DIALECT, TEXT
from roost.stub.provider import ProviderServer, Replies
from roost.stub.script import Fault, Reply
from roost.testing.models import ask, completed, failed, run
from roost.testing.scripted import Call

Make = Callable[..., HttpModel]
Raw = Callable[..., Awaitable[str]]
DIALECTS = {"messages": DIALECT, "chat": CHAT, "text": TEXT}

every = pytest.mark.parametrize("interface", DIALECTS)


def serving(interface: str, replies: Replies) -> ProviderServer:
    return ProviderServer(replies, speaks=[DIALECTS[interface]])


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


@pytest.mark.parametrize(("number", "how", "interface"), pairwise(CODES, ["status", "stream", "whole"], list(DIALECTS)))
async def test_each_number_has_a_stable_code_wherever_it_comes(
    number: tuple[int, str, str, str, bool], how: str, interface: str, model: Make
) -> None:
    """One table has the numbers of all interfaces, so pairs do: each number in each way and in each interface."""
    status, digits, said, code, retryable = number
    kind: Any = "status" if how == "status" else "error"
    fault = Fault(kind=kind, status=status, message=f"{digits}: {said or 'it says no'}", at=300, retry_after="7")
    with serving(interface, lambda _: Reply(text="half of it", fault=fault)) as server:
        made = model(server.url, "minimax", interface=interface)
        error = (await failed(made, ask(stream=how != "whole"))).error
    assert (error.code, error.retryable) == (code, retryable)
    assert (said or "it says no") in error.message
    assert f"({digits})" in error.message
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
    assert isinstance(end, Completed)
    if not text:  # the recovery asks again with more room
        assert (end.parts, end.stop) == ((), "length")
        return
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
    patience = 0.6 if kind == "stall" else 60.0
    for at in [0, 1, size // 3, size // 2, finished, size - 1] if kind != "stall" else [size // 2]:
        faulty = {name: getattr(reply, name) for name in reply.__struct_fields__} | {"fault": Fault(kind=kind, at=at)}
        with serving(interface, lambda _, faulty=faulty: Reply(**faulty)) as server:
            made = model(server.url, "minimax", interface=interface, patience=patience)
            _, end = await asyncio.wait_for(run(made), 60)
        if isinstance(end, Failed):
            assert (end.error.code, end.error.retryable) == (code, True)
            assert at < finished, "the answer was whole"
        else:
            assert end.parts[1] == Text(reply.text)
