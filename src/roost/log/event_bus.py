"""A typed event bus over the log: every event it delivers is durable, and none is missed."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from roost.log.events import Event
from roost.log.protocols import Accepted, Change
from roost.log.store import Store
from roost.log.tail import follow

E = TypeVar("E", bound=Event)
log = logging.getLogger("roost.bus")


class Bus:
    """Events of one session. Handlers run one after the other, in log order, on the event loop. A handler that raises
    is logged and does not stop the others."""

    def __init__(self, store: Store, session: str, emit: Callable[..., Awaitable[Accepted]]) -> None:
        self._store = store
        self._session = session
        self._emit = emit
        self._tasks: set[asyncio.Task[None]] = set()

    def on(
        self, kind: type[E], handler: Callable[[E], object], *, after: int | None = None, once: bool = False
    ) -> Callable[[], None]:
        """Call `handler` (a function or a coroutine function) for every event of `kind` after position `after`; by
        default for everything committed from now on. Returns a function that stops it."""
        first = _First(self._store, self._session)
        task = asyncio.create_task(self._deliver(kind, handler, after, once, first))
        self._tasks.add(task)
        task.add_done_callback(lambda _: first.stop())  # the task may be cancelled before it starts
        task.add_done_callback(self._tasks.discard)
        return lambda: cast(None, task.cancel())

    def once(self, kind: type[E], handler: Callable[[E], object], *, after: int | None = None) -> Callable[[], None]:
        """Like `on`, for the first such event only."""
        return self.on(kind, handler, after=after, once=True)

    async def wait_for(
        self,
        kind: type[E],
        *,
        where: Callable[[E], bool] = lambda _: True,
        after: int | None = None,
        timeout: float | None = None,
    ) -> E:
        """Return the next event of `kind` that satisfies `where`. Raises `TimeoutError`, and `LookupError` when the
        session is deleted first."""
        first = _First(self._store, self._session)
        async with asyncio.timeout(timeout):
            async for record in follow(self._store, self._session, after=await first.position(after)):
                event = record.event
                if isinstance(event, kind) and where(event):
                    return event
        raise LookupError(f"session {self._session!r} is gone")

    async def emit(self, name: str, data: Any = None) -> Accepted:
        """Append a program's own event to the log; other readers get it as `Emitted`."""
        return await self._emit(self._session, name, data)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver(
        self, kind: type[E], handler: Callable[[E], object], after: int | None, once: bool, first: _First
    ) -> None:
        async for record in follow(self._store, self._session, after=await first.position(after)):
            event = record.event
            if not isinstance(event, kind):
                continue
            try:
                result = handler(event)
                if inspect.isawaitable(result):
                    await result
            except Exception:  # a handler's defect must not stop delivery
                log.exception("session %s: a handler of %s failed", self._session, kind.__name__)
            if once:
                return


class _First:
    """The log's head at the time of construction, although the store answers later."""

    def __init__(self, store: Store, session: str) -> None:
        self._store = store
        self._session = session
        self._seq: int | None = None
        self.stop = store.changes.watch(self._listen, session=session)

    def _listen(self, change: Change) -> None:
        if self._seq is None and change.records:
            self._seq = change.records[0].seq

    async def position(self, after: int | None) -> int:
        """Return `after`, or the head at construction if None. Raises `NotFound`."""
        try:
            if after is not None:
                return after
            head = (await self._store.sessions.get(self._session)).head
            return head if self._seq is None else min(head, self._seq - 1)
        finally:
            self.stop()
