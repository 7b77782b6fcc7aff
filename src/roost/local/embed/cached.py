"""An embedder with a cache."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import msgspec

from roost.local.embed.base import Embedder, Embedding, Use, Vector
from roost.local.embed.store import VectorStore
from roost.local.embed.vectors import size_of

_GROUP = 1_000
"""Texts that are asked for and then kept, so that a long job that fails has not been for nothing."""


class Cached:
    """Asks `inner` for the vectors that `store` lacks, once for each text. It leaves the store open for its other
    users."""

    def __init__(self, inner: Embedder, store: VectorStore) -> None:
        self.inner = inner
        self._store = store
        self._seen: int | None = None

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def size(self) -> int | None:
        return self.inner.size or self._seen

    async def embed(self, job: Embedding) -> list[Vector]:
        if not job.texts:
            return []
        keys, vectors = await asyncio.to_thread(self._look, job.texts, job.use)
        missing = {key: text for key, text in zip(keys, job.texts, strict=True) if key not in vectors}
        wanted = list(missing)
        for start in range(0, len(wanted), _GROUP):
            group = wanted[start : start + _GROUP]
            asked = msgspec.structs.replace(job, texts=[missing[key] for key in group])
            fresh = dict(zip(group, await self.inner.embed(asked), strict=True))
            vectors |= fresh
            await asyncio.to_thread(self._store.put, fresh)
        self._seen = size_of(vectors[keys[0]])
        return [vectors[key] for key in keys]

    async def close(self) -> None:
        await self.inner.close()

    def _look(self, texts: Sequence[str], use: Use) -> tuple[list[bytes], dict[bytes, Vector]]:
        keys = [key_of(self.name, use, text) for text in texts]
        vectors = self._store.get(dict.fromkeys(keys))
        size = self.size
        return keys, {key: vector for key, vector in vectors.items() if size is None or size_of(vector) == size}


def key_of(name: str, use: Use, text: str) -> bytes:
    """Of what the vector depends on; the parts cannot run into each other, since only the text may hold the sign
    between them."""
    return hashlib.sha256("\0".join((name, use, text)).encode("utf-8", "surrogatepass")).digest()
