"""Find pieces of text by meaning: a vector for each piece, made in the background by the embedding model on this
machine. Never by a provider: the content of files leaves the machine only when an agent reads it.

Vectors are kept by the digest of their text, so a text is embedded once, however often its file is written or moved. A
search compares codes of one bit for each component, and then the full vectors of the nearest
(`roost.memory.vectors`)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from roost.errors import RoostError
from roost.features.files.index_rows import IndexRows
from roost.local.embed.base import Embedder, Embedding, Vector
from roost.memory.vectors import SpaceVectors, VectorFile

log = logging.getLogger("roost.files")
QUERY_SECONDS = 3.0
_BATCH = 64
AT_ONCE = 32
"""Most pieces without a vector that a search waits for."""
_PAGE = 5000
_LIKE = 0.2
"""Least likeness of a piece that is found by meaning alone."""
_AGAIN_SECONDS = 30.0
MOST_VECTORS = 1_000_000


class Asked(NamedTuple):
    """A query as a vector; None when nothing can be searched by meaning. why: why all or some cannot."""

    vector: Vector | None
    why: str | None


class Meaning:
    """The vectors of one index. embedder: called at first use; raises `RoostError` with the remedy if there is none."""

    def __init__(self, rows: IndexRows, folder: Path, embedder: Callable[[], Embedder]) -> None:
        self._rows, self._folder, self._make = rows, folder, embedder
        self._lock = threading.Lock()
        self._file: VectorFile | None = None
        self._vectors: SpaceVectors | None = None
        self._missing: dict[int, bytes] = {}
        self._failed = (float("-inf"), "")
        self._filling = asyncio.Lock()
        self._embedder: Embedder | None = None

    @property
    def known(self) -> int:
        return 0 if self._vectors is None else len(self._vectors)

    @property
    def missing(self) -> int:
        return len(self._missing)

    @property
    def fails(self) -> bool:
        """Whether the embedder failed a moment ago."""
        return time.monotonic() - self._failed[0] < _AGAIN_SECONDS

    def take(self, added: Sequence[tuple[int, bytes]], removed: Sequence[int]) -> None:
        """Follow a change of the rows. Blocks."""
        with self._lock:
            for id in removed:
                if self._missing.pop(id, None) is None and self._vectors is not None:
                    self._vectors.drop(str(id))
            gone = set(removed)
            self._sort([one for one in added if one[0] not in gone])

    def _sort(self, pieces: Sequence[tuple[int, bytes]]) -> None:
        if self._file is None or self._vectors is None:
            self._missing |= dict(pieces)
            return
        known = [one for one in pieces if one[1] in self._file.known]
        self._vectors.add([str(id) for id, _ in known], [digest for _, digest in known])
        for id, _ in known:
            self._missing.pop(id, None)
        self._missing |= {id: digest for id, digest in pieces if digest not in self._file.known}

    def load(self) -> None:
        """Read which pieces there are. Blocks."""
        after = 0
        while page := self._rows.digests(after, _PAGE):
            with self._lock:
                self._missing |= dict(page)
            after = page[-1][0]

    async def asked(self, query: str) -> Asked:
        """Return the vector of a query. Waits for pieces without a vector if they are few."""
        if self.fails:
            return Asked(None, self._failed[1])
        try:
            async with asyncio.timeout(QUERY_SECONDS):
                if 0 < self.missing <= AT_ONCE:
                    await self.fill()
                embedder = self._embedder or await self._ready()
                (vector,) = await embedder.embed(Embedding([query], use="query"))
        except (RoostError, TimeoutError, OSError) as error:
            return Asked(None, self._explain(error))
        missing = len(self._missing)
        return Asked(vector, f"{missing:,} pieces of text have no vector yet" if missing else None)

    def nearest(self, vector: Vector, limit: int) -> list[tuple[int, float]]:
        """Return the nearest pieces with their likeness, nearest first. Blocks."""
        import numpy as np

        with self._lock:
            if self._vectors is None:
                return []
            found = self._vectors.nearest(np.frombuffer(vector, dtype="<f4"), limit)
        return [(int(one.id), one.likeness) for one in found if one.likeness >= _LIKE]

    async def fill(self) -> bool:
        """Embed some pieces that have no vector. Returns whether there may be more to do now."""
        async with self._filling:
            return await self._fill()

    async def _fill(self) -> bool:
        if not self._missing or self.fails or self.known >= MOST_VECTORS:
            return False
        try:
            embedder = await self._ready()
            batch = await asyncio.to_thread(self._next)
            if batch:
                vectors = await embedder.embed(Embedding([text for _, _, text in batch]))
                await asyncio.to_thread(self._keep, batch, vectors)
        except (RoostError, OSError) as error:
            self._explain(error)
            return False
        return True

    def close(self) -> None:
        """Blocks."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = self._vectors = None

    async def _ready(self) -> Embedder:
        """Return the embedder, with the file of its vectors open."""
        embedder = await asyncio.to_thread(self._make)
        if self._file is None and embedder.size is not None:
            await asyncio.to_thread(self._open, embedder.name, embedder.size)
        self._embedder = embedder
        return embedder

    def _open(self, model: str, size: int) -> None:
        name = f"{hashlib.blake2b(f'{model} {size}'.encode(), digest_size=8).hexdigest()}.vectors"
        with self._lock:
            if self._file is not None:
                return
            for other in self._folder.glob("*.vectors"):
                if other.name != name:
                    other.unlink(missing_ok=True)
            self._file = VectorFile(self._folder / name, model, size)
            self._vectors = SpaceVectors(self._file)
            self._sort(list(self._missing.items()))

    def _next(self) -> list[tuple[int, bytes, str]]:
        """Return a batch. Pieces whose text has a vector by now are settled at once."""
        with self._lock:
            assert self._file is not None or not self.known
            some = list(islice(self._missing.items(), 4 * _BATCH))
            self._sort(some)
            ids = [id for id, _ in some if id in self._missing][:_BATCH]
        texts = dict(self._rows.texts(ids)) if ids else {}
        with self._lock:
            for id in ids:
                if id not in texts:
                    self._missing.pop(id, None)
            return [(id, self._missing[id], texts[id]) for id in ids if id in self._missing]

    def _keep(self, batch: Sequence[tuple[int, bytes, str]], vectors: Sequence[Vector]) -> None:
        with self._lock:
            if self._file is None or self._vectors is None:
                return
            self._file.add([digest for _, digest, _ in batch], vectors)
            here = [(id, digest) for id, digest, _ in batch if self._missing.get(id) == digest]
            for id, _ in here:
                del self._missing[id]
            self._vectors.add([str(id) for id, _ in here], [digest for _, digest in here])

    def _explain(self, error: BaseException) -> str:
        late = isinstance(error, TimeoutError)
        why = f"the embedding model took longer than {QUERY_SECONDS:g} s" if late else str(error)
        if not late:
            if why != self._failed[1]:
                log.info("files are searched by words alone: %s", why)
            self._failed = (time.monotonic(), why)
        return why
