"""The items of a conversation, read from its log from the newest back, or from the oldest on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, Protocol

from roost.doors.openai.response_log import Place, write
from roost.doors.openai.response_writer import ResponseWriter, head_of
from roost.doors.openai.shown_items import message_item, output_item
from roost.doors.turn_reader import CallsWait, TurnReader
from roost.features.client_tools.events import ClientCalled
from roost.kernel.sessions import Sessions
from roost.kernel.turn_watch import window
from roost.log import events as ev
from roost.log.content import UserPart
from roost.log.frames import Frame
from roost.log.inputs import EmitInput
from roost.log.protocols import Record

_FEW, _MANY = 100, 500
_RECEIVED, _EMITTED = ev.beginning_of(ev.InputReceived), ev.beginning_of(ev.Emitted)
_ENDED, _BACK = ev.beginning_of(ev.TurnCompleted), ev.beginning_of(ev.SessionRolledBack)
_FOLDED = (_RECEIVED, _EMITTED, ev.beginning_of(ClientCalled), ev.beginning_of(ev.ToolCompleted))


class Item(NamedTuple):
    """An item. added: a client put it there, and no agent has been told of it."""

    shown: dict[str, Any]
    added: bool = False


class ItemEvents(Protocol):
    """What the door reads from events."""

    def said(self, event: ev.InputReceived) -> Sequence[UserPart]:
        """Return what the user said."""
        ...

    def tells(self, event: ev.Event) -> bool:
        """Whether a message tells its agent of the items that were added before."""
        ...

    def added(self, event: object) -> list[dict[str, Any]]:
        """Return the items that an event adds."""
        ...

    def removed(self, event: object) -> str | None:
        """Return the id of the item that an event removes."""
        ...

    def reader(self, place: Place) -> TurnReader: ...


class ItemReader:
    """Fold a part of a log, between whose ends no turn is open, into items. Those of a turn have the ids that its
    responses show."""

    def __init__(self, log: ItemEvents, session: str) -> None:
        self.items: list[Item] = []
        self._log, self._session = log, session
        self._place: Place | None = None
        self._called: set[str] = set()
        self._seen: set[str] = set()

    async def follow(self, record: Record) -> None:
        if record.body.startswith(_FOLDED):
            self._fold(record)
        if self._place is not None:
            await self._read(record)

    def _fold(self, record: Record) -> None:
        event = record.event
        match event:
            case ev.InputReceived():
                self._receive(event)
            case ClientCalled():
                self._called.add(event.call)
            case ev.ToolCompleted():
                if event.call in self._called and self._place is not None:
                    self._called.discard(event.call)
                    self.items.append(Item(output_item(self._place, event)))
            case _:
                self.change(event)

    def change(self, event: object) -> None:
        """Add or remove items as a client asked. What an agent was told of stays."""
        fresh = [shown for shown in self._log.added(event) if shown["id"] not in self._seen]
        self._seen |= {shown["id"] for shown in fresh}
        self.items += [Item(shown, True) for shown in fresh]
        if (removed := self._log.removed(event)) is not None:
            self.items = [item for item in self.items if not item.added or item.shown["id"] != removed]

    @property
    def open(self) -> bool:
        """Whether a turn is open."""
        return self._place is not None

    def settled(self) -> list[Item]:
        """Return the items, the oldest first, that no later event takes back, and forget them."""
        count = next((at for at, item in enumerate(self.items) if item.added), len(self.items))
        found, self.items = self.items[:count], self.items[count:]
        return found

    def _receive(self, event: ev.InputReceived) -> None:
        if self._log.tells(event):
            self.items = [item._replace(added=False) for item in self.items]
        place = Place(self._session, event.input, 0)
        self.items.append(Item(message_item(place, self._log.said(event))))
        if self._place is None:
            self._begin(place)

    def _begin(self, place: Place) -> None:
        self._place = place
        self._reader = self._log.reader(place)
        self._writer = ResponseWriter(head_of(place.id, "", {}, None, 0), streams=False)

    async def _read(self, record: Record) -> None:
        assert self._place is not None
        found = await self._reader.read([Frame(record.seq, record.body)])
        if write(self._writer, self._place, found) is None:
            return
        self.items += [Item(shown) for shown in self._writer.output]
        if isinstance(last := found[-1], CallsWait):
            self._begin(self._place._replace(step=last.step))
        else:
            self._place = None


async def items_on(
    log: ItemEvents, sessions: Sessions, session: str, after: int, pending: Sequence[EmitInput]
) -> AsyncIterator[tuple[int, Item]]:
    """Yield the items of a session that was never rolled back, the oldest first, from a position on at which no turn
    is open; each with a position from which it can be found again. pending: as in `ItemsBack`. Raises `NotFound`."""
    reader, start = ItemReader(log, session), after
    while page := await sessions.history(session, after=after, limit=_FEW):
        for record in page:
            await reader.follow(record)
            if reader.open or not record.body.startswith(_ENDED):
                continue
            for item in reader.settled():
                yield start, item
            start = start if reader.items else record.seq
        after = page[-1].seq
    for one in pending:
        reader.change(one)
    for item in reader.items:
        yield start, item


class ItemsBack:
    """The items of a session from the newest back. Reads the log backward, a turn at a time, and folds only what is
    asked for. pending: what waits to be put into the log; read it first. head: of the log then."""

    def __init__(
        self, log: ItemEvents, sessions: Sessions, session: str, head: int, pending: Sequence[EmitInput]
    ) -> None:
        self._log, self._sessions, self._session, self._head = log, sessions, session, head
        self._pending = pending
        self._removed: set[str] = set()
        self._yielded: set[str] = set()
        self._told = False
        self._to: int | None = None
        """The position that a later rollback went back to: what stands behind it does not count."""

    async def read(self, first: str | None) -> AsyncIterator[Item]:
        """Yield the items. first: the id of the one to begin with; nothing is yielded if there is none. Raises
        `NotFound`."""
        waiting = ItemReader(self._log, self._session)
        for one in self._pending:
            waiting.change(one)
            self._note(one)
        for item in self._fresh(waiting.items):
            if first is None or item.shown["id"] == first:
                first = None
                yield item
        async for records in self._turns():
            if first is None or _may_have(records, self._session, first):
                for item in await self._folded(records):
                    if first is None or item.shown["id"] == first:
                        first = None
                        yield item
            self._pass(records)

    async def _turns(self) -> AsyncIterator[list[Record]]:
        """Yield the log in parts between whose ends no turn is open, the newest first."""
        held: list[Record] = []
        before, size = self._head, _FEW
        while before > 0:
            start, size = max(0, before - size), _MANY
            for record in reversed(await window(self._sessions, self._session, start, before)):
                if self._to is not None and record.seq > self._to:
                    if record.body.startswith(_EMITTED):
                        self._note(record.event)
                    continue
                back = record.body.startswith(_BACK)
                if (back or record.body.startswith(_ENDED)) and held:
                    yield held[::-1]
                    held = []
                if back and isinstance(event := record.event, ev.SessionRolledBack):
                    self._to = event.to
                else:
                    held.append(record)
            before = start
        if held:
            yield held[::-1]

    async def _folded(self, records: Sequence[Record]) -> list[Item]:
        """Return the items of a part, the newest first."""
        reader = ItemReader(self._log, self._session)
        for record in records:
            await reader.follow(record)
        return self._fresh(reader.items)

    def _fresh(self, items: Sequence[Item]) -> list[Item]:
        found = [
            item._replace(added=item.added and not self._told)
            for item in reversed(items)
            if not (item.added and item.shown["id"] in self._removed) and item.shown["id"] not in self._yielded
        ]
        self._yielded |= {item.shown["id"] for item in found}
        return found

    def _pass(self, records: Sequence[Record]) -> None:
        """Note what a part says of items before it. One that its agent was told of is not taken back."""
        for record in reversed(records):
            if record.body.startswith(_EMITTED):
                self._note(record.event)
            elif record.body.startswith(_RECEIVED) and self._log.tells(record.event):
                self._told = True
                self._removed.clear()

    def _note(self, event: object) -> None:
        if (removed := self._log.removed(event)) is not None:
            self._removed.add(removed)


def _may_have(records: Sequence[Record], session: str, id: str) -> bool:
    """Whether an item of this id may be in a part of the log. The id of what was said has the number of its input."""
    number = id.partition("_")[2].removeprefix(f"{session}_").partition(".")[0]
    given = id.encode()
    for record in records:
        if record.body.startswith(_EMITTED) and given in record.body:
            return True
        if number.isascii() and number.isdigit() and record.body.startswith(_RECEIVED):
            event = record.event
            if isinstance(event, ev.InputReceived) and event.input == int(number):
                return True
    return False
