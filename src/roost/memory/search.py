"""Finding facts by words and by meaning."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from roost.log.memory import Fact, FactQuery
from roost.log.store import Store
from roost.memory.comparing import tokens_of
from roost.memory.index import Index

How: TypeAlias = Literal["hybrid", "words"]
_K = 60
"""Of reciprocal rank fusion: Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual
rank learning methods" (SIGIR 2009)."""
_TIE = 0.8
"""Facts that share the same words of a query differ in BM25 by their length alone, which says nothing where all are a
sentence: as ranks of their own such differences would outweigh the meaning."""
DEPTH = 50
"""Facts of each ranking that are fused."""


class FoundFact(msgspec.Struct, frozen=True):
    """`score` compares facts of one search. `likeness`: of meaning, the cosine; None where it was not looked at or is
    not among the nearest. `words`: whether it shares words with the query."""

    fact: Fact
    score: float
    likeness: float | None = None
    words: bool = False


class Found(msgspec.Struct, frozen=True):
    """`why`: what kept facts from being found by their meaning, all where `how` is `words`, else some."""

    facts: list[FoundFact]
    how: How
    why: str | None = None
    seconds: float = 0.0


class Search:
    """`index` None: there is none on this node."""

    def __init__(self, facts: Store, index: Index | None) -> None:
        self.facts = facts
        self.index = index

    async def find(
        self, spaces: Sequence[str], query: str, *, limit: int = 10, meta: Mapping[str, str] | None = None
    ) -> Found:
        """The facts of these spaces that fit best. Where there is no embedding model it says so and goes by words. Both
        rankings are made at once. Raises `StoreFailed`."""
        began = time.monotonic()
        spaces = list(dict.fromkeys(spaces))
        if not spaces:
            return Found([], "hybrid")
        by_words = asyncio.ensure_future(self.facts.search_facts(spaces, query, limit=DEPTH))
        try:
            near, why = [], "there is no index of meanings on this node"
            if self.index is not None:
                near, why = await self.index.near(spaces, query, limit=DEPTH, meta=meta)
            hits = await by_words
        finally:
            by_words.cancel()
        known = {hit.fact.id: hit.fact for hit in hits}
        meant = {id: rank for rank, (id, _) in enumerate(near, 1)}
        scores = fused([ranks_of([(hit.fact.id, hit.score) for hit in hits], tie=_TIE), meant])
        best = sorted(scores, key=lambda id: (-scores[id], meant.get(id, DEPTH + 1)))[:limit]
        if other := tuple(id for id in best if id not in known):
            query_ = FactQuery(spaces=tuple(spaces), ids=other, limit=len(other))
            known |= {fact.id: fact for fact in await self.facts.facts(query_)}
        likeness, worded = dict(near), {hit.fact.id for hit in hits}
        found = [FoundFact(known[id], scores[id], likeness.get(id), id in worded) for id in best if id in known]
        how: How = "hybrid" if near or why is None else "words"
        return Found(found, how, why, time.monotonic() - began)

    async def likeness(self, text: str, others: Sequence[str]) -> list[float]:
        """Of meaning, as of `FoundFact`, between a text and each of others, which need not be facts; 0 where it cannot
        be told."""
        told = await self.index.alike(text, others) if others and self.index is not None else []
        return told or [0.0] * len(others)


def distinct(found: Sequence[FoundFact]) -> list[FoundFact]:
    """Without those that say the same as an earlier one, as facts of different spaces may."""
    kept: dict[object, FoundFact] = {}
    for one in found:
        kept.setdefault(tokens_of(one.fact.text) or one.fact.text, one)
    return list(kept.values())


def fused(rankings: Sequence[Mapping[str, int]]) -> dict[str, float]:
    """Reciprocal rank fusion of ranks from 1."""
    scores: dict[str, float] = {}
    for ranks in rankings:
        for id, rank in ranks.items():
            scores[id] = scores.get(id, 0.0) + 1 / (_K + rank)
    return scores


def ranks_of(scored: Sequence[tuple[str, float]], *, tie: float = 1.0) -> dict[str, int]:
    """Ranks from the best on. What scores at least `tie` of the first of its rank shares that rank."""
    ranks: dict[str, int] = {}
    rank, first = 0, float("inf")
    for place, (id, score) in enumerate(scored, 1):
        if rank == 0 or score < tie * first:
            rank, first = place, score
        ranks[id] = rank
    return ranks
