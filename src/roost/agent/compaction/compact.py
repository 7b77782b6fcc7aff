"""Making room: outputs of tools first, then a summary. One after the other in the session's own task, so that there is
one compaction at a time, and at most one before a model call."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from roost.agent import turn_budgets
from roost.agent.compaction.context_size import Size, measure
from roost.agent.compaction.extractive_summary import extract
from roost.agent.compaction.model_summary import Told, asked, fits, told
from roost.agent.compaction.plan import Cut, Elision, plan_cut, plan_elision, plan_shortening, plan_window
from roost.agent.compaction.settings import By
from roost.agent.compaction.state import head
from roost.agent.session import Interrupted, LiveSession
from roost.log import events as ev
from roost.log.content import ErrorData, Usage
from roost.models.request import Bill, Request
from roost.models.tokens import estimate

TRIES = 3
"""Of a model's summary that a crash cuts off; then it is made by rule: perhaps it brings the daemon down."""
TASK = "task"
"""What is pinned under this key stands in the place of the session's first message."""
_SHARE, _LEAST, _MOST = 8, 100, 4_000
"""A summary takes an eighth of the room at most, and so many tokens."""
_TASK = 0.125
"""Of the room: a longer task is summarized like everything else."""
_RECENT = 0.5
"""Of what stays: outputs as new as that stay whole."""
_WORTH = 0.15
"""Of the room: a summary that frees less is not made, since the next one would be due at once."""

_NO_GAIN = ErrorData("no_gain", "the summary made it no smaller")
_PRUNED = ("Earlier messages are left out.", "Earlier messages are left out; read_history finds them.")


async def make_room(session: LiveSession) -> bool:
    """Before a model call: bring the context down when it grows too full, or a person asked for it. The log keeps all.
    Takes constant time when there is nothing to do. Returns whether a model was asked, so that time has passed. Raises
    `Interrupted`, with what was begun closed in the log unless the daemon is shutting down."""
    wanted = session.state.compact
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


def shorten(session: LiveSession) -> bool:
    """The model says that it is too much all the same: make it less at once, by rule. Returns whether it is less."""
    size = measure(session)
    goal = _goal(session, size, harder=True)
    before = session.state.tokens
    if not _elide(session, goal):
        _compacted(session, goal, _cut(session, goal))
        _squeeze(session, harder=True)
    return session.state.tokens < before


async def by_order(session: LiveSession) -> None:
    """Between turns, or while one waits: what a person asked for. Cut off by a control it is over; by a shutdown it
    goes on with the next owner."""
    session.clock.start()
    try:
        await make_room(session)
    except Interrupted:
        return
    finally:
        session.clock.stop()


class _Goal(NamedTuple):
    """In tokens of messages: `target` to come down to, with `enough` instead where that saves a summary, whose size is
    `cap` at most."""

    size: Size
    target: int
    enough: int
    cap: int


