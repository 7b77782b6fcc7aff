"""Consolidation: after some turns, ask a model which facts are worth keeping, and store them in memory.

It runs between turns, when no message is waiting, and stops for any message that arrives; it is then made later. Its
facts can be undone through the event that reports them, or wait for a person's approval if the agent's definition
demands that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from roost.agent import model_request
from roost.agent.context_size import fixed_tokens
from roost.agent.interrupts import Interrupted
from roost.agent.session import Session
from roost.errors import Invalid, RoostError, TooLarge
from roost.features.budgets import charging
from roost.features.compaction.model_summary import fits
from roost.features.memory import consolidation_timer
from roost.features.memory.events import TIMER, ConsolidationStarted, MemoryChanged, MemoryConsolidated
from roost.features.memory.recall import rights_of
from roost.features.memory.state import MemoryState
from roost.log import events as ev
from roost.log.content import AssistantMessage, Text, UserMessage
from roost.log.facts import Category, NewFact, PutFact
from roost.memory.dedup import check_key, check_text, fact_id, learn
from roost.memory.rights import Consolidate
from roost.memory.search import Search
from roost.memory.spaces import scope_of
from roost.models.model_wrapper import events
from roost.models.request import Bill, Completed, Failed, Model, Request

TRIES = 3
"""Crashes during one consolidation after which it is given up."""
MOST = 20
"""Most facts of one consolidation."""
_LATER = ("message", "pause", "stop", "rollback")
"""Interruptions after which it is made later. After a cancel it is not."""
_SECONDS = 120.0
_OUTPUT = 2048
_ASK = """[This is not from the user.] What of the conversation since turn {turn} will still be worth knowing in other
conversations, weeks from now? Answer with a JSON list and nothing else, call no tool:
[{{"text": "one fact, in a sentence that can be understood by itself", "category": "...", "key": null}}]
`category` is identity, preference, fact, project or user_profile. `key` is a short name for what has one value at a
time, as in favourite-colour, else null. Leave out what is only of this conversation, what was remembered already, and
every secret. An empty list is a good answer."""


class _Kept(msgspec.Struct, frozen=True):
    text: str
    category: Category = "fact"
    key: str | None = None


_Change: TypeAlias = tuple[MemoryChanged, NewFact]


class _Told(NamedTuple):
    facts: Sequence[_Kept] = ()
    error: str | None = None


async def consolidate_if_due(session: Session) -> None:
    """Consolidate if enough turns have ended or the session was idle long enough. Raises `StoreFailed`."""
    state = session.state
    if state.turn is not None or session.interrupts.stopping or state.state not in ("created", "running"):
        return
    fired = consolidation_timer.came(session)
    if session.interrupts.cause(message=True) is not None:
        return
    settings, search = consolidation_timer.settings_of(session), session.means.find(Search)
    part = state.part(MemoryState)
    fresh = state.state == "running" and state.turns > part.consolidated
    if (
        settings is None
        or search is None
        or not fresh
        or (fired is None and not consolidation_timer.is_time(session, settings))
    ):
        if fired is not None:
            consolidation_timer.disarm(session, fired)
        elif search is not None and fresh and TIMER not in state.timers:
            consolidation_timer.set_timer(session)  # it came due while the session could not ask
        return
    request, model = _request(session), session.means.model
    taken = None if fired is None else fired.id
    cut_off = part.consolidating >= TRIES
    if cut_off or not fits(request, model, fixed=fixed_tokens(session), scale=1.0):
        error = "it was cut off too often" if cut_off else "the conversation is too long to ask"
        session.log.note(MemoryConsolidated(at=time.time(), upto=state.turns, error=error), consume=taken)
        consolidation_timer.set_timer(session)
        return
    attempt = part.consolidating + 1
    started = ConsolidationStarted(at=time.time(), upto=state.turns, model=model.name, attempt=attempt)
    session.log.note(started, consume=taken)
    consolidation_timer.arm(session, consolidation_timer.AGAIN_SECONDS)
    await session.log.flush()
    await _consolidate(session, search, settings, request)


async def _consolidate(session: Session, search: Search, settings: Consolidate, request: Request) -> None:
    state, bill, began = session.state, request.bill or Bill(), time.monotonic()
    upto, changes = state.turns, list[_Change]()
    session.clock.start()
    try:
        told, changes = await session.interrupts.interruptible(
            lambda: _ask(session, search, settings, request), steer=False, message=True
        )
    except Interrupted as interrupted:
        if interrupted.cause == "shutdown":
            if bill.calls:
                session.log.note(ev.ModelLost(at=time.time(), step=state.steps, attempt=1, usage=bill.usage))
            return
        told = _Told(error=f"cut off: {interrupted.cause}")
        upto = state.part(MemoryState).consolidated if interrupted.cause in _LATER else upto
    except RoostError as error:
        told = _Told(error=str(error))
    finally:
        session.clock.stop()
    if bill.calls and bill.usage.cost != 0:
        charging.mark_charged(session)
    for event, fact in changes:
        session.log.note(event, facts=[PutFact(fact)])
    session.log.note(
        MemoryConsolidated(
            at=time.time(),
            upto=upto,
            facts=len(changes),
            model=bill.model or session.means.model.name,
            usage=bill.usage,
            seconds=round(time.monotonic() - began, 3),
            error=told.error,
        )
    )
    consolidation_timer.set_timer(session)
    await session.log.flush()


async def _ask(
    session: Session, search: Search, settings: Consolidate, request: Request
) -> tuple[_Told, list[_Change]]:
    told = await _told(session.means.model, request)
    return told, await _changes(session, search, settings, told.facts)


def _request(session: Session) -> Request:
    """Build the request. It starts like every request of the session, so that a prompt cache serves most of it."""
    request = model_request.build(session, Bill())
    ask = UserMessage((Text(_ASK.format(turn=session.state.part(MemoryState).consolidated + 1)),))
    messages = (*request.messages, ask)
    return msgspec.structs.replace(
        request,
        messages=messages,
        since=len(request.messages),
        max_output=_OUTPUT,
        output_schema=None,  # that of the user's answer
    )


async def _told(model: Model, request: Request) -> _Told:
    outcome: Completed | Failed | None = None
    try:
        async with asyncio.timeout(_SECONDS), events(model, request) as stream:
            async for event in stream:
                if isinstance(event, Completed | Failed):
                    outcome = event
                    break
    except TimeoutError:
        return _Told(error=f"no answer within {_SECONDS:g} seconds")
    match outcome:
        case Failed():
            return _Told(error=f"{outcome.error.code}: {outcome.error.message}")
        case Completed():
            return read_answer(AssistantMessage(outcome.parts).text)
        case None:
            return _Told(error="the model's stream ended without an outcome")


def read_answer(text: str) -> _Told:
    """Parse the JSON list in the answer, ignoring text around it. Invalid entries are skipped."""
    try:  # a regular expression for this would take quadratic time
        entries = msgspec.json.decode(text[max(text.find("["), 0) : text.rfind("]") + 1], type=list[msgspec.Raw])
    except msgspec.MsgspecError:
        return _Told(error="the model did not answer with a list")
    kept: list[_Kept] = []
    for entry in entries[:MOST]:
        try:
            kept.append(msgspec.json.decode(entry, type=_Kept))
        except msgspec.MsgspecError:
            continue
    return _Told(kept)


async def _changes(session: Session, search: Search, settings: Consolidate, kept: Sequence[_Kept]) -> list[_Change]:
    own = rights_of(session).own
    space = scope_of(settings.into, own) or own[-1]
    changes: list[_Change] = []
    for place, one in enumerate(kept):
        try:
            text, key = (
                check_text(session.means.scrubbed(one.text)),
                check_key(session.means.scrubbed(one.key or "") or None),
            )
        except (Invalid, TooLarge):
            continue
        fact = NewFact(
            id=fact_id(
                session.id,
                repr(session.born),
                str(session.state.turns),
                str(session.state.part(MemoryState).consolidating),
                str(place),
            ),
            space=space,
            text=text,
            category=one.category,
            key=key,
            tainted=session.state.tainted is not None,
            proposed=settings.review,
        )
        learned = await learn(search, fact, beside=[before for _, before in changes], meta=session.about)
        if learned.op == "known":
            continue
        op = "propose" if settings.review else learned.op
        ended = tuple(one.id for one in learned.former if one.proposed or not settings.review)
        event = MemoryChanged(at=time.time(), op=op, facts=(learned.fact,), ended=ended)
        changes.append((event, learned.fact))
    return changes
