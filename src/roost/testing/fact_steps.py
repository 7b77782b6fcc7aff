"""Short helpers for the conformance suite of the Facts protocol."""

from __future__ import annotations

from typing import Any

from roost.log.facts import FactChange, FactQuery, FactWrite, NewFact, PutFact
from roost.log.protocols import Append, Claim
from roost.log.store import Store
from roost.testing.stores import bodies

HERE = "agent:clerk"


def put(id: str, text: str = "", *, space: str = HERE, **more: Any) -> PutFact:
    return PutFact(NewFact(id=id, space=space, text=text or f"text of {id}", **more))


async def texts(store: Store, *spaces: str, at: int | None = None, proposed: bool = False) -> list[str]:
    found = await store.facts.find(FactQuery(spaces=spaces or (HERE,), at=at, proposed=proposed))
    return [fact.text for fact in reversed(found)]


async def ids(store: Store, query: str, *spaces: str) -> list[str]:
    return [hit.fact.id for hit in await store.facts.search(spaces or (HERE,), query)]


async def append(store: Store, claim: Claim, head: int, *changes: FactChange) -> int:
    """Append one event for each change."""
    write = Append(
        session=claim.info.id,
        epoch=claim.epoch,
        expected=head,
        bodies=bodies(*(f"e{place}" for place in range(max(1, len(changes))))),
        facts=[FactWrite(place, change) for place, change in enumerate(changes, 1)],
    )
    return await store.logs.append(write)
