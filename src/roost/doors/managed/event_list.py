"""List the events of a session, and find where a reader of its log may begin."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from itertools import islice
from typing import Any, NamedTuple, cast

from roost.doors.managed.agent_tools import shown_call
from roost.doors.managed.event_reader import BELOW, Below, EventReader, Shown
from roost.errors import Invalid, NotFound
from roost.features.delegation.events import ChildWaits
from roost.kernel.sessions import Sessions
from roost.kernel.turn_watch import window
from roost.log import events as ev
from roost.log.protocols import Record

_FEW, _PAGE, _WINDOW = 50, 1000, 500
_ENDED = b'{"type":"turn.completed"'
_QUESTION = b'{"type":"approval.requested"'
_ANSWER = b'{"type":"approval.resolved"'
Fits = Callable[[Shown], bool]


async def with_inputs(sessions: Sessions, shown: Iterable[Shown]) -> None:
    """Fill in the inputs of calls that threads ask about, from the logs of the threads."""
    for one in shown:
        if (asked := one.pop(BELOW, None)) is not None:
            one["input"] = await _input(sessions, asked)


async def _input(sessions: Sessions, asked: ChildWaits) -> dict[str, Any]:
    try:
        head = (await sessions.get(asked.session)).head
        records = await window(sessions, asked.session, max(0, head - _WINDOW), head)
    except NotFound:  # deleted since
        return {}
    for record in reversed(records):
        event = record.event if record.body.startswith(_QUESTION) else None
        if isinstance(event, ev.ApprovalRequested) and event.call == asked.call:
            return shown_call(event.name, event.arguments)[1]
    return {}


async def answer_below(sessions: Sessions, below: Below) -> ev.ApprovalResolved | None:
    """Return the answer to the question of a thread, which may have come from anywhere; None while there is none."""
    asked = below.asked
    try:
        head = (await sessions.get(asked.session)).head
        records = await window(sessions, asked.session, max(0, head - _WINDOW), head)
    except NotFound:  # deleted since
        return None
    return next(islice(filter(None, (_answer_in(one, asked) for one in records)), below.number, None), None)


async def awaited_answer(sessions: Sessions, below: Below) -> ev.ApprovalResolved | None:
    """Wait for the answer to the question of a thread. Returns None when the thread is deleted first."""
    asked, left = below.asked, below.number
    try:
        head = (await sessions.get(asked.session)).head
    except NotFound:
        return None
    async with contextlib.aclosing(
        cast("AsyncGenerator[Record]", sessions.tail(asked.session, after=max(0, head - _WINDOW)))
    ) as records:
        async for record in records:
            if (answer := _answer_in(record, asked)) is not None:
                if not left:
                    return answer
                left -= 1
    return None


def _answer_in(record: Record, asked: ChildWaits) -> ev.ApprovalResolved | None:
    """Return the event of a record if it answers a question about the call."""
    event = record.event if record.body.startswith(_ANSWER) else None
    return event if isinstance(event, ev.ApprovalResolved) and event.call == asked.call else None


class EventPlace(NamedTuple):
    """A place in the list. quiet: a position before it at which no turn was open. seq, part: the record and the number
    of its event."""

    quiet: int = 0
    seq: int = 0
    part: int = -1

    @classmethod
    def read(cls, text: str) -> EventPlace:
        numbers = text.split(".")
        if len(numbers) != 3 or not all(one.isascii() and one.isdigit() and len(one) < 16 for one in numbers):
            raise Invalid("page: give the next_page of an earlier answer")
        return cls(*map(int, numbers))

    def __str__(self) -> str:
        return f"{self.quiet}.{self.seq}.{self.part}"


class EventPage(NamedTuple):
    found: list[Shown]
    next: EventPlace | None


async def quiet_before(sessions: Sessions, session: str, seq: int) -> int:
    """Return the end of the last turn that ended at or before a position; 0 if none did."""
    window = _FEW
    while seq > 0:
        start = max(0, seq - window)
        ends = [one async for one in _turn_ends(sessions, session, start, seq)]
        if ends:
            return ends[-1]
        seq, window = start, max(_WINDOW, window * 4)
    return 0


async def _turn_ends(sessions: Sessions, session: str, after: int, end: int) -> AsyncIterator[int]:
    while after < end and (page := await sessions.history(session, after=after, limit=min(_PAGE, end - after))):
        for record in page:
            if record.body.startswith(_ENDED):
                yield record.seq
        after = page[-1].seq


async def events_after(
    sessions: Sessions, session: str, quiet: int, end: int | None = None
) -> AsyncIterator[tuple[EventPlace, Shown]]:
    """Yield the events behind a position at which no turn was open, with their places, up to `end` or the head."""
    reader, after = EventReader(session), quiet
    reader.quiet, seq = quiet, quiet
    most = _PAGE if end is None else min(_PAGE, max(1, end - quiet))
    while page := await sessions.history(session, after=after, limit=most):
        for record in page:
            if end is not None and record.seq > end:
                break
            before, seq = reader.quiet, record.seq
            known = set(reader.below)
            found = reader.read(record)
            for id in [one for one in reader.below if one not in known]:
                if (answer := await answer_below(sessions, reader.below[id])) is not None:
                    found += reader.answered_below(id, answer)
            for part, one in enumerate(found):
                yield EventPlace(before, seq, part), one
        after = page[-1].seq
        if end is not None and after >= end:
            break
    for part, one in enumerate(reader.flush()):
        yield EventPlace(reader.quiet, seq, 1000 + part), one


async def oldest_first(sessions: Sessions, session: str, fits: Fits, place: EventPlace, limit: int) -> EventPage:
    found: list[Shown] = []
    last = place
    async for at, one in events_after(sessions, session, place.quiet):
        if (at.seq, at.part) <= (place.seq, place.part) or not fits(one):
            continue
        if len(found) == limit:
            return EventPage(found, last)
        found.append(one)
        last = at
    return EventPage(found, None)


async def newest_first(sessions: Sessions, session: str, fits: Fits, place: EventPlace | None, limit: int) -> EventPage:
    """As `oldest_first`, in the other order: reads a turn or more at a time, the newest first, and keeps of it no more
    than the page needs."""
    found: list[tuple[EventPlace, Shown]] = []
    end = (await sessions.get(session)).head if place is None else place.seq
    before = (end + 1, 0) if place is None else (place.seq, place.part)
    while end > 0 and len(found) <= limit:
        start = await quiet_before(sessions, session, end - 1)
        turn = deque[tuple[EventPlace, Shown]](maxlen=limit + 1 - len(found))
        async for at, one in events_after(sessions, session, start, end):
            if (at.seq, at.part) < before and fits(one):
                turn.append((at, one))
        found += reversed(turn)
        end = start
    if len(found) <= limit:
        return EventPage([one for _, one in found], None)
    return EventPage([one for _, one in found[:limit]], found[limit - 1][0])
