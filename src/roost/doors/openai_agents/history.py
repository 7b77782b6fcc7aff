"""Turns and items of a session's log, page by page. A page reads the turns that it shows, and finds them without
reading the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from roost.doors.openai_agents.context import missing
from roost.doors.openai_agents.log_reader import READ, LogReader, Names, Told, turn_id
from roost.doors.openai_agents.paging import Page, listed
from roost.kernel.sessions import Sessions
from roost.kernel.turn_watch import window
from roost.log import events as ev
from roost.log.protocols import Record

_FEW, _PAGE = 50, 500
_STARTED = ev.beginning_of(ev.TurnStarted)
_COMPLETED = ev.beginning_of(ev.TurnCompleted)


class TurnLog(NamedTuple):
    """A turn: its number, its resource and its items in order."""

    number: int
    resource: dict[str, Any]
    items: list[dict[str, Any]]


class History:
    def __init__(self, sessions: Sessions, names: Names) -> None:
        self._sessions, self._names, self._session = sessions, names, names.session

    async def turn(self, id: str) -> TurnLog:
        """Return a turn by its id. Raises `NotFound`."""
        number = self._number(id)
        if number is not None and id == turn_id(self._session, number):
            async for one in self._on(number):
                if one.number == number:
                    return one
                break
        raise missing("turn", id)

    async def turns(self, page: Page) -> dict[str, Any]:
        """Return a page of turns. Raises `NotFound` for an `after` that is none of them."""
        after = self._after(page)
        if after is not None and await self.start(after) is None:
            raise missing("turn", page.after)
        data: list[dict[str, Any]] = []
        async for one in self._all(page, after):
            if one.number == after:
                continue
            if len(data) == page.limit:
                return listed(data, more=True)
            data.append(one.resource)
        return listed(data, more=False)

    async def items(self, page: Page) -> dict[str, Any]:
        """Return a page of items. Raises `NotFound` for an `after` that is none of them."""
        after = self._after(page)
        if after is not None and await self.start(after) is None:
            raise missing("item", page.after)
        data: list[dict[str, Any]] = []
        async for one in self._all(page, after):
            found = one.items[::-1] if page.newest else one.items
            data += _behind(found, page.after) if one.number == after else found
            if len(data) > page.limit:
                return listed(data[: page.limit], more=True)
        return listed(data, more=False)

    async def turn_items(self, id: str, page: Page) -> dict[str, Any]:
        """Return a page of the items of a turn. Raises `NotFound`."""
        found = (await self.turn(id)).items
        found = found[::-1] if page.newest else found
        data = _behind(found, page.after) if page.after else found
        return listed(data[: page.limit], more=len(data) > page.limit)

    def _after(self, page: Page) -> int | None:
        if not page.after:
            return None
        number = self._number(page.after)
        if number is None:
            raise missing("item", page.after)
        return number

    def _number(self, id: str) -> int | None:
        """Return the number of the turn that an id of a turn or an item names."""
        _, _, rest = id.partition("_")
        number, _, _ = rest.removeprefix(f"{self._session}_").partition(".")
        named = rest.startswith(f"{self._session}_") and number.isascii() and number.isdigit() and len(number) < 10
        return int(number) if named else None

    async def _all(self, page: Page, after: int | None) -> AsyncIterator[TurnLog]:
        """Yield the turns in the order of a page, beginning with the turn `after`."""
        if not page.newest:
            async for one in self._on(1 if after is None else after):
                yield one
            return
        end = (await self._sessions.get(self._session)).head
        if after is not None and (next := await self.start(after + 1)) is not None:
            end = next
        async for records in self._back(end):
            if (one := _turn(self._names, records)) is not None:
                yield one

    async def _back(self, before: int) -> AsyncIterator[list[Record]]:
        """Yield the records of the turns that begin before a position, the newest turn first."""
        held: list[Record] = []
        begun, size = False, _FEW
        while before > 0:
            after, size = max(0, before - size), _PAGE
            for record in reversed(await window(self._sessions, self._session, after, before)):
                held.append(record)
                if begun:  # its message stands one before
                    yield held[::-1]
                    held, begun = [], False
                else:
                    begun = record.body.startswith(_STARTED)
            before = after
        if begun:
            yield held[::-1]

    async def _on(self, number: int) -> AsyncIterator[TurnLog]:
        """Yield the turn of a number and those behind it."""
        after = await self.start(number)
        held: list[Record] = []
        while after is not None and (page := await self._sessions.history(self._session, after=after, limit=_PAGE)):
            for record in page:
                if record.body.startswith(READ):
                    held.append(record)
                if record.body.startswith(_COMPLETED):
                    if (one := _turn(self._names, held)) is not None:
                        yield one
                    held = []
            after = page[-1].seq
        if (one := _turn(self._names, held)) is not None:
            yield one

    async def start(self, number: int) -> int | None:
        """Return the position before the first event of a turn; None if there is none of this number. Looks at a few
        places of the log only."""
        low, high = 0, (await self._sessions.get(self._session)).head
        while low < high:
            middle = (low + high) // 2
            found = await self._first(middle, high)
            if found is None or found[1] >= number:
                high = middle
            else:
                low = found[0]
        found = await self._first(low, None)
        return max(0, found[0] - 2) if found is not None and found[1] == number else None

    async def _first(self, after: int, most: int | None) -> tuple[int, int] | None:
        """Return the position and the number of the first turn that begins behind a position."""
        limit = _FEW
        while page := await self._sessions.history(self._session, after=after, limit=limit):
            limit = _PAGE
            for record in page:
                if record.body.startswith(_STARTED) and isinstance(event := record.event, ev.TurnStarted):
                    return record.seq, event.turn
            after = page[-1].seq
            if most is not None and after >= most:
                break
        return None

    async def turn_before(self, end: int) -> int | None:
        """Return the position before the last turn that begins before `end`."""
        before, size = end, _FEW
        while before > 0:
            after, size = max(0, before - size), _PAGE
            for record in reversed(await window(self._sessions, self._session, after, before)):
                if record.body.startswith(_STARTED):
                    return max(0, record.seq - 2)
            before = after
        return None


def _turn(names: Names, records: Sequence[Record]) -> TurnLog | None:
    """Read the records of one turn."""
    reader = LogReader(names)
    items: dict[str, dict[str, Any]] = {}
    turn = None
    for record in records:
        if not record.body.startswith(READ):
            continue
        told = reader.read(record.seq, record.event)
        _collect(items, told)
        turn = reader.turn or turn
        if record.body.startswith(_COMPLETED):
            break
    _collect(items, reader.flush())
    return None if turn is None else TurnLog(turn.number, reader.resource(turn), list(items.values()))


def _collect(items: dict[str, dict[str, Any]], told: Sequence[Told]) -> None:
    for one in told:
        if one.kind in ("turn.item.added", "turn.item.done"):
            item = one.fields["item"]
            items[item["id"]] = item


def _behind(items: list[dict[str, Any]], after: str) -> list[dict[str, Any]]:
    """Return the items behind one of them. Raises `NotFound`."""
    for at, item in enumerate(items):
        if item["id"] == after:
            return items[at + 1 :]
    raise missing("item", after)