def _goal(session: LiveSession, size: Size, *, harder: bool) -> _Goal:
    """`harder`: from what there is, not from what there is room for."""
    settings = session.spec.compaction
    room = min(size.room, size.tokens) if harder else size.room
    enough = settings.to if harder else (settings.to + settings.at) / 2
    return _Goal(size, int(room * settings.to), int(room * enough), min(max(room // _SHARE, _LEAST), _MOST))


def _elide(session: LiveSession, goal: _Goal) -> bool:
    """Leave old outputs out, if that is enough."""
    state, readable = session.state, _readable(session)
    keep = int(goal.target * _RECENT)
    found = plan_elision(state.entries, state.tokens, goal.target, keep=keep, readable=readable)
    if not found.outputs or found.left > goal.enough:
        return False
    _elided(session, found)
    return True


def _prune(session: LiveSession) -> None:
    """Let the oldest messages go where there are more than the agent may have. Not while a summary is under way: what a
    crash has cut off is counted until it has its outcome."""
    state, most = session.state, session.spec.compaction.messages
    if most is None or len(state.entries) <= most or state.compacting:
        return
    task = 0 if TASK in state.pins else int(measure(session).room * _TASK)
    cut = plan_window(state.entries, most, turn=state.turn.number if state.turn else 0, task=task)
    if cut is None:
        return
    for text in (state.summary or _PRUNED[_readable(session)], ""):
        block = head(state.pins, text)
        after = cut.left + (0 if block is None else estimate(block))
        if after < state.tokens:
            session.note(
                ev.ContextCompacted(
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


def _squeeze(session: LiveSession, *, harder: bool = False) -> None:
    """What is new alone is too much: then all outputs leave that the model has answered, and of the others the ends."""
    state, size, settings = session.state, measure(session), session.spec.compaction
    if state.tokens <= size.room and not harder:
        return
    target = int(min(size.room * settings.at, state.tokens * (settings.to if harder else 1.0)))
    readable = _readable(session)
    _elided(session, plan_elision(state.entries, state.tokens, target, keep=0, readable=readable))
    if state.tokens > target:
        _elided(session, plan_shortening(state.entries, state.tokens, target, readable=readable))


def _elided(session: LiveSession, found: Elision) -> None:
    if found.outputs:
        session.note(
            ev.ContextElided(
                at=time.time(),
                outputs=found.outputs,
                before=session.state.tokens,
                after=found.left,
                readable=_readable(session),
                shown=found.shown,
            )
        )


def _readable(session: LiveSession) -> bool:
    return "read_history" in session.means.tools


def _cut(session: LiveSession, goal: _Goal) -> Cut:
    state = session.state
    pinned = head(state.pins, "")
    beside = goal.cap + (estimate(pinned) if pinned is not None else 0)
    return plan_cut(
        state.entries,
        state.tokens,
        max(goal.target - beside, 0),
        turn=state.turn.number if state.turn else 0,
        turns=session.spec.compaction.keep_turns,
        most=min(goal.enough, state.tokens - 1) - beside,
        task=0 if TASK in state.pins else int(goal.size.room * _TASK),
    )


async def _summarize(session: LiveSession, goal: _Goal) -> bool:
    """Returns whether a model was asked."""
    state, cut = session.state, _cut(session, goal)
    if not state.compact and state.tokens - cut.left < goal.size.room * _WORTH:
        return False
    request, model = _request(session, goal, cut), session.means.summarizer or session.means.model
    if request is None:
        _compacted(session, goal, cut)
        return False
    began, attempt = time.monotonic(), state.compacting + 1
    session.note(
        ev.CompactionStarted(
            at=time.time(), messages=cut.messages, before=state.tokens, model=model.name, attempt=attempt
        )
    )
    await session.flush()
    bill, seconds = request.bill or Bill(), session.spec.compaction.seconds
    try:
        said = await session.interruptible(lambda: told(model, request, cap=goal.cap, seconds=seconds), steer=False)
    except Interrupted as interrupted:
        _cut_off(session, interrupted, _spent(session, bill), time.monotonic() - began)
        raise
    for notice in said.notices:
        session.note(ev.ModelNotice(at=time.time(), step=state.steps, kind=notice.kind, data=notice.data))
    _compacted(session, goal, cut, said, usage=_spent(session, bill), seconds=time.monotonic() - began)
    return True


def _request(session: LiveSession, goal: _Goal, cut: Cut) -> Request | None:
    """For a summary of what leaves; None where it is made by rule, or where nothing leaves."""
    state, model = session.state, session.means.summarizer or session.means.model
    by = session.spec.compaction.by or ("plain" if model.profile.local else "model")
    if not cut.messages or by == "plain" or state.compacting >= TRIES:
        return None
    request = asked(session, state.entries[: cut.upto], cap=goal.cap)
    scale = state.scale.get(model.name, 1.0)
    return request if fits(request, model, fixed=goal.size.fixed, scale=scale) else None


def _compacted(
    session: LiveSession,
    goal: _Goal,
    cut: Cut,
    said: Told | None = None,
    *,
    usage: Usage | None = None,
    seconds: float = 0.0,
) -> None:
    """Note the outcome: the model's summary if it makes the context smaller, else one by rule, else none. What a person
    asked for and what does not make it smaller changes nothing."""
    state = session.state
    event = ev.ContextCompacted(
        at=time.time(),
        before=state.tokens,
        after=state.tokens,
        usage=usage,
        seconds=seconds,
        error=None if said is None else said.error,
    )
    for by, text in _written(session, goal, cut, said):
        block = head(state.pins, text)
        after = cut.left + (0 if block is None else estimate(block))
        if after < state.tokens:
            more = {"upto": cut.upto, "keep": cut.keep, "dropped": cut.messages, "summary": text, "by": by}
            event = msgspec.structs.replace(event, after=after, **more)
            break
        if by == "model":
            event = msgspec.structs.replace(event, error=_NO_GAIN)
    if cut.messages and not event.upto and event.error is None:
        event = msgspec.structs.replace(event, error=_NO_GAIN)
    if event.upto or said is not None or state.compact:
        session.note(event)


def _written(session: LiveSession, goal: _Goal, cut: Cut, said: Told | None) -> Iterator[tuple[By, str]]:
    """Summaries, the best first."""
    if not cut.messages:
        return
    if said is not None and said.error is None:
        yield "model", said.text
    gone = [entry for place, entry in enumerate(session.state.entries[: cut.upto]) if place not in cut.keep]
    yield "plain", extract(gone, session.state.summary, cap=goal.cap)
    if not session.state.compact:
        yield "plain", ""


def _cut_off(session: LiveSession, by: Interrupted, usage: Usage | None, seconds: float) -> None:
    """A shutdown leaves the intent open; anything else ends it."""
    state, now = session.state, time.time()
    if by.cause != "shutdown":
        error = ErrorData(by.cause, f"cut off: {by.cause}")
        tokens = state.tokens
        session.note(
            ev.ContextCompacted(at=now, before=tokens, after=tokens, usage=usage, seconds=seconds, error=error)
        )
    elif usage is not None:
        session.note(ev.ModelLost(at=now, step=state.steps, attempt=1, usage=usage))


def _spent(session: LiveSession, bill: Bill) -> Usage | None:
    if not bill.calls:
        return None
    if bill.usage.cost != 0:
        turn_budgets.charged(session)
    return bill.usage
