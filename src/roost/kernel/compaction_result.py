"""Report the result of a requested compaction."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal, TypeAlias

import msgspec

from roost.agent.options import By
from roost.features.compaction.events import ContextCompacted, ContextElided
from roost.log import events as ev
from roost.log.session_info import SessionInfo
from roost.log.store import Store
from roost.log.tail import follow

Came: TypeAlias = Literal["smaller", "nothing", "no_gain", "cut_off", "waits"]
_APPLIED, _COMPACTED = b'{"type":"control.applied"', b'{"type":"context.compacted"'
_ELIDED = 2
"""Events that may follow a compaction in its own commit: elided outputs, truncated outputs."""
_CUT_OFF = frozenset(("cancel", "pause", "stop", "rollback", "deadline"))
"""Causes (of `roost.agent.session.Cause`) that end a compaction in progress."""


class Compaction(msgspec.Struct, frozen=True, kw_only=True):
    """`before`, `after`: estimated tokens of messages. `messages` left the model's context for a summary written `by` a
    model or by rule; of `outputs` of tools one line is left. `why`: why not by the model, or not at all.

    nothing: all content must stay word for word.
    no_gain: a summary would be no smaller than its source.
    cut_off: ended by a control, a rollback or the turn's deadline, and given up.
    waits: accepted, and still pending.
    """

    outcome: Came
    before: int
    after: int
    by: By | None = None
    messages: int = 0
    outputs: int = 0
    why: str | None = None


class Compacted(SessionInfo, frozen=True, kw_only=True):
    """The session after a compaction."""

    compaction: Compaction


async def until_compacted(store: Store, session: str, order: int, after: int, wait: float) -> Compaction | None:
    """Return the result of an order among the events after `after`; None if there is none after `wait` seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(wait):
            applied = False
            async for record in follow(store, session, after=after):
                if record.body.startswith(_APPLIED):
                    applied = applied or getattr(record.event, "input", None) == order
                elif applied and record.body.startswith(_COMPACTED):
                    event = record.event
                    assert isinstance(event, ContextCompacted)
                    next = await store.logs.read(session, after=record.seq, limit=_ELIDED)
                    return _told(event, [one.event for one in next])
    return None


def waiting(tokens: int, *, turn: bool) -> Compaction:
    """Return the result of a pending compaction. `turn`: a turn is open."""
    why = "it waits for the next step of the turn that is open" if turn else "it waits for who works on the session"
    return Compaction(outcome="waits", before=tokens, after=tokens, why=why)


def _told(event: ContextCompacted, next: list[ev.Event]) -> Compaction:
    cut: set[int] = set()
    after = event.after
    for one in next:
        if not isinstance(one, ContextElided):
            break
        cut.update(one.outputs)
        after = one.after
    error = event.error
    outcome: Came = "smaller"
    if after >= event.before:
        outcome = "nothing" if error is None else "cut_off" if error.code in _CUT_OFF else "no_gain"
    return Compaction(
        outcome=outcome,
        before=event.before,
        after=after,
        by=event.by,
        messages=event.dropped,
        outputs=len(cut),
        why=None if error is None else error.message,
    )
