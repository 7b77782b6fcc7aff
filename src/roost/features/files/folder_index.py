"""The index of one folder: search, and the background work that keeps it in step."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path

from roost.errors import Invalid
from roost.features.files.folder_sync import Batch, FolderSync
from roost.features.files.index_rows import Damaged, IndexRows, PieceRow, remove, telling_words
from roost.features.files.meaning import Asked, Meaning
from roost.features.files.protocols import (
    ChangeWatch,
    FileHit,
    FoundFiles,
    HeldTest,
    How,
    IndexStatus,
    Kind,
    TextReader,
)
from roost.local.embed.base import Embedder
from roost.workspace.walk import printable

log = logging.getLogger("roost.files")
_DEPTH = 100
"""Pieces found by words, and as many by meaning."""
_DEPTH_FILTERED = 1000
_MERGE = 20.0
"""Dampens the first ranks when two lists are merged (reciprocal rank fusion)."""
_SNIPPET = 400
_QUERY = 2000
_WAIT_SECONDS = 0.02
"""Changes in so short a time are looked at together."""
_UNHEARD_SECONDS = 2.0
"""Where changes are not heard, a search looks at everything if the last look is older than this."""
_REPAIRS = 3
_WORD = re.compile(r"[^\W_]+")


class FolderIndex:
    """Keeps the contract of `FileIndex`. folder: where the index is kept. work: runs its background steps. held: as in
    `FolderSync`, and about: what it depends on."""

    def __init__(
        self,
        root: Path,
        folder: Path,
        *,
        read_text: TextReader,
        watch: ChangeWatch,
        embedder: Callable[[], Embedder],
        work: Executor,
        held: HeldTest | None = None,
        about: str = "",
    ) -> None:
        self.root, self.folder = root, folder
        self._text, self._watch, self._embedder, self._work = read_text, watch, embedder, work
        self._held, self._about = held, about
        self._loop = asyncio.get_running_loop()
        self._heard = asyncio.Event()
        self._complete = False
        self._idle = asyncio.Event()
        self._looked = float("-inf")
        self._rows: IndexRows | None = None
        self._sync: FolderSync | None = None
        self._meaning: Meaning | None = None
        self._broken = 0
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the index, and begin to follow the folder. Raises `OSError`, and `Damaged` if it cannot be made."""
        await self._begin()
        self._task = asyncio.create_task(self._follow(), name="files index")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._end()

    @property
    def failed(self) -> BaseException | None:
        """Why it follows the folder no more, as on a full disk; None if it does."""
        task = self._task
        return task.exception() if task is not None and task.done() and not task.cancelled() else None

    async def search(
        self, query: str, *, how: How = "hybrid", under: str = "", limit: int = 10, held: Collection[HeldTest] = ()
    ) -> FoundFiles:
        began = time.monotonic()
        query = query.strip()[:_QUERY]
        if not query:
            raise Invalid("the query is empty", code="empty_query")
        depth = _DEPTH_FILTERED if under or held else _DEPTH
        try:
            return await self._search(query, how, under, limit, held, depth, began)
        except Damaged as error:
            self._note_damage(error)
            raise

    async def _search(
        self, query: str, how: How, under: str, limit: int, held: Collection[HeldTest], depth: int, began: float
    ) -> FoundFiles:
        rows, meaning = self._rows, self._meaning
        if rows is None or meaning is None:
            raise Damaged("the index is being made anew: ask again")
        asked = Asked(None, None)
        if how == "hybrid":
            asked = await meaning.asked(query)

        def look() -> list[FileHit]:
            near = [] if asked.vector is None else meaning.nearest(asked.vector, depth)
            return self._hits(rows, query, rows.by_words(query, depth), dict(near), under, limit, held)

        hits = await asyncio.to_thread(look)
        notes = [asked.why] if asked.why else []
        sync = self._sync
        if not self._complete and sync is not None:
            notes.append(f"the index is being made: {sync.files:,} files so far")
        return FoundFiles(
            hits=hits,
            how="words" if asked.vector is None else "hybrid",
            why="; ".join(notes) or None,
            files=0 if sync is None else sync.files,
            seconds=round(time.monotonic() - began, 4),
        )

    async def caught_up(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                sync = self._sync
                if sync is not None and not sync.follows and time.monotonic() - self._looked > _UNHEARD_SECONDS:
                    sync.look_again()
                    self._wake()
                await asyncio.to_thread(self._watch.poll)
                while (sync := self._sync) is None or sync.has_work() or not self._idle.is_set():
                    self._heard.set()
                    await self._idle.wait()
                    if (sync := self._sync) is not None and sync.has_work():
                        self._idle.clear()
                return True
        except TimeoutError:
            return False

    async def status(self) -> IndexStatus:
        rows, sync, meaning = self._rows, self._sync, self._meaning
        if rows is None or sync is None or meaning is None:
            raise Damaged("the index is being made anew: ask again")
        files, named, pieces = await asyncio.to_thread(rows.counts)
        reasons = await asyncio.to_thread(rows.reasons)
        return IndexStatus(
            files=files,
            named=named,
            pieces=pieces,
            vectors=meaning.known,
            bytes=await asyncio.to_thread(self._bytes),
            complete=self._complete and not sync.has_work(),
            follows=sync.follows,
            notes=[*sorted(sync.left_out), *(f"{count:,} files: {why}" for why, count in reasons)],
        )

    async def settled(self) -> None:
        """Wait until nothing is left to do in the background, vectors included."""
        while not self._idle.is_set() or (  # noqa: ASYNC110 - for measurements, which wait for long
            self._meaning is not None and self._meaning.missing and not self._meaning.fails
        ):
            await asyncio.sleep(0.01)

    def _bytes(self) -> int:
        return sum(one.stat().st_size for one in self.folder.iterdir() if one.is_file())

    # Following

    async def _begin(self) -> None:
        path = self.folder / "index.sqlite"
        try:
            rows = await asyncio.to_thread(IndexRows, path, self._about)
        except Damaged as error:
            log.info("the index of %s is made anew: %s", self.root, error)
            await asyncio.to_thread(remove, path)
            rows = await asyncio.to_thread(IndexRows, path, self._about)
        self._rows = rows
        self._meaning = Meaning(rows, self.folder, self._embedder)
        await asyncio.to_thread(self._meaning.load)
        self._sync = FolderSync(self.root, rows, self._text, self._watch, self._held, self._wake)
        self._complete = False
        self._idle.clear()
        self._heard.set()

    async def _end(self) -> None:
        rows, self._rows = self._rows, None
        meaning, self._meaning = self._meaning, None
        sync, self._sync = self._sync, None
        if sync is not None:
            self._watch.forget(sync)
        if meaning is not None:
            await asyncio.to_thread(meaning.close)
        if rows is not None:
            await asyncio.to_thread(rows.close)

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._heard.set)

    def _note_damage(self, error: Damaged) -> None:
        log.warning("the index of %s is damaged and is made anew: %s", self.root, error)
        self._broken += 1
        self._heard.set()

    async def _follow(self) -> None:
        """Do what waits, and make the index anew when it is damaged."""
        repairs = 0
        while True:
            try:
                if self._broken > repairs:
                    raise Damaged("a search could not read it")
                await self._turn()
            except Damaged as error:
                repairs = self._broken = max(self._broken, repairs + 1)
                if repairs > _REPAIRS:
                    log.error("the index of %s stays damaged: %s", self.root, error)
                    return
                await self._end()
                await asyncio.to_thread(remove, self.folder / "index.sqlite")
                await self._begin()

    async def _turn(self) -> None:
        sync, meaning = self._sync, self._meaning
        assert sync is not None
        assert meaning is not None
        if sync.has_work():
            self._idle.clear()
            steps = sync.steps()
            while (batch := await self._loop.run_in_executor(self._work, _next, steps)) is not None:
                if batch.added or batch.removed:
                    await asyncio.to_thread(meaning.take, batch.added, batch.removed)
            self._complete, self._looked = True, time.monotonic()
            return
        self._idle.set()
        self._heard.clear()
        if sync.has_work():
            return
        began = time.monotonic()
        if await meaning.fill():
            with_pause = min(0.5, (time.monotonic() - began) / 2)  # sessions need the processors, too
            await self._wait(with_pause)
            return
        await self._wait(30.0 if meaning.missing else None)
        if self._heard.is_set():
            await asyncio.sleep(_WAIT_SECONDS)

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        except TimeoutError:
            pass

    # Ranking

    def _hits(
        self,
        rows: IndexRows,
        query: str,
        worded: Sequence[int],
        meant: Mapping[int, float],
        under: str,
        limit: int,
        held: Collection[HeldTest],
    ) -> list[FileHit]:
        score: dict[int, float] = {}
        for rank, id in enumerate(worded):
            score[id] = 1 / (_MERGE + rank)
        for rank, id in enumerate(meant):
            score[id] = score.get(id, 0.0) + 1 / (_MERGE + rank)
        found = rows.pieces(list(score))
        words = telling_words(query)
        by_words = set(worded)
        best: dict[int, tuple[float, PieceRow]] = {}
        for id, row in found.items():
            if not self._shown(row, under, held):
                continue
            total = score[id] * (1.0 + _coverage(words, row))
            if row.file not in best or best[row.file][0] < total:
                best[row.file] = total, row
        ranked = sorted(best.values(), key=lambda one: (-round(one[0], 9), one[1].folder, one[1].name))
        hits: list[FileHit] = []
        for total, row in ranked[:limit]:
            kind: Kind = (
                "both" if row.id in by_words and row.id in meant else "words" if row.id in by_words else "meaning"
            )
            hits.append(_hit(words, row, total, kind))
        return hits

    def _shown(self, row: PieceRow, under: str, held: Collection[HeldTest]) -> bool:
        path = os.fsdecode(_path(row))
        if under and not (path == under or path.startswith(under.rstrip("/") + "/")):
            return False
        if not held:
            return True
        real = os.path.join(str(self.root), path)
        return all(test(real) is None for test in held)


