"""One model call: intent, stream, outcome."""

from __future__ import annotations

import asyncio
import random
import time

import msgspec

from roost.agent import context
from roost.agent.ending import fail_step
from roost.agent.session import Interrupted, LiveSession
from roost.llm.ir import CallDelta, Completed, Failed, Notice, Request, TextDelta, ThinkingDelta
from roost.log import events as ev
from roost.log.content import AssistantPart, ErrorData, ToolCall, Usage

ATTEMPTS = 5
"""Failed calls in a row before the turn fails."""
CRASHES = 25
"""Of the daemon in the middle of one call before the turn fails: perhaps it is the call that brings it down."""
_BACKOFF = (0.5, 1.0, 2.0, 4.0)
_LONGEST_WAIT = 120.0


async def run(session: LiveSession) -> str | None:
    """Call the model once. Returns None to go on, or why the turn cannot. Raises `Interrupted`, with the step closed
    in the log unless the daemon is shutting down."""
    open_step = session.state.open_step
    if open_step is not None and open_step.attempt >= CRASHES:
        fail_step(session, "interrupted", "the daemon ended in the middle of this call too often")
        return f"interrupted: the daemon ended {open_step.attempt} times in the middle of this model call"
    context.make_room(session)
    step = _announce(session)
    await session.flush()
    request = context.build(session)
    heard = _Heard()
    began = time.monotonic()
    try:
        outcome = await session.interruptible(lambda: _stream(session, step, request, heard), steer=True)
    except Interrupted as interrupted:
        if interrupted.cause != "shutdown":
            code = "steered" if interrupted.cause == "steer" else interrupted.cause
            seconds, usage = time.monotonic() - began, _estimate(session, heard)
            fail_step(session, code, f"cut off: {interrupted.cause}", seconds=seconds, usage=usage)
        if interrupted.cause == "steer":
            return None
        raise
    finally:
        session.means.deltas.clear(session.id)
    seconds = time.monotonic() - began
    if isinstance(outcome, Completed) and outcome.parts:
        session.note(
            ev.ModelCompleted(
                at=time.time(),
                step=step,
                parts=_unique(session, step, outcome.parts),
                stop=outcome.stop,
                usage=outcome.usage,
                seconds=seconds,
            )
        )
        return None
    empty = ErrorData("empty", "the model answered nothing", retryable=True)
    error = outcome.error if isinstance(outcome, Failed) else empty
    usage = outcome.usage
    if usage is None and heard.characters:
        usage = _estimate(session, heard)
    session.note(ev.ModelFailed(at=time.time(), step=step, error=error, seconds=seconds, usage=usage))
    return await _recover(session, error)


class _Heard:
    """How much of an answer came before the call ended, in characters."""

    characters = 0


def _estimate(session: LiveSession, heard: _Heard) -> Usage:
    """What a call that did not end by itself has cost: the provider counted, and did not get to say."""
    usage = Usage(input=context.size(session), output=heard.characters // 4)
    price = session.means.model.profile.price
    return msgspec.structs.replace(usage, cost=None if price is None else price.cost(usage))


def _unique(session: LiveSession, step: int, parts: tuple[AssistantPart, ...]) -> tuple[AssistantPart, ...]:
    """Some providers count their call ids anew in every answer; strict ones refuse an id that was there before."""
    known = session.call_ids
    unique = tuple(
        ToolCall(f"{part.id}-{step}", part.name, part.arguments)
        if isinstance(part, ToolCall) and part.id in known
        else part
        for part in parts
    )
    known.update(part.id for part in unique if isinstance(part, ToolCall))
    return unique


def _announce(session: LiveSession) -> int:
    """Note the intent. A step that a crash cut off is taken up under its own number."""
    open_step = session.state.open_step
    step = open_step.step if open_step else session.state.steps + 1
    attempt = open_step.attempt + 1 if open_step else 1
    session.note(ev.ModelStarted(at=time.time(), step=step, model=session.means.model.name, attempt=attempt))
    return step


async def _stream(session: LiveSession, step: int, request: Request, heard: _Heard) -> Completed | Failed:
    push = session.means.deltas.push
    stream = session.means.model.stream(request)
    try:
        async for event in stream:
            match event:
                case Completed() | Failed():
                    return event
                case TextDelta():
                    heard.characters += len(event.text)
                    push(session.id, step, session.head, "text", event.text)
                case ThinkingDelta():
                    heard.characters += len(event.text)
                    push(session.id, step, session.head, "thinking", event.text)
                case CallDelta():
                    heard.characters += len(event.arguments)
                    push(session.id, step, session.head, "call", event.arguments)
                case Notice():
                    pass
    finally:
        await stream.aclose()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    return Failed(ErrorData("malformed", "the model's stream ended without an outcome", retryable=True))


async def _recover(session: LiveSession, error: ErrorData) -> str | None:
    """Wait before the next attempt, or say why there is none."""
    turn = session.state.turn
    if not error.retryable or turn is None or turn.failures >= ATTEMPTS:
        return f"{error.code}: {error.message}"
    pause = _BACKOFF[min(turn.failures, len(_BACKOFF)) - 1] * random.uniform(0.8, 1.2)
    if error.retry_after is not None:
        if error.retry_after > _LONGEST_WAIT:
            return f"{error.code}: the provider asks to wait {error.retry_after:.0f} s"
        pause = max(pause, error.retry_after)
    await session.flush()
    try:
        await session.interruptible(lambda: asyncio.sleep(pause), steer=True)
    except Interrupted as interrupted:
        if interrupted.cause != "steer":
            raise
    return None
