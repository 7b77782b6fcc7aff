"""Compact the context: elide tool outputs first, then summarize. It runs in the session's own task, so there is one
compaction at a time, and at most one before a model call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from roost.agent.context_size import Size, measure
from roost.agent.interrupts import Interrupted
from roost.agent.options import By
from roost.agent.session import Session
from roost.features.budgets import charging
from roost.features.compaction.events import CompactionStarted, ContextCompacted, ContextElided
from roost.features.compaction.extractive_summary import extract
from roost.features.compaction.model_summary import Told, asked, fits, told
from roost.features.compaction.plan import Cut, Elision, plan_cut, plan_elision, plan_shortening, plan_window
from roost.features.compaction.ports import Summarizer
from roost.features.compaction.state import CompactionState, head
from roost.log import events as ev
from roost.log.content import ErrorData, Usage
from roost.models.request import Bill, Model, Request
from roost.models.tokens import estimate

TRIES = 3
"""Crashes during a model's summary after which it is made by rule: the summary may cause them."""
TASK = "task"
"""The pin with this key replaces the session's first message."""
_SHARE, _LEAST, _MOST = 8, 100, 4_000
"""Cap of a summary: an eighth of the context budget, within these bounds in tokens."""
_TASK = 0.125
"""Share of the context budget; a longer first message is summarized like all others."""
_RECENT = 0.5
"""Share of the target within which the newest outputs stay complete."""
_WORTH = 0.15
"""Share of the context budget; a summary that frees less is skipped, since the next one would soon follow."""

_NO_GAIN = ErrorData("no_gain", "the summary made it no smaller")
_PRUNED = ("Earlier messages are left out.", "Earlier messages are left out; read_history finds them.")


async def compact_if_full(session: Session) -> bool:
    """Compact the context before a model call, if it is too full or a person ordered it. The log keeps all messages.

    Takes constant time if there is nothing to do. Returns whether a model was called, which takes time. Raises
    `Interrupted` with the compaction closed in the log, except on shutdown."""
    wanted = session.state.part(CompactionState).compact
    if not wanted:
        _prune(session)
    size = measure(session)
    if not wanted and size.tokens <= size.room * session.spec.compaction.at:
        return False
    goal = _goal(session, size, harder=wanted)
    if not wanted and _elide(session, goal):
        return False
    modelled = await _summarize(session, goal)
    _squeeze(session)
    return modelled


def shorten(session: Session) -> bool:
    """Shrink the context at once, by rule, after the model rejected it as too long. Returns whether it is smaller."""
    size = measure(session)
    goal = _goal(session, size, harder=True)
    before = session.state.tokens
    if not _elide(session, goal):
        _compacted(session, goal, _cut(session, goal))
        _squeeze(session, harder=True)
    return session.state.tokens < before


async def compact_now(session: Session) -> None:
    """Compact on a person's order, between turns or while a turn waits. A control that interrupts it ends it; after a
    shutdown the next owner continues it."""
    session.clock.start()
    try:
        await compact_if_full(session)
    except Interrupted:
        return
    finally:
        session.clock.stop()


class _Goal(NamedTuple):
    """Target of a compaction, in tokens of messages. target: wanted size. enough: accepted size if it avoids a summary.
    cap: most tokens of a summary."""

    size: Size
    target: int
    enough: int
    cap: int


