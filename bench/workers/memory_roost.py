"""Roost's memory: words, meanings and both, over vectors that are given."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.worker import serve
from roost.local.embed.base import Embedding, Vector
from roost.log.facts import NewFact, PutFact
from roost.memory.index import Index
from roost.memory.search import Search
from roost.stores.sqlite.store import open_sqlite

_SPACE = "shared:bench"
_BATCH = 1000
Ask = Callable[[str], Awaitable[list[int]]]


class Given:
    """An embedder that has every vector already: what is measured is the search alone."""

    name = "bench/given"

    def __init__(self, vectors: dict[str, Vector], size: int) -> None:
        self.size = size
        self._vectors = vectors

    async def embed(self, job: Embedding) -> list[Vector]:
        return [self._vectors.get(text) or self._drawn(text) for text in job.texts]

    def _drawn(self, text: str) -> Vector:
        """Of a reference sentence, which English questions are not like."""
        row = np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self.size, dtype=np.float32)
        return (row / np.linalg.norm(row)).tobytes()

    async def close(self) -> None:
        return None


def play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    return asyncio.run(_play(folder, order))


async def _play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    facts, questions = order["facts"], order["questions"]
    rows = np.load(order["vectors"], mmap_mode="r")
    vectors = {text: rows[at].tobytes() for at, text in enumerate([*facts, *questions])}
    store = await open_sqlite(folder / "roost.db", durability="relaxed")
    index = Index(store.facts, lambda: Given(vectors, rows.shape[1]), folder / "vectors")
    search = Search(store.facts, index)
    began = time.perf_counter()
    for start in range(0, len(facts), _BATCH):
        batch = enumerate(facts[start : start + _BATCH], start)
        await store.facts.change([PutFact(NewFact(id=str(at), space=_SPACE, text=text)) for at, text in batch], by="b")
    added = time.perf_counter() - began
    await search.find([_SPACE], questions[0])
    await index.settled()

    async def by_words(query: str) -> list[int]:
        return [int(hit.fact.id) for hit in await store.facts.search([_SPACE], query, limit=10)]

    async def by_meaning(query: str) -> list[int]:
        return [int(hit.id) for hit in (await index.near([_SPACE], query, limit=10)).hits]

    async def by_both(query: str) -> list[int]:
        return [int(found.fact.id) for found in (await search.find([_SPACE], query, limit=10)).facts]

    answer: dict[str, Any] = {"add_seconds": added, "index_seconds": time.perf_counter() - began - added}
    ways: tuple[tuple[str, Ask], ...] = (("words", by_words), ("meaning", by_meaning), ("both", by_both))
    for name, ask in ways:
        answer[name] = await _timed(ask, questions)
    await index.close()
    await store.close()
    return answer


async def _timed(ask: Ask, questions: list[str]) -> dict[str, Any]:
    found: list[list[int]] = []
    milliseconds: list[float] = []
    cpu = time.process_time()
    for question in questions:
        began = time.perf_counter()
        found.append(await ask(question))
        milliseconds.append((time.perf_counter() - began) * 1e3)
    return {"found": found, "ms": milliseconds, "cpu_ms": (time.process_time() - cpu) * 1e3 / len(questions)}


if __name__ == "__main__":
    serve(play)
