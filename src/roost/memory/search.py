"""Find facts by words and by meaning."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from roost.log.facts import Fact, FactQuery, Facts
from roost.memory.comparison import tokens_of
from roost.memory.index import Index, Near
from roost.memory.ranking import Candidate, content_of, rank

How: TypeAlias = Literal["hybrid", "words"]
DEPTH = 50
"""Facts found by words, and as many by meaning; they are ranked together."""


class FoundFact(msgspec.Struct, frozen=True):
    """score: compares facts of one search. likeness: cosine of the embeddings; None if unknown or not among the
    nearest. words: whether it shares words with the query. fit: as in `roost.memory.ranking.Rank`."""

    fact: Fact
    score: float
    likeness: float | None = None
    words: bool = False
    fit: float = 0.0


class Found(msgspec.Struct, frozen=True):
    """Result of a search. why: why facts could not be found by meaning: all of them if `how` is "words", else some."""

    facts: list[FoundFact]
    how: How
    why: str | None = None
    seconds: float = 0.0


class Search:
    """Search of one node. index: None if the node has no index."""

    def __init__(self, facts: Facts, index: Index | None) -> None:
        self.facts = facts
        self.index = index

    async def find(
        self, spaces: Sequence[str], query: str, *, limit: int = 10, meta: Mapping[str, str] | None = None
    ) -> Found:
        """Return the best facts of these spaces. Without an embedding model, search by words alone and tell why. Both
        searches run in parallel. Raises `StoreFailed`."""
        began = time.monotonic()
        spaces = list(dict.fromkeys(spaces))
        if not spaces:
            return Found([], "hybrid")
        by_words = asyncio.ensure_future(self.facts.search(spaces, content_of(query), limit=DEPTH))
        try:
            near = Near([], "there is no index of meanings on this node")
            if self.index is not None:
                near = await self.index.near(spaces, query, limit=DEPTH, meta=meta)
            hits = await by_words
        finally:
            by_words.cancel()
        known = {hit.fact.id: hit.fact for hit in hits}
        if other := tuple(hit.id for hit in near.hits if hit.id not in known):
            query_ = FactQuery(spaces=tuple(spaces), ids=other, limit=len(other))
            known |= {fact.id: fact for fact in await self.facts.find(query_)}
        ranked = await asyncio.to_thread(_ranked, query, near, known, {hit.fact.id for hit in hits})
        how: How = "hybrid" if near.hits or near.why is None else "words"
        return Found(ranked[:limit], how, near.why, time.monotonic() - began)

    async def likeness(self, text: str, others: Sequence[str], *, meta: Mapping[str, str] | None = None) -> list[float]:
        """Return the likeness (`FoundFact`) of a text to each of `others`, which need not be facts; 0 if unknown."""
        told = await self.index.alike(text, others, meta=meta) if others and self.index is not None else []
        return told or [0.0] * len(others)


def distinct(found: Sequence[FoundFact]) -> list[FoundFact]:
    """Drop facts that repeat an earlier one in the list, as facts of different spaces may."""
    kept: dict[object, FoundFact] = {}
    for one in found:
        kept.setdefault(tokens_of(one.fact.text) or one.fact.text, one)
    return list(kept.values())


def _ranked(query: str, near: Near, known: Mapping[str, Fact], worded: Collection[str]) -> list[FoundFact]:
    """Return the found facts, best first, and of equals the newest first."""
    meant = {hit.id: hit for hit in near.hits}
    candidates = [
        Candidate(fact.text if fact.key is None else f"{fact.text} {fact.key}", *(meant[id][1:] if id in meant else ()))
        for id, fact in known.items()
    ]
    ranks = rank(query, near.background, candidates)
    found = [
        FoundFact(fact, one.score, candidate.likeness, fact.id in worded, one.fit)
        for fact, candidate, one in zip(known.values(), candidates, ranks, strict=True)
    ]
    return sorted(found, key=lambda one: (-round(one.score, 9), -one.fact.version, one.fact.id))
