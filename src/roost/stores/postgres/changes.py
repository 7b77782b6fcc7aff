"""Report commits: to listeners of this process, and as hints to other nodes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from roost.log.commit_watchers import Watchers
from roost.log.document_watchers import DocumentWatchers
from roost.log.protocols import Append, Change
from roost.stores.postgres import rows
from roost.stores.postgres.append_effects import Delivered
from roost.stores.postgres.database import Address, Pool
from roost.stores.postgres.node_connection import NodeConnection
from roost.stores.postgres.notify import ANYTHING, INBOX, LOG, WORK
from roost.stores.postgres.poll_fallback import PollFallback


class PostgresChanges:
    """live: the connection that brings the hints of other nodes. documents: the listeners for changes of documents."""

    def __init__(self, address: Address, pool: Pool, token: str) -> None:
        self._watchers = Watchers()
        self.documents = DocumentWatchers()
        self.live = NodeConnection(address, token, self._watchers.publish, self.documents.changed)
        self._notices = self.live.notices
        self._poll = PollFallback(pool, self._watchers, self.live)
        self._wakes: list[Callable[[], None]] = []

    def watch(self, listener: Callable[[Change], None], *, session: str | None = None) -> Callable[[], None]:
        return self._watchers.watch(listener, session=session)

    def on_work(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    async def start(self) -> None:
        await self.live.start()
        self._poll.start()

    def appended(self, appends: list[Append], waiting: Collection[str], delivered: Sequence[Delivered]) -> None:
        notices = self._notices
        changes: list[Change] = []
        for append in appends:
            if append.bodies:
                changes.append(Change(append.session, rows.records(append.expected, append.bodies)))
            notices.add(append.session, WORK if append.session in waiting else LOG)
        self._poll.committed(appends)
        self._watchers.publish(changes)
        for change, owner in delivered:
            self.accepted(change, owner)
        for wake in self._wakes if waiting else ():
            wake()

    def accepted(self, change: Change, owner: str | None) -> None:
        here = self.live.nodes
        if owner not in here:
            self._notices.add(change.session, INBOX if owner else WORK, unless_taken=owner is None and bool(here))
        self._watchers.publish([change])

    def claimed(self, session: str) -> None:
        self._notices.taken(session)

    def released(self) -> None:
        """Report that sessions of any name may have lost their owner."""
        self._notices.add(ANYTHING.session, WORK)

    def buried(self) -> None:
        """Report that dead nodes were expired."""
        self.released()
        for wake in self._wakes:
            wake()

    def publish(self, change: Change, kind: int) -> None:
        self._notices.add(change.session, kind)
        self._watchers.publish([change])

    def stop(self) -> None:
        """Stop polling."""
        self._poll.stop()

    def close(self) -> None:
        self._watchers.close()
