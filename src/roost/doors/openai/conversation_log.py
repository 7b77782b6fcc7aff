"""Conversations of OpenAI's API: a conversation is a session, and what was said in it are its items.

A conversation begins before it is known which agent will answer. If another agent than the one of its session is asked
first, it goes on in a session of that agent, whose name ends with `.s`."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple, cast

from roost.doors.conversation_log import ConversationLog
from roost.doors.digests import Exchange, beginning, told_before
from roost.doors.log_end import LogEnd, LogTails
from roost.doors.openai.conversation_items import Item, ItemsBack, items_on
from roost.doors.openai.response_items import dialogue, items_of
from roost.doors.openai.response_log import Place, ResponseLog
from roost.doors.talk import Recent
from roost.doors.turn_reader import TurnReader
from roost.errors import Conflict, Invalid, NotFound
from roost.features.checkpoints.state import CheckpointState
from roost.ids import is_id, new_id
from roost.log import events as ev
from roost.log.content import Text, UserPart
from roost.log.inputs import EmitInput
from roost.log.protocols import Record, SessionQuery
from roost.log.session_info import SessionInfo
from roost.server.app_state import Api

_SUCCESSOR = ".s"
_RECEIVED = b'{"type":"input.received"'
_EMITTED = ev.beginning_of(ev.Emitted)
_ADDED, _REMOVED, _NAMED = ".items", ".item_removed", ".conversation"
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc", "function_call_output": "fco"}


def unknown(name: str) -> NotFound:
    return NotFound(f"there is no conversation {name[:200]!r} here", code="conversation_not_found")


def name_of(session: str) -> str | None:
    """Return the conversation that a session is of; None if it was not made as one."""
    return session.removesuffix(_SUCCESSOR) if session.startswith("conv_") else None


class _Start(NamedTuple):
    """A position of a session's log at which no turn is open. created: wall time at which the session was made."""

    session: str
    created: float
    position: int


