"""Whether a store that was away is there again."""

from __future__ import annotations

from roost.errors import StoreUnreachable
from roost.log.dispatch import NodeCard
from roost.log.store import Store


async def answers(journal: Store) -> bool:
    try:
        await journal.dispatch.backlog()
    except StoreUnreachable:
        return False
    return True


async def beats(journal: Store, node: str = "n") -> bool:
    try:
        await journal.dispatch.beat(NodeCard(id=node), ttl=60)
    except StoreUnreachable:
        return False
    return True
