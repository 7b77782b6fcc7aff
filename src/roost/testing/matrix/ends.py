"""Behaviours of calls that are cancelled, cut off or refused."""

from __future__ import annotations

import asyncio
import contextlib
import time

from roost.log.content import Text, ToolCall
from roost.models.request import Completed, Failed, Notice
from roost.routing.recovery import Continuing
from roost.stub.script import Fault, Reply
from roost.testing.matrix.base import behaviour
from roost.testing.matrix.ground import Ground, NotHere, Place
from roost.testing.matrix.tools import TOOLS
from roost.testing.models import ask, run, user
from roost.testing.scripted import Call

AT_ONCE = 1.0
"""Seconds within which the provider must notice that the reader is gone."""


@behaviour(live=True)
async def abort(ground: Ground) -> None:
    """Cancelling the task or closing the stream ends the call at once, before the first word and in the middle."""
    waiting = Reply(text="never", delay=30.0)
    talking = Reply(text="word " * 2000, pace=0.02, piece=5)
    for reply in (waiting, talking):
        for close in (True, False):
            if reply is waiting and close:
                continue  # the reader cannot close a stream before anything has come
            async with ground.place(reply) as place:
                await _leave(place, close=close, first=reply is talking)


async def _leave(place: Place, *, close: bool, first: bool) -> None:
    stream = place.model().stream(ask(user("Count to a thousand in words.")))
    heard = asyncio.Event()

    async def read() -> None:
        async with contextlib.aclosing(stream):
            async for event in stream:
                if isinstance(event, Completed) and not place.scripted:
                    raise NotHere("the answer was whole before it could be left")
                assert not isinstance(event, Completed | Failed), event
                if not isinstance(event, Notice):
                    heard.set()
                    if close:
                        return

    task = asyncio.create_task(read())
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # a failed check may leave it behind
    if place.scripted:
        reached = lambda: place.stats.open > 0 or task.done()  # noqa: E731
        await place.until(reached, "the call did not reach the provider", 5.0)
        if task.done():
            task.result()
    if first:
        waits = asyncio.create_task(heard.wait())
        await asyncio.wait({task, waits}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        waits.cancel()
    began = time.monotonic()
    if not close:
        task.cancel()
    done, _ = await asyncio.wait({task}, timeout=AT_ONCE)
    assert done, "the reader does not come back"
    if not task.cancelled():
        task.result()
    assert task.cancelled() != close
    assert time.monotonic() - began < AT_ONCE
    if place.scripted:
        await place.until(lambda: place.stats.left == 1, "the provider still serves", AT_ONCE)


@behaviour()
async def empty_answer(ground: Ground) -> None:
    """An empty answer is a retryable failure, not an empty message."""
    for reply in (Reply(), Reply(thinking="only thought")):
        async with ground.place(reply) as place:
            for stream in (True, False):
                error = (await place.failed(ask(stream=stream))).error
                assert (error.code, error.retryable) == ("empty", True), error


@behaviour()
async def refusal(ground: Ground) -> None:
    """A refusal is reported as one, with and without text before it."""
    async with ground.place(Reply(text="I would rather not.", stop="refusal")) as place:
        for stream in (True, False):
            end = await place.completed(ask(stream=stream))
            assert (end.stop, [part for part in end.parts if isinstance(part, Text)]) == (
                "refusal",
                [Text("I would rather not.")],
            )
    async with ground.place(Reply(stop="refusal")) as place:
        for stream in (True, False):
            error = (await place.failed(ask(stream=stream))).error
            assert (error.code, error.retryable) == ("refused", False), error


@behaviour(live=True)
async def length(ground: Ground) -> None:
    """An answer at its limit says so, and a call that the limit cut is not made."""
    async with ground.place(Reply(text="one two", stop="length")) as place:
        for stream in (True, False):
            end = await place.completed(ask(user("Count to a thousand in words."), max_output=16, stream=stream))
            if ground.real is not None and end.stop == "end":
                raise NotHere("the answer was shorter than its limit")
            assert end.stop == "length"
    if ground.real is None:
        cut = Reply(text="let me", calls=(Call("look", '{"path": "a/ve'),), stop="length", piece=4)
        async with ground.place(cut) as place:
            end = await place.completed(ask(tools=TOOLS))
            whole = [part for part in end.parts if isinstance(part, ToolCall)]
            # A protocol whose arguments are objects cannot carry half of one.
            assert all(part.arguments.endswith("}") for part in whole)
            assert end.stop == "length"


@behaviour()
async def cut_call(ground: Ground) -> None:
    """A lone call that the output limit cut off is reported as cut: the answer is no failure, and the half call is not
    among its parts. The result that tells the model so can be sent."""
    cut = Reply(calls=(Call("look", '{"path": "a/ve'),), stop="length", piece=4)
    whole = Reply(text="done")
    async with ground.place(lambda body: whole if "was cut off" in str(body) else cut) as place:
        # Only a stream can carry half an object.
        end = await place.completed(ask(tools=TOOLS))
        halves = [part for part in end.parts if isinstance(part, ToolCall) and not part.arguments.endswith("}")]
        assert not halves
        assert end.cut in ("look", "") or any(isinstance(part, ToolCall) for part in end.parts)
        _, mended = await run(Continuing(place.model(max_output=100)), ask(tools=TOOLS))
        assert isinstance(mended, Completed), mended
        if end.cut == "look":
            assert [part for part in mended.parts if isinstance(part, Text)] == [Text("done")]


@behaviour()
async def overflow(ground: Ground) -> None:
    """A request that is too long for the model is recognized under any wording, before and in the stream."""
    for words in ground.subject.overflow:
        await _fails(ground, Fault(kind="status", status=400, message=words), "context_overflow", retryable=False)
        await _fails(ground, Fault(kind="error", status=400, message=words, at=1), "context_overflow", retryable=False)
    await _fails(ground, Fault(kind="status", status=413, message="too large"), "context_overflow", retryable=False)


@behaviour()
async def refused_calls(ground: Ground) -> None:
    """Statuses map to codes, and `retry-after` is passed on."""
    kinds: list[tuple[int, str, str, bool]] = [
        (401, "Incorrect API key", "auth", False),
        (402, "insufficient balance", "quota", False),
        (404, "no such model", "bad_request", False),
        (429, "slow down", "rate_limited", True),
        (500, "oops", "overloaded", True),
        (503, "busy", "overloaded", True),
    ]
    for status, words, code, retryable in kinds:
        fault = Fault(kind="status", status=status, message=words, retry_after="7")
        failure = await _fails(ground, fault, code, retryable=retryable)
        assert failure.error.retry_after == (7.0 if retryable else None)


@behaviour()
async def keys(ground: Ground) -> None:
    """The key is sent where the protocol expects it, and is in no error message."""
    async with ground.place(Reply(text="hi"), key="secret-key-1234") as place:
        await place.completed(ask(), key="secret-key-1234")
        error = (await place.failed(ask(), key="wrong-key-5678")).error
        assert (error.code, error.retryable) == ("auth", False), error
        assert "wrong-key-5678" not in error.message


async def _fails(ground: Ground, fault: Fault, code: str, *, retryable: bool) -> Failed:
    async with ground.place(Reply(text="half of it", piece=2, fault=fault)) as place:
        end = await place.failed(ask())
        assert (end.error.code, end.error.retryable) == (code, retryable), (fault, end.error)
        assert fault.message in end.error.message
        return end