class Conversations:
    """The conversations of a door `name`."""

    def __init__(self, name: str, api: Api, log: ResponseLog, tails: LogTails) -> None:
        self._tails = tails
        self._name, self._api, self._sessions, self._log = name, api, api.sessions, log
        self._messages = ConversationLog(name, api.sessions)
        self._starts = Recent[tuple[str, str], _Start]()
        """From where items that were shown in the order of time are found again. All of it may be lost at any time."""

    async def sessions(self, name: str) -> list[SessionInfo]:
        """Return the session of a conversation, and the one in which it goes on. Raises `NotFound`."""
        if not is_id(name):
            raise unknown(name)
        found = await self._sessions.find(SessionQuery(ids=(name, name + _SUCCESSOR), limit=2))
        if len(found) > 1:
            found.sort(key=lambda info: info.id)
        if not found or found[0].id != name:
            raise unknown(name)
        return found

    async def enter(self, name: str, agent: str) -> tuple[str, LogEnd | None, Text | None]:
        """Return the session in which an agent goes on with a conversation, the end of its log if there is one, and
        what the agent has to be told before. Raises `NotFound`."""
        ends, untold = [self._tails.end(info) for info in await self.sessions(name)], list[dict[str, Any]]()
        for end in ends:
            untold += await self._untold(end)
        last = ends[-1].info
        if last.agent != agent and last.id == name and await self._silent(name):
            return name + _SUCCESSOR, None, _told(untold)
        return last.id, ends[-1], _told(untold)

    async def _untold(self, end: LogEnd) -> list[dict[str, Any]]:
        """Return the added items of which no message of this door has told the agent."""
        if not end.info.pending and self._ends_told(end.known):
            return []
        pending = await self._pending(end.info.id) if end.info.pending else []
        found = [self.added(item) for item in reversed(pending)]
        removed = {self.removed(item) for item in pending}
        async for record in self._messages.backward(end):
            if record.body.startswith(_RECEIVED) and self.tells(record.event):
                break
            if record.body.startswith(_EMITTED):
                removed.add(self.removed(record.event))
                found.append(self.added(record.event))
        added = {item["id"]: item for items in reversed(found) for item in items}
        return [item for id, item in added.items() if id not in removed]

    def _ends_told(self, known: Sequence[Record]) -> bool:
        """Whether these newest events of a log show that its agent was told of all items."""
        for record in reversed(known):
            if record.body.startswith(_EMITTED):
                return False
            if record.body.startswith(_RECEIVED) and self.tells(record.event):
                return True
        return False

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
        """Return the metadata that were set last. Raises `NotFound`."""
        for one in reversed(await self._pending(name)):
            if (data := self._metadata(one)) is not None:
                return data["metadata"]
        async for record in self._messages.backward(LogEnd(self._sessions, await self._sessions.get(name))):
            if record.body.startswith(_EMITTED) and (data := self._metadata(record.event)) is not None:
                return data["metadata"]
        return {}

    def _metadata(self, event: object) -> dict[str, Any] | None:
        data = self.data(event, _NAMED)
        return data if data and "id" in data and isinstance(data.get("metadata"), dict) else None

    async def _pending(self, session: str) -> list[EmitInput]:
        """Return what waits to be put into the log. Read it before the log, so that nothing is missed."""
        waiting = [one.input for one in await self._api.runtime.node.tenants.inboxes.pending(session)]
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
        """Return all items of a conversation, oldest first; reads its whole log. Raises `NotFound`."""
        return [item async for item in self.newest(name)][::-1]

    async def oldest(self, name: str, first: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of a conversation, the oldest first, from the item `first` on. Reads the log up to the last
        of them, from its beginning or from where this process has found `first` before; all of it once the conversation
        was rolled back. Raises `NotFound`."""
        infos = await self.sessions(name)
        if not all([await self._goes_on(info) for info in infos]):
            for item in _from(await self.items(name), first):
                yield item
            return
        known = None if first is None else self._starts.get((name, first))
        places = [(info.id, info.created_at) for info in infos]
        if known is not None and (known.session, known.created) in places:
            infos = infos[places.index((known.session, known.created)) :]
            start = known.position
        else:
            start = 0
        for info in infos:
            pending = await self._pending(info.id) if info.pending else []
            async for position, item in items_on(self, self._sessions, info.id, start, pending):
                if first is None or item.shown["id"] == first:
                    first = None
                    self._starts[name, item.shown["id"]] = _Start(info.id, info.created_at, position)
                    yield item.shown
            start = 0

    async def _goes_on(self, info: SessionInfo) -> bool:
        """Whether a session has its own log alone, and was never rolled back."""
        _, state = await self._sessions.state(info.id, info)
        return not state.base and not state.part(CheckpointState).rolled

    async def newest(self, name: str, first: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of a conversation, the newest first, from the item `first` on. Raises `NotFound`."""
        async for _, item in self._back(name, first):
            yield item.shown

    async def item(self, name: str, id: str) -> dict[str, Any]:
        """Raises `NotFound`."""
        return (await self._find(name, id))[1].shown

    async def remove(self, name: str, id: str) -> None:
        """Take back an item that no agent has been told of. Raises `NotFound`, and `Conflict` for any other."""
        session, item = await self._find(name, id)
        if not item.added:
            why = "was said, and a log keeps what was said; go back before it with: roost rollback"
            raise Conflict(f"the item {id!r} {why} {session}", code="item_said")
        await self._sessions.emit(session, self._name + _REMOVED, {"id": id})

    async def _find(self, name: str, id: str) -> tuple[str, Item]:
        async with contextlib.aclosing(self._back(name, id)) as found:
            async for one in found:
                return one
        raise NotFound(f"there is no item {id[:200]!r} in this conversation", code="item_not_found")

    async def _back(self, name: str, first: str | None) -> AsyncGenerator[tuple[str, Item]]:
        """Yield the items, each with its session, the newest first."""
        for info in reversed(await self.sessions(name)):
            pending = await self._pending(info.id) if info.pending else []
            head = (await self._sessions.get(info.id)).head if info.pending else info.head
            async for item in ItemsBack(self, self._sessions, info.id, head, pending).read(first):
                first = None
                yield info.id, item

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


def _from(items: Sequence[dict[str, Any]], first: str | None) -> Iterator[dict[str, Any]]:
    for item in items:
        if first is None or item["id"] == first:
            first = None
            yield item


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
