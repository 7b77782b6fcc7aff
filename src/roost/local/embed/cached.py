"""An embedder that remembers."""

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
    """Asks `inner` for what `store` does not have, for each text once. It does not close the store, which others may
    use too."""

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
        keys, found = await asyncio.to_thread(self._look, job.texts, job.use)
        missing = {key: text for key, text in zip(keys, job.texts, strict=True) if key not in found}
        wanted = list(missing)
        for start in range(0, len(wanted), _GROUP):
            group = wanted[start : start + _GROUP]
            asked = msgspec.structs.replace(job, texts=[missing[key] for key in group])
            fresh = dict(zip(group, await self.inner.embed(asked), strict=True))
            found |= fresh
            await asyncio.to_thread(self._store.put, fresh)
        self._seen = size_of(found[keys[0]])
        return [found[key] for key in keys]

    async def close(self) -> None:
        await self.inner.close()

    def _look(self, texts: Sequence[str], use: Use) -> tuple[list[bytes], dict[bytes, Vector]]:
        keys = [key_of(self.name, use, text) for text in texts]
        found = self._store.get(dict.fromkeys(keys))
        size = self.size
        return keys, {key: vector for key, vector in found.items() if size is None or size_of(vector) == size}


def key_of(name: str, use: Use, text: str) -> bytes:
    """Of what the vector depends on; the parts cannot run into each other, since only the text may hold the sign
    between them."""
    return hashlib.sha256("\0".join((name, use, text)).encode("utf-8", "surrogatepass")).digest()