def _next(steps: Iterator[Batch]) -> Batch | None:
    return next(steps, None)


def _path(row: PieceRow) -> bytes:
    return row.folder + b"/" + row.name if row.folder else row.name


def _stem(word: str) -> str:
    """Return the part of a word that its forms share, roughly."""
    return word if len(word) < 5 else word[: max(4, len(word) - 2)]


def _coverage(words: Sequence[str], row: PieceRow) -> float:
    """Return how much of the query a piece and its path have: 0 to 1.5."""
    if not words:
        return 0.0
    text, path = row.text.casefold(), os.fsdecode(_path(row)).casefold()
    stems = [_stem(word) for word in words]
    inside = sum(stem in text or stem in path for stem in stems) / len(stems)
    named = sum(stem in path for stem in stems) / len(stems)
    return inside + named / 2


def _hit(words: Sequence[str], row: PieceRow, total: float, kind: Kind) -> FileHit:
    first, last, snippet = _snippet(words, row)
    return FileHit(
        path=printable(os.fsdecode(_path(row))),
        first=first,
        last=last,
        snippet=snippet,
        score=round(total, 5),
        by=kind,
        size=row.sign[0],
        modified=row.sign[1] / 1e9,
    )


def _snippet(words: Sequence[str], row: PieceRow) -> tuple[int, int, str]:
    """Return the lines of a piece that fit best, with their numbers."""
    lines = row.text.split("\n")
    stems = [_stem(word) for word in words]
    counts = [sum(stem in line.casefold() for stem in stems) for line in lines]
    best = max(range(len(lines)), key=lambda at: (counts[at], -at))
    begin = max(0, best - 1) if counts[best] else 0
    while begin < best and not lines[begin].strip():
        begin += 1
    end, size = begin, 0
    while end < len(lines) and (end <= best or size + len(lines[end]) < _SNIPPET) and end - begin < 8:
        size += len(lines[end]) + 1
        end += 1
    while end - begin > 1 and not lines[end - 1].strip():
        end -= 1
    text = "\n".join(lines[begin:end])
    numbered = row.last - row.first + 1 == len(lines)
    first, last = (row.first + begin, row.first + end - 1) if numbered else (row.first, row.last)
    return first, last, text if len(text) <= 2 * _SNIPPET else text[: 2 * _SNIPPET] + " …"
