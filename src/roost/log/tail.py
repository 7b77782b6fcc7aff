"""Follow a log: replay, then live events, without gap or duplicate, at the reader's own speed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from roost.errors import NotFound, StoreFailed, StoreUnreachable
from roost.log.protocols import READ_BYTES, Change, Record
from roost.log.store import Store

_BUFFER = 256
_PAGE = 500
_AGAIN_SECONDS = 0.5


class Follower:
    """One reader's position in one log. A reader that overflows its buffer reads from the store again, so it costs the
    writer nothing. `woken` is set when there may be new records.

    With `after` None it listens from now on. The caller then sets `after`, before the first `take`, to a log position
    learnt after construction. In that case it need not read the store at all.
    """

    def __init__(self, store: Store, session: str, after: int | None) -> None:
        self.after = 0 if after is None else after
        self.woken = asyncio.Event()
        self._logs = store.logs
        self._session = session
        self._live: list[Record] = []
        self.behind = after is not None
        self._begun = after is None
        self._stop = store.changes.watch(self._listen, session=session)

    def close(self) -> None:
        self._stop()

    async def take(self) -> list[Record] | None:
        """Return the new records, possibly none; None when the log was deleted or the store closed. Raises
        `StoreFailed`, but once it has read the log it waits through `StoreUnreachable` instead."""
        if self.behind:
            return await self._replay()
        live, self._live = self._live, []
        fresh = [record for record in live if record.seq > self.after]
        if [record.seq for record in fresh] != list(range(self.after + 1, self.after + 1 + len(fresh))):
            return await self._replay()
        self.after += len(fresh)
        return fresh

    async def _replay(self) -> list[Record] | None:
        self.behind = False
        self._live.clear()
        try:
            page = await self._logs.read(self._session, after=self.after, limit=_PAGE)
        except NotFound:
            return None
        except StoreFailed as error:
            if error.code == "store_closed":
                return None
            if not (self._begun and isinstance(error, StoreUnreachable)):
                raise
            self.behind = True  # an established reader waits until the store is back
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self.woken.set)
            return []
        self._begun = True
        if page:
            self.after = page[-1].seq
        if len(page) == _PAGE or sum(len(record.body) for record in page) >= READ_BYTES:
            self.behind = True
            self.woken.set()
        return page

    def _listen(self, change: Change) -> None:
        if change.records is None or len(self._live) + len(change.records) > _BUFFER:
            self.behind = True
            self._live.clear()
        elif not change.records:
            return
        elif not self.behind:
            self._live.extend(change.records)
        self.woken.set()


async def follow(store: Store, session: str, *, after: int = 0) -> AsyncGenerator[Record]:
    """Replay from `after`, then follow without end: every record once, in order, from any writer. Ends when the session
    is deleted or the store is closed."""
    follower = Follower(store, session, after)
    try:
        while True:
            follower.woken.clear()
            records = await follower.take()
            if records is None:
                return
            for record in records:
                yield record
            if not records:
                await follower.woken.wait()
    finally:
        follower.close()
