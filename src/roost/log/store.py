"""The store: everything that Roost needs from a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from roost.log.coordination import Coordination
from roost.log.dispatch import Dispatcher
from roost.log.documents import Documents
from roost.log.facts import Facts
from roost.log.ledger import LedgerRows
from roost.log.portable import Portable
from roost.log.protocols import Changes, Inboxes, Logs, SessionIndex

Durability: TypeAlias = Literal["full", "relaxed"]
"""`full`: every commit is synced to the disk. `relaxed`: a power loss may lose the last moments; a crash loses
nothing."""


class Database(Protocol):
    """What the objects of a store share: its connections."""

    async def close(self) -> None:
        """Commit queued writes, then release everything. Safe to call twice."""
        ...


@dataclass(frozen=True, kw_only=True)
class Store:
    """One database, as a record of small objects over it. `roost.stores.open.open_store` opens one.

    `dataclasses.replace` exchanges an object: for another dispatcher, or for a wrapper that delays, counts or fails.
    """

    sessions: SessionIndex
    logs: Logs
    inboxes: Inboxes
    changes: Changes
    dispatch: Dispatcher
    ledger: LedgerRows
    coordination: Coordination
    facts: Facts
    documents: Documents
    portable: Portable
    database: Database

    async def close(self) -> None:
        """Close the dispatcher, then the database. Safe to call twice."""
        await self.dispatch.close()
        await self.database.close()
