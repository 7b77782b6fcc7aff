"""Compaction on request and pins, on a running node."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from roost.api.shapes import AcceptedInput
from roost.errors import Invalid, TooLarge
from roost.features.compaction.api import Came, Compacted, Compaction, CompactionApi
from roost.features.compaction.events import ContextCompacted, ContextElided, PinInput
from roost.features.compaction.tools import MOST, fits
from roost.ids import is_id
from roost.kernel.service_host import ServiceHost
from roost.log import events as ev
from roost.log.inputs import ControlInput
from roost.log.store import Store
from roost.log.tail import follow

_APPLIED, _COMPACTED = b'{"type":"control.applied"', b'{"type":"context.compacted"'
_ELIDED = 2
"""Events that may follow a compaction in its own commit: elided outputs, truncated outputs."""
_CUT_OFF = frozenset(("cancel", "pause", "stop", "rollback", "deadline"))
"""Causes (of `roost.agent.session.Cause`) that end a compaction in progress."""
_WAIT = 45.0


class CompactionService(CompactionApi):
    def __init__(self, host: ServiceHost) -> None:
        self._store, self._sessions = host.store, host.sessions

    async def compact(self, session: str, *, key: str | None = None, wait: float | None = None) -> Compacted:
        """Compact the model's context and return the result; after `wait` seconds (45), report it as pending."""
        wait = _WAIT if wait is None else wait
        info, state = await self._sessions.state(session)
        accepted = await self._sessions.put(session, ControlInput("compact"), key=key)
        after = state.base if accepted.duplicate else info.head
        done = await _until_compacted(self._store, session, accepted.id, after, wait) if wait > 0 else None
        info, state = await self._sessions.state(session)
        came = done or _waiting(state.tokens, turn=state.turn is not None)
        return Compacted(**msgspec.structs.asdict(info), compaction=came)

    async def pin(self, session: str, key: str, text: str, *, by: str = "a person") -> AcceptedInput:
        """Pin `text` under `key`, so that it stays in the model's context word for word. The model sees the change with
        the next message. The key `task` replaces the session's first message. Raises `Invalid`, `NotFound`,
        `TooLarge`."""
        _check(key)
        if not text.strip():
            raise Invalid("the text is empty; remove a pin with unpin", code="empty_message")
        _, state = await self._sessions.state(session)
        if not fits(state.pinned, key, text):
            raise TooLarge(f"all pins together have at most {MOST} characters; remove a pin or shorten one")
        return await self._put(session, PinInput(key, text, by))

    async def unpin(self, session: str, key: str, *, by: str = "a person") -> AcceptedInput:
        """Remove a pin. Raises `Invalid`, `NotFound`."""
        _check(key)
        await self._store.sessions.get(session)
        return await self._put(session, PinInput(key, None, by))

    async def _put(self, session: str, item: PinInput) -> AcceptedInput:
        accepted = await self._sessions.put(session, item)
        return AcceptedInput(input=accepted.id, duplicate=accepted.duplicate, head=accepted.head)


def _check(key: str) -> None:
    if not is_id(key):
        raise Invalid(f"{key!r} cannot name a pin: use letters, digits and ._:- (at most 128)")


async def _until_compacted(store: Store, session: str, order: int, after: int, wait: float) -> Compaction | None:
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


def _waiting(tokens: int, *, turn: bool) -> Compaction:
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


SERVICE = CompactionService
