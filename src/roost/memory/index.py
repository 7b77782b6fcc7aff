"""Find facts by meaning: an in-memory index of the vectors of recently searched spaces, kept in sync with the store."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from roost.errors import RoostError
from roost.local.embed.base import Embedder, Embedding, Use, Vector
from roost.log.facts import Fact, Facts
from roost.memory.ranking import REFERENCES
from roost.memory.vectors import NearFact, SpaceVectors, VectorFile, digest_of, erase_in

if TYPE_CHECKING:
    from roost.memory.vectors import Floats

log = logging.getLogger("roost.memory")
AT_ONCE = 16
"""Most facts without a vector that a search waits for. More are embedded in the background; until then, search finds
them by their words."""
_BATCH = 64
_PAGE = 1000
QUERY_SECONDS = 3.0
"""Time limit for the vector of a query; after it the search uses words alone."""
_AGAIN_SECONDS = 30.0
"""Back-off after an embedder failed."""
_MOST_FACTS = 1_000_000
"""Most facts in memory, at 60 bytes plus ids each; the least recently searched spaces are evicted first."""


class Near(NamedTuple):
    """why: why all or some facts could not be found by meaning. background: likeness of the query to unrelated
    sentences (`roost.memory.ranking`)."""

    hits: list[NearFact]
    why: str | None = None
    background: float | None = None


class _Space:
    """Index of one space. seen: version up to which it is in sync. missing: texts without a vector, by fact id."""

    def __init__(self, file: VectorFile) -> None:
        self.seen = 0
        self.vectors = SpaceVectors(file)
        self.missing: dict[str, str] = {}
        self.turn = asyncio.Lock()


class Index:
    """Index of one node for one embedding model.

    embedder: called at first use; raises `RoostError` with the remedy if there is none. No method blocks the event
    loop. All data can be rebuilt from the facts."""

    def __init__(self, facts: Facts, embedder: Callable[[], Embedder], folder: Path) -> None:
        self._facts = facts
        self._embedder = embedder
        self._folder = folder
        self._spaces: OrderedDict[str, _Space] = OrderedDict()
        self._file: VectorFile | None = None
        self._references: Floats | None = None
        self._opening = asyncio.Lock()
        self._numbers = threading.Lock()
        self._filling: asyncio.Task[None] | None = None
        self._failed = (float("-inf"), "")
        self._erased = 0
        """Number of erasures so far. A batch that was embedding during one is discarded."""

    async def near(
        self, spaces: Sequence[str], query: str, *, limit: int, meta: Mapping[str, str] | None = None
    ) -> Near:
        """Return current facts by likeness, nearest first. Raises `StoreFailed`."""
        try:
            vector = await self._vector(query, dict(meta or {}))
        except (RoostError, TimeoutError, OSError) as error:
            return Near([], self._explain(error))
        missing = sum(await asyncio.gather(*(self._catch_up(space) for space in spaces)))
        if 0 < missing <= AT_ONCE:
            await self._fill(spaces)
            missing = sum(len(self._spaces[space].missing) for space in spaces if space in self._spaces)
        elif missing:
            self._fill_later()
        references = await self._referenced()
        hits, background = await asyncio.to_thread(self._nearest, spaces, vector, limit, references)
        return Near(hits, f"{missing:,} facts have no vector yet" if missing else None, background)

    async def alike(self, query: str, texts: Sequence[str], *, meta: Mapping[str, str] | None = None) -> list[float]:
        """Return the likeness of each text, or an empty list if the embedder fails."""
        try:
            vector = await self._vector(query, dict(meta or {}))
            async with asyncio.timeout(QUERY_SECONDS):
                vectors = await self._embed(texts, "document", dict(meta or {}))
        except (RoostError, TimeoutError, OSError) as error:
            self._explain(error)
            return []
        return await asyncio.to_thread(_likeness, vector, vectors)

    async def erase(self, texts: Sequence[str]) -> None:
        """Overwrite the vectors of these texts on this node. Another fact with such a text is embedded again. Batches
        in progress are discarded, since they may contain one. Raises `OSError`."""
        digests = [digest_of(text) for text in texts]
        async with self._opening:
            await asyncio.to_thread(self._erase, digests)

    def _erase(self, digests: Sequence[bytes]) -> None:
        with self._numbers:
            self._erased += 1
            self._spaces.clear()
        if self._file is None:
            erase_in(self._folder, digests)
        else:
            self._file.erase(digests)

    async def settled(self) -> None:
        """Wait until background embedding ends."""
        while self._filling is not None and not self._filling.done():
            await asyncio.wait([self._filling])

    async def close(self) -> None:
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.gather(self._filling, return_exceptions=True)
        file, self._file = self._file, None
        if file is not None:
            await asyncio.to_thread(file.close)

    # Vectors

    async def _vector(self, query: str, meta: dict[str, str]) -> Vector:
        failed_at, why = self._failed
        if time.monotonic() - failed_at < _AGAIN_SECONDS:
            raise RoostError(why)
        async with asyncio.timeout(QUERY_SECONDS):
            (vector,) = await self._embed([query], "query", meta)
        return vector

    async def _embed(self, texts: Sequence[str], use: Use, meta: dict[str, str]) -> list[Vector]:
        embedder = await asyncio.to_thread(self._embedder)
        vectors = await embedder.embed(Embedding(texts, use=use, meta=meta))
        async with self._opening:
            if self._file is None:
                self._file = await asyncio.to_thread(self._open, embedder.name, len(vectors[0]) // 4)
        return vectors

    def _open(self, model: str, size: int) -> VectorFile:
        """Open the vector file of a model, and delete those of other models."""
        name = f"{hashlib.blake2b(f'{model} {size}'.encode(), digest_size=8).hexdigest()}.vectors"
        for other in self._folder.glob("*.vectors"):
            if other.name != name:
                other.unlink(missing_ok=True)
        return VectorFile(self._folder / name, model, size)

    def _explain(self, error: BaseException) -> str:
        late = isinstance(error, TimeoutError)
        why = f"the embedding model took longer than {QUERY_SECONDS:g} s" if late else str(error)
        failed_at, known = self._failed
        if time.monotonic() - failed_at >= _AGAIN_SECONDS and not late:
            if why != known:
                log.warning("memory is searched by words alone: %s", why)
            self._failed = (time.monotonic(), why)
        return why

    async def _referenced(self) -> Floats | None:
        """Return the mean reference vector of each language, embedded once for each model; None while that fails."""
        assert self._file is not None
        if self._references is None:
            texts = [text for language in REFERENCES.values() for text in language]
            digests = [digest_of(text) for text in texts]
            try:
                if not all(digest in self._file.known for digest in digests):
                    vectors = await self._embed(texts, "document", {})
                    await asyncio.to_thread(self._file.add, digests, vectors)
            except (RoostError, OSError) as error:
                self._explain(error)
                return None
            self._references = await asyncio.to_thread(_centres, self._file, digests)
        return self._references

    # Keeping up

    async def _catch_up(self, name: str) -> int:
        """Synchronize a space with the store. Returns how many of its facts have no vector."""
        assert self._file is not None
        space = self._spaces.setdefault(name, _Space(self._file))
        self._spaces.move_to_end(name)
        async with space.turn:
            while changed := await self._facts.history(name, after=space.seen, limit=_PAGE):
                await asyncio.to_thread(self._take, space, changed)
                if len(changed) < _PAGE:
                    break
        self._let_go(name)
        return len(space.missing)

    def _take(self, space: _Space, changed: Sequence[Fact]) -> None:
        assert self._file is not None
        known: dict[str, bytes] = {}
        with self._numbers:
            for fact in changed:
                if fact.ended_version is not None:
                    known.pop(fact.id, None)
                    space.missing.pop(fact.id, None)
                    space.vectors.drop(fact.id)
                elif (digest := digest_of(fact.text)) in self._file.known:
                    known[fact.id] = digest
                else:
                    space.missing[fact.id] = fact.text
            space.vectors.add(list(known), list(known.values()))
            last = changed[-1]
            space.seen = last.ended_version or last.version

    def _fill_later(self) -> None:
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill_all(), name="memory vectors")

    async def _fill_all(self) -> None:
        while waiting := [name for name, space in self._spaces.items() if space.missing]:
            if not await self._fill(waiting):
                return

    async def _fill(self, names: Sequence[str]) -> bool:
        """Embed a batch of facts without a vector. Returns whether that worked."""
        batch, erased = await asyncio.to_thread(self._missing, names)
        try:
            vectors = await self._embed([text for _, _, text in batch], "document", {})
            await asyncio.to_thread(self._keep, batch, vectors, erased)
        except (RoostError, OSError) as error:
            self._explain(error)
            return False
        return True

    def _missing(self, names: Sequence[str]) -> tuple[list[tuple[_Space, str, str]], int]:
        with self._numbers:
            spaces = [space for name in names if (space := self._spaces.get(name)) is not None]
            batch = islice(((one, *item) for one in spaces for item in one.missing.items()), _BATCH)
            return list(batch), self._erased

    def _keep(self, batch: Sequence[tuple[_Space, str, str]], vectors: Sequence[Vector], erased: int) -> None:
        assert self._file is not None
        digests = [digest_of(text) for _, _, text in batch]
        with self._numbers:
            if erased != self._erased:
                return
            self._file.add(digests, vectors)
            for (space, id, text), digest in zip(batch, digests, strict=True):
                if space.missing.get(id) == text:  # else it ended or changed meanwhile
                    del space.missing[id]
                    space.vectors.add([id], [digest])

    def _let_go(self, asked: str) -> None:
        total = sum(len(space.vectors) for space in self._spaces.values())
        for name in list(self._spaces):
            if total <= _MOST_FACTS or name == asked:
                return
            with contextlib.suppress(KeyError):
                total -= len(self._spaces.pop(name).vectors)

    def _nearest(
        self, names: Sequence[str], vector: Vector, limit: int, references: Floats | None
    ) -> tuple[list[NearFact], float | None]:
        import numpy as np

        query = np.frombuffer(vector, dtype="<f4")
        with self._numbers:
            spaces = [space for name in names if (space := self._spaces.get(name)) is not None]
            found = [hit for space in spaces for hit in space.vectors.nearest(query, limit, references)]
        background = None if references is None else float((references @ query).max())
        return sorted(found, key=lambda hit: (-hit.likeness, hit.id))[:limit], background


def _centres(file: VectorFile, digests: Sequence[bytes]) -> Floats:
    import numpy as np

    rows = np.array([file.known[digest] for digest in digests], dtype=np.int64)
    return file.vectors(rows).reshape(len(REFERENCES), -1, file.size).mean(axis=1)


def _likeness(vector: Vector, others: Sequence[Vector]) -> list[float]:
    import numpy as np

    rows = np.frombuffer(b"".join(others), dtype="<f4").reshape(len(others), -1)
    return [float(one) for one in rows @ np.frombuffer(vector, dtype="<f4")]