def _goal(session: Session, size: Size, *, harder: bool) -> _Goal:
    """Compute the target. harder: relative to the present size, not to the context budget."""
    settings = session.spec.compaction
    room = min(size.room, size.tokens) if harder else size.room
    enough = settings.to if harder else (settings.to + settings.at) / 2
    return _Goal(size, int(room * settings.to), int(room * enough), min(max(room // _SHARE, _LEAST), _MOST))


def _elide(session: Session, goal: _Goal) -> bool:
    """Elide old outputs if that suffices. Returns whether it did."""
    state, readable = session.state, _readable(session)
    keep = int(goal.target * _RECENT)
    found = plan_elision(state.entries, state.tokens, goal.target, keep=keep, readable=readable)
    if not found.outputs or found.left > goal.enough:
        return False
    _elided(session, found)
    return True


def _prune(session: Session) -> None:
    """Drop the oldest messages above the agent's limit. Not while a summary is open: its attempts count until it has an
    outcome."""
    state, most = session.state, session.spec.compaction.messages
    if most is None or len(state.entries) <= most or state.part(CompactionState).compacting:
        return
    task = 0 if TASK in state.part(CompactionState).pins else int(measure(session).room * _TASK)
    cut = plan_window(state.entries, most, turn=state.turn.number if state.turn else 0, task=task)
    if cut is None:
        return
    for text in (state.part(CompactionState).summary or _PRUNED[_readable(session)], ""):
        block = head(state.part(CompactionState).pins, text)
        after = cut.left + (0 if block is None else estimate(block))
        if after < state.tokens:
            session.log.note(
                ContextCompacted(
                    at=time.time(),
                    before=state.tokens,
                    after=after,
                    upto=cut.upto,
                    keep=cut.keep,
                    dropped=cut.messages,
                    summary=text,
                    by="plain",
                )
            )
            return


def _squeeze(session: Session, *, harder: bool = False) -> None:
    """Shrink new content that is too large by itself: elide all outputs that the model has answered, and truncate the
    others."""
    state, size, settings = session.state, measure(session), session.spec.compaction
    if state.tokens <= size.room and not harder:
        return
    target = int(min(size.room * settings.at, state.tokens * (settings.to if harder else 1.0)))
    readable = _readable(session)
    _elided(session, plan_elision(state.entries, state.tokens, target, keep=0, readable=readable))
    if state.tokens > target:
        _elided(session, plan_shortening(state.entries, state.tokens, target, readable=readable))


def _elided(session: Session, found: Elision) -> None:
    if found.outputs:
        session.log.note(
            ContextElided(
                at=time.time(),
                outputs=found.outputs,
                before=session.state.tokens,
                after=found.left,
                readable=_readable(session),
                shown=found.shown,
            )
        )


def _readable(session: Session) -> bool:
    return "read_history" in session.means.tools


def _cut(session: Session, goal: _Goal) -> Cut:
    state = session.state
    pinned = head(state.part(CompactionState).pins, "")
    beside = goal.cap + (estimate(pinned) if pinned is not None else 0)
    return plan_cut(
        state.entries,
        state.tokens,
        max(goal.target - beside, 0),
        turn=state.turn.number if state.turn else 0,
        turns=session.spec.compaction.keep_turns,
        most=min(goal.enough, state.tokens - 1) - beside,
        task=0 if TASK in state.part(CompactionState).pins else int(goal.size.room * _TASK),
    )


async def _summarize(session: Session, goal: _Goal) -> bool:
    """Summarize the oldest messages. Returns whether a model was called."""
    state, cut = session.state, _cut(session, goal)
    if not state.part(CompactionState).compact and state.tokens - cut.left < goal.size.room * _WORTH:
        return False
    request, model = _request(session, goal, cut), _summarizer(session)
    if request is None:
        _compacted(session, goal, cut)
        return False
    began, attempt = time.monotonic(), state.part(CompactionState).compacting + 1
    session.log.note(
        CompactionStarted(at=time.time(), messages=cut.messages, before=state.tokens, model=model.name, attempt=attempt)
    )
    await session.log.flush()
    bill, seconds = request.bill or Bill(), session.spec.compaction.seconds
    try:
        said = await session.interrupts.interruptible(
            lambda: told(model, request, cap=goal.cap, seconds=seconds), steer=False
        )
    except Interrupted as interrupted:
        _cut_off(session, interrupted, _spent(session, bill), time.monotonic() - began)
        raise
    for notice in said.notices:
        session.log.note(ev.ModelNotice(at=time.time(), step=state.steps, kind=notice.kind, data=notice.data))
    _compacted(session, goal, cut, said, usage=_spent(session, bill), seconds=time.monotonic() - began)
    return True


def _summarizer(session: Session) -> Model:
    named = session.means.find(Summarizer)
    return session.means.model if named is None else named.model


def _request(session: Session, goal: _Goal, cut: Cut) -> Request | None:
    """Build the request for a summary; None if it is made by rule, or if no message leaves."""
    state, model = session.state, _summarizer(session)
    by = session.spec.compaction.by or ("plain" if model.profile.local else "model")
    if not cut.messages or by == "plain" or state.part(CompactionState).compacting >= TRIES:
        return None
    request = asked(session, state.entries[: cut.upto], cap=goal.cap)
    scale = state.scale.get(model.name, 1.0)
    return request if fits(request, model, fixed=goal.size.fixed, scale=scale) else None


def _compacted(
    session: Session,
    goal: _Goal,
    cut: Cut,
    said: Told | None = None,
    *,
    usage: Usage | None = None,
    seconds: float = 0.0,
) -> None:
    """Note the outcome: the model's summary if it makes the context smaller, else one by rule, else none. An order that
    achieves nothing is noted without a change."""
    state = session.state
    event = ContextCompacted(
        at=time.time(),
        before=state.tokens,
        after=state.tokens,
        usage=usage,
        seconds=seconds,
        error=None if said is None else said.error,
    )
    for by, text in _written(session, goal, cut, said):
        block = head(state.part(CompactionState).pins, text)
        after = cut.left + (0 if block is None else estimate(block))
        if after < state.tokens:
            more = {"upto": cut.upto, "keep": cut.keep, "dropped": cut.messages, "summary": text, "by": by}
            event = msgspec.structs.replace(event, after=after, **more)
            break
        if by == "model":
            event = msgspec.structs.replace(event, error=_NO_GAIN)
    if cut.messages and not event.upto and event.error is None:
        event = msgspec.structs.replace(event, error=_NO_GAIN)
    if event.upto or said is not None or state.part(CompactionState).compact:
        session.log.note(event)


def _written(session: Session, goal: _Goal, cut: Cut, said: Told | None) -> Iterator[tuple[By, str]]:
    """Yield candidate summaries, best first."""
    if not cut.messages:
        return
    if said is not None and said.error is None:
        yield "model", said.text
    gone = [entry for place, entry in enumerate(session.state.entries[: cut.upto]) if place not in cut.keep]
    yield "plain", extract(gone, session.state.part(CompactionState).summary, cap=goal.cap)
    if not session.state.part(CompactionState).compact:
        yield "plain", ""


def _cut_off(session: Session, by: Interrupted, usage: Usage | None, seconds: float) -> None:
    """Close an interrupted compaction. A shutdown leaves its intent open."""
    state, now = session.state, time.time()
    if by.cause != "shutdown":
        error = ErrorData(by.cause, f"cut off: {by.cause}")
        tokens = state.tokens
        session.log.note(
            ContextCompacted(at=now, before=tokens, after=tokens, usage=usage, seconds=seconds, error=error)
        )
    elif usage is not None:
        session.log.note(ev.ModelLost(at=now, step=state.steps, attempt=1, usage=usage))


def _spent(session: Session, bill: Bill) -> Usage | None:
    if not bill.calls:
        return None
    if bill.usage.cost != 0:
        charging.mark_charged(session)
    return bill.usage
