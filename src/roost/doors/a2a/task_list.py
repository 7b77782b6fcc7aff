"""List tasks in pages, each with bounded work: a page may have fewer tasks than asked, and still a token to go on."""

from __future__ import annotations

from typing import Any, NamedTuple

from roost.doors.a2a.shapes import ListTasks
from roost.doors.a2a.tasks import Task, TaskId, is_message, read_task, submitted
from roost.doors.threads import session_of
from roost.errors import Invalid, NotFound
from roost.kernel.turn_watch import window
from roost.log import events as ev
from roost.log.inputs import MessageInput
from roost.log.protocols import SessionQuery
from roost.log.session_info import SessionInfo
from roost.runtime import Runtime

_TASKS, _MOST_TASKS = 50, 100
"""Tasks of a page: unless asked, and at most."""
_CONTEXTS, _EVENTS, _WINDOW = 50, 20_000, 1000
"""What is looked at for a page, at most, and events that are read at once."""
_RECEIVED = b'{"type":"input.received"'
_FORKED = b'{"type":"session.forked"'


class _Place(NamedTuple):
    """Where a page begins: in a context, at a position from which its log is read backward; 0: after that context.
    item: it begins in the inbox, with this message."""

    session: str
    position: int
    item: int | None = None

    def __str__(self) -> str:
        return f"{self.position}.{self.session}" if self.item is None else f"i{self.item}.{self.session}"


class TaskList:
    """A page of the tasks of an agent, those of the newest contexts first. door: the name of the door."""

    def __init__(self, door: str, runtime: Runtime, agent: str, asked: ListTasks) -> None:
        self._door, self._runtime, self._agent, self._asked = door, runtime, agent, asked
        self._size = _TASKS if asked.page_size is None else asked.page_size
        self._left = _EVENTS
        self._found: list[dict[str, Any]] = []
        if not 1 <= self._size <= _MOST_TASKS:
            raise Invalid(f"pageSize: between 1 and {_MOST_TASKS}")

    async def page(self) -> dict[str, Any]:
        """Return the response. Raises `Invalid`."""
        place = await self._walk()
        page = {"tasks": self._found, "nextPageToken": "" if place is None else str(place), "pageSize": self._size}
        known = place is None and not self._asked.page_token
        return {**page, "totalSize": len(self._found)} if known else page

    async def _walk(self) -> _Place | None:
        """Collect tasks, and return where the next page begins."""
        start = self._start()
        one = session_of(self._asked.context_id) if self._asked.context_id else None
        begun: SessionInfo | None = None
        if start is not None:
            begun = await self._of_door(start.session)
            if begun is None or one not in (None, start.session):
                raise Invalid("pageToken: its context is gone, or another one: begin with the first page")
            if start.item is not None:
                place = await self._all(begun, start.item)
            else:
                place = await self._read(begun, start.position) if start.position else None
            if place is not None:
                return place
        if one is not None:
            known = await self._of_door(one) if start is None else None
            return None if known is None else await self._all(known)
        query = SessionQuery(
            agent=self._agent,
            label=(self._door, self._agent),
            before=None if begun is None else begun.id,
            limit=_CONTEXTS,
        )
        contexts = await self._runtime.sessions.find(query)
        for info in contexts:
            if (place := await self._all(info)) is not None:
                return place
        return _Place(contexts[-1].id, 0) if len(contexts) == _CONTEXTS else None

    async def _of_door(self, session: str) -> SessionInfo | None:
        try:
            info = await self._runtime.sessions.get(session)
        except NotFound:
            return None
        return info if info.agent == self._agent else None

    async def _all(self, info: SessionInfo, item: int | None = None) -> _Place | None:
        """As `_read`, with the messages before it that wait in the inbox, from `item` on."""
        if item is not None or info.pending:
            try:
                pending = await self._runtime.node.tenants.inboxes.pending(info.id)
            except NotFound:  # deleted under way
                return None
            for one in reversed(pending):
                if not isinstance(one.input, MessageInput) or not is_message(one.input.source, self._door):
                    continue
                if item is None or one.id <= item:
                    if len(self._found) == self._size:
                        return _Place(info.id, 0, one.id)
                    self._tell(submitted(TaskId(info.id, one.id), self._context(info), [one], info))
        return await self._read(info, info.head)

    def _context(self, info: SessionInfo) -> str:
        return info.labels.get(f"{self._door}.context", info.id)

    async def _read(self, info: SessionInfo, before: int) -> _Place | None:
        """Collect the tasks of a context, the newest first, and return where it stopped before the end."""
        context = self._context(info)
        while before > 0:
            if self._left <= 0:
                return _Place(info.id, before)
            after = max(0, before - _WINDOW)
            try:
                records = await window(self._runtime.sessions, info.id, after, before)
            except NotFound:  # deleted under way
                return None
            self._left -= before - after
            for record in reversed(records):
                if record.body.startswith(_FORKED):  # earlier tasks are another session's
                    return None
                event = record.event if record.body.startswith(_RECEIVED) else None
                if isinstance(event, ev.InputReceived) and is_message(event.source, self._door):
                    if len(self._found) == self._size:
                        return _Place(info.id, record.seq)
                    await self._add(TaskId(info.id, event.input), context, record.seq - 1)
            before = after
        return None

    async def _add(self, id: TaskId, context: str, begun: int) -> None:
        try:
            task = await read_task(self._runtime, id, context, begun=begun)
        except NotFound:
            return
        self._tell(task)

    def _tell(self, task: Task) -> None:
        """Add a task to the page if it passes the filters."""
        asked = self._asked
        since = asked.status_timestamp_after
        if since is not None and (task.at is None or task.at < since.timestamp()):
            return
        if asked.status in (None, "TASK_STATE_UNSPECIFIED", f"TASK_STATE_{task.state}"):
            self._found.append(task.shape(artifacts=bool(asked.include_artifacts), history=asked.history_length))

    def _start(self) -> _Place | None:
        if not self._asked.page_token:
            return None
        position, _, session = self._asked.page_token.partition(".")
        item = position.removeprefix("i")
        if item != position and item.isascii() and item.isdigit() and len(item) < 19 and session:
            return _Place(session, 0, int(item))
        if not (position.isascii() and position.isdigit() and len(position) < 19 and session):
            raise Invalid("pageToken: use the nextPageToken of the page before")
        return _Place(session, int(position))
