"""Conversations of OpenAI's API: a conversation is a session, and what was said in it are its items.

A conversation begins before it is known which agent will answer. If another agent than the one of its session is asked
first, it goes on in a session of that agent, whose name ends with `.s`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from roost.doors.conversation_log import ConversationLog
from roost.doors.digests import Exchange, beginning, told_before
from roost.doors.openai.response_items import dialogue, items_of
from roost.doors.openai.response_log import Place, ResponseLog, write
from roost.doors.openai.response_writer import ResponseWriter, head_of
from roost.doors.openai.shown_items import message_item, output_item
from roost.doors.turn_reader import CallsWait, TurnReader
from roost.errors import Conflict, Invalid, NotFound
from roost.features.client_tools.events import ClientCalled
from roost.ids import is_id, new_id
from roost.log import events as ev
from roost.log.content import Text, UserPart
from roost.log.frames import Frame
from roost.log.inputs import EmitInput
from roost.log.protocols import Record, SessionQuery
from roost.log.session_info import SessionInfo
from roost.server.app_state import Api

_SUCCESSOR = ".s"
_NEVER = 2**62
_RECEIVED = b'{"type":"input.received"'
_ADDED, _REMOVED, _NAMED = ".items", ".item_removed", ".conversation"
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}


def unknown(name: str) -> NotFound:
    return NotFound(f"there is no conversation {name[:200]!r} here", code="conversation_not_found")


def name_of(session: str) -> str | None:
    """Return the conversation that a session is of; None if it was not made as one."""
    return session.removesuffix(_SUCCESSOR) if session.startswith("conv_") else None


class _Item(NamedTuple):
    """An item, and the position that it stands at. added: a client put it there, and no agent has been told of it."""

    seq: int
    shown: dict[str, Any]
    added: bool = False


class Conversations:
    """The conversations of a door `name`."""

    def __init__(self, name: str, api: Api, log: ResponseLog) -> None:
        self._name, self._api, self._sessions, self._log = name, api, api.sessions, log
        self._messages = ConversationLog(name, api.sessions)

    async def sessions(self, name: str) -> list[SessionInfo]:
        """Return the session of a conversation, and the one in which it goes on. Raises `NotFound`."""
        if not is_id(name):
            raise unknown(name)
        found = await self._sessions.find(SessionQuery(ids=(name, name + _SUCCESSOR), limit=2))
        if not any(info.id == name for info in found):
            raise unknown(name)
        return sorted(found, key=lambda info: info.id)

    async def enter(self, name: str, agent: str) -> tuple[str, Text | None]:
        """Return the session in which an agent goes on with a conversation, and what it has to be told before. Raises
        `NotFound`."""
        found = await self.sessions(name)
        untold = [item for info in found for item in await self._untold(info)]
        last = found[-1]
        elsewhere = last.agent != agent and last.id == name and await self._silent(name)
        return name + _SUCCESSOR if elsewhere else last.id, _told(untold)

    async def _untold(self, info: SessionInfo) -> list[dict[str, Any]]:
        """Return the added items of which no message of this door has told the agent."""
        pending = await self._pending(info.id) if info.pending else []
        found = [self.added(item) for item in reversed(pending)]
        removed = {self.removed(item) for item in pending}
        async for record in self._messages.backward(info.id, info.head):
            if record.body.startswith(_RECEIVED) and self.tells(record.event):
                break
            removed.add(self.removed(record.event))
            found.append(self.added(record.event))
        added = {item["id"]: item for items in reversed(found) for item in items}
        return [item for id, item in added.items() if id not in removed]

    async def _silent(self, session: str) -> bool:
        """Whether nothing was said in a session."""
        async for record in self._log.records(session):
            if record.body.startswith(_RECEIVED):
                return False
        return True

    def said(self, event: ev.InputReceived) -> Sequence[UserPart]:
        return self._log.said(event)

    def tells(self, event: ev.Event) -> bool:
        """Whether a message comes from a client that named the session, and so tells of the items added before."""
        return isinstance(event, ev.InputReceived) and (event.source or "").startswith(f"{self._name}:named#")

    async def metadata(self, name: str) -> dict[str, str]:
        pending = await self._pending(name)
        found = [data async for record in self._log.records(name) if (data := self._metadata(record.event))]
        known = [data["id"] for data in found]
        found += [data for item in pending if (data := self._metadata(item)) and data["id"] not in known]
        return found[-1]["metadata"] if found else {}

    def _metadata(self, event: object) -> dict[str, Any] | None:
        data = self.data(event, _NAMED)
        return data if data and "id" in data and isinstance(data.get("metadata"), dict) else None

    async def _pending(self, session: str) -> list[EmitInput]:
        """Return what waits to be put into the log. Read it before the log, so that nothing is missed."""
        waiting = [one.input for one in await self._api.runtime.node.store.inboxes.pending(session)]
        return [one for one in waiting if isinstance(one, EmitInput)]

    async def set_metadata(self, name: str, metadata: dict[str, str], key: str | None = None) -> None:
        id = new_id("meta") if key is None else f"meta_{beginning(key).hex()}"
        await self._sessions.emit(name, self._name + _NAMED, {"metadata": metadata, "id": id}, key=key)

    async def add(self, name: str, given: Sequence[dict[str, Any]], key: str | None = None) -> list[dict[str, Any]]:
        """Put items into a conversation: its agent is told of them with the next message. Raises `Invalid`."""
        items_of(given)
        found = await self.sessions(name)
        items = [_kept(item, None if key is None else beginning(key, str(n)).hex()) for n, item in enumerate(given)]
        await self._sessions.emit(found[-1].id, self._name + _ADDED, {"items": items}, key=key)
        return items

    async def items(self, name: str) -> list[dict[str, Any]]:
        """Return the items of a conversation, oldest first. Raises `NotFound`."""
        return [item.shown for info in await self.sessions(name) for item in await self._items(info.id)]

    async def remove(self, name: str, id: str) -> None:
        """Take back an item that no agent has been told of. Raises `NotFound`, and `Conflict` for any other."""
        for info in await self.sessions(name):
            for item in await self._items(info.id):
                if item.shown["id"] != id:
                    continue
                if not item.added:
                    why = "was said, and a log keeps what was said; go back before it with: roost rollback"
                    raise Conflict(f"the item {id!r} {why} {info.id}", code="item_said")
                await self._sessions.emit(info.id, self._name + _REMOVED, {"id": id})
                return
        raise NotFound(f"there is no item {id[:200]!r} in this conversation", code="item_not_found")

    async def _items(self, session: str) -> list[_Item]:
        pending = await self._pending(session)
        reader = _ItemReader(self, session)
        async for record in self._log.records(session):
            await reader.follow(record)
        for item in pending:
            reader.change(_NEVER, item)
        return reader.items

    def data(self, event: object, name: str) -> dict[str, Any] | None:
        """Return the data of an event that this door wrote, or is about to write."""
        if not isinstance(event, ev.Emitted | EmitInput) or event.name != self._name + name:
            return None
        data: Any = event.data
        return cast("dict[str, Any]", data) if isinstance(data, dict) else None

    def added(self, event: object) -> list[dict[str, Any]]:
        items: Any = (self.data(event, _ADDED) or {}).get("items")
        return [one for one in cast("list[Any]", items) if _reads(one)] if isinstance(items, list) else []

    def removed(self, event: object) -> str | None:
        id = (self.data(event, _REMOVED) or {}).get("id")
        return id if isinstance(id, str) else None

    def reader(self, place: Place) -> TurnReader:
        return TurnReader(self._sessions, place.session, place.item, resumed=place.step > 0, separator="")


class _ItemReader:
    """Fold the events of a session into items. Those of a turn have the ids that its responses show."""

    def __init__(self, log: Conversations, session: str) -> None:
        self.items: list[_Item] = []
        self._log, self._session = log, session
        self._place: Place | None = None
        self._called: set[str] = set()
        self._seen: set[str] = set()

    async def follow(self, record: Record) -> None:
        event = record.event
        match event:
            case ev.InputReceived():
                self._receive(record.seq, event)
            case ClientCalled():
                self._called.add(event.call)
            case ev.ToolCompleted() if event.call in self._called and self._place is not None:
                self._called.discard(event.call)
                self.items.append(_Item(record.seq, output_item(self._place, event)))
            case ev.SessionRolledBack():
                self.items = [item for item in self.items if item.seq <= event.to]
                self._place = None
            case _:
                self.change(record.seq, event)
        if self._place is not None:
            await self._read(record)

    def change(self, seq: int, event: object) -> None:
        """Add or remove items as a client asked."""
        fresh = [shown for shown in self._log.added(event) if shown["id"] not in self._seen]
        self._seen |= {shown["id"] for shown in fresh}
        self.items += [_Item(seq, shown, True) for shown in fresh]
        if (removed := self._log.removed(event)) is not None:
            self.items = [item for item in self.items if item.shown["id"] != removed]

    def _receive(self, seq: int, event: ev.InputReceived) -> None:
        if self._log.tells(event):
            self.items = [item._replace(added=False) for item in self.items]
        place = Place(self._session, event.input, 0)
        self.items.append(_Item(seq, message_item(place, self._log.said(event))))
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
        self.items += [_Item(record.seq, shown) for shown in self._writer.output]
        if isinstance(last := found[-1], CallsWait):
            self._begin(self._place._replace(step=last.step))
        else:
            self._place = None


def _told(items: Sequence[dict[str, Any]]) -> Text | None:
    """Return what an agent is told of items that it has not heard."""
    if not items:
        return None
    said = dialogue(items_of(items))
    system = [Exchange((Text(f"(instruction) {said.instructions}"),), "")] if said.instructions else []
    rest = [Exchange(said.parts, "")] if said.parts else []
    return told_before([*system, *said.before, *rest])


def _reads(item: object) -> bool:
    """Whether an item in the log is one that this door put there."""
    if not isinstance(item, dict) or not isinstance(cast("dict[str, Any]", item).get("id"), str):
        return False
    try:
        items_of([cast("dict[str, Any]", item)])
    except Invalid:
        return False
    return True


def _kept(item: dict[str, Any], id: str | None) -> dict[str, Any]:
    """Return an item as a conversation shows it. id: the part of its id behind the prefix; None for a new one."""
    kind = str(item.get("type") or "message")
    content: Any = item.get("content")
    if kind == "message" and isinstance(content, str):
        text = "output_text" if item.get("role") == "assistant" else "input_text"
        content = [{"type": text, "text": content} | ({"annotations": []} if text == "output_text" else {})]
    prefix = _PREFIXES.get(kind, "item")
    shown = {**item, "id": new_id(prefix) if id is None else f"{prefix}_{id}", "type": kind, "status": "completed"}
    return shown | ({"content": content} if content is not None else {})
