"""Stream the rows of sessions as they change, for lists that are live."""

from __future__ import annotations

import asyncio

from starlette.types import Send

from roost.authority import current
from roost.log.protocols import Change, SessionQuery
from roost.server.app_state import Api
from roost.server.problems import Problem, shutting_down
from roost.server.responses import encode
from roost.server.stream import PING_SECONDS, Stream

_APART = 0.25
"""Seconds between two batches: changes in between are one."""
_BATCH = 200
_MOST = 2000
"""Sessions that change between two batches. With more, the client is told to read its list again."""


class SessionChanges(Stream):
    """`event: sessions` has the present rows of sessions that changed, `event: gone` the ids of those that were
    deleted. `event: reset` says that any may have changed: read the list again. There is no position: a client that
    connects again reads its list again."""

    headers = (
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
    )

    def __init__(self, api: Api) -> None:
        super().__init__(api, "*", api.streams)
        self._changed: set[str] = set()
        self._any = False
        self._woken = asyncio.Event()

    async def pump(self, send: Send) -> Problem | None:
        stop = self.api.runtime.node.tenants.changes.watch(self._note)
        try:
            await self.give(send, b"event: begin\ndata: {}\n\n")
            while True:
                try:
                    async with asyncio.timeout(PING_SECONDS):
                        await self._woken.wait()
                except TimeoutError:
                    await self.give(send, b": ping\n\n")
                    continue
                await asyncio.sleep(_APART)
                await self._batch(send)
        finally:
            stop()

    def last(self, problem: Problem | None) -> bytes:
        return b"event: problem\ndata: %b\n\n" % encode(problem or shutting_down())

    def _note(self, change: Change) -> None:
        if not change.session or len(self._changed) >= _MOST:
            self._any = True
        else:
            self._changed.add(change.session)
        self._woken.set()

    async def _batch(self, send: Send) -> None:
        self._woken.clear()
        changed, any_, self._any = sorted(self._changed), self._any, False
        self._changed.clear()
        if any_:
            await self.give(send, b"event: reset\ndata: {}\n\n")
            return
        for begin in range(0, len(changed), _BATCH):
            ids = tuple(changed[begin : begin + _BATCH])
            query = SessionQuery(ids=ids, limit=len(ids))
            found = await self.api.sessions.find(query, turns=True)
            if found:
                await self.give(send, b"event: sessions\ndata: %b\n\n" % encode(found))
            gone = sorted(set(ids) - {info.id for info in found})
            if gone and _sees_all():
                await self.give(send, b"event: gone\ndata: %b\n\n" % encode(gone))


def _sees_all() -> bool:
    """Whether the caller sees all sessions of its account: of others it is not even told the ids."""
    return all("*" in scope for scope in current().scopes)
