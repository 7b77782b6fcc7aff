"""Whether a store that was away is there again."""

from __future__ import annotations

from roost.errors import StoreUnreachable
from roost.log.dispatch import NodeCard
from roost.stores.postgres.store import PostgresJournal


async def answers(journal: PostgresJournal) -> bool:
    try:
        await journal.backlog()
    except StoreUnreachable:
        return False
    return True


async def beats(journal: PostgresJournal, node: str = "n") -> bool:
    try:
        await journal.beat(NodeCard(id=node), ttl=60)
    except StoreUnreachable:
        return False
    return True
