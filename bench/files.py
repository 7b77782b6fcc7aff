"""Measure the index of a folder: `python -m bench.files [--files 100000] [--vectors real|random|none]`.

Writes so many files of Zipf-distributed words, indexes them, searches, changes one file at a time, and opens the index
again. With `--vectors random` each piece has a random vector, since the search's cost does not depend on what the
numbers are, and queries are embedded by the model of this machine; `real` embeds all with it, which takes long.
Times are of the wall; `cpu` is what the process itself used, which other work on the machine does not change."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import os
import random
import resource
import shutil
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from roost.errors import ConfigError
from roost.features.files.folder_index import FolderIndex
from roost.features.files.protocols import How
from roost.features.files.texts import text_of
from roost.features.files.watching import Inotify
from roost.local.embed.base import Embedder, Embedding, Vector
from roost.local.embed.local import LocalEmbedder

_WORDS, _SIZE = 150, 384


class Random:
    """Vectors that depend on the text alone; those of queries are the local model's."""

    name, size = "bench/random", _SIZE

    def __init__(self) -> None:
        self._local = LocalEmbedder()

    async def embed(self, job: Embedding) -> list[Vector]:
        if job.use == "query":
            return await self._local.embed(job)
        return [_vector(text) for text in job.texts]

    async def close(self) -> None:
        return None


def _vector(text: str) -> Vector:
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
    found = np.random.default_rng(seed).standard_normal(_SIZE, dtype=np.float32)
    return (found / np.linalg.norm(found)).astype("<f4").tobytes()


def _none() -> Embedder:
    raise ConfigError("the bench has no model")


def fill(root: Path, count: int) -> list[str]:
    """Write the files, and return the vocabulary, the most common word first."""
    source = random.Random(7)
    words = ["".join(source.choices("abcdefghijklmnoprstuvw", k=source.randint(4, 10))) for _ in range(30_000)]
    weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))
    for number in range(count):
        if number % 100 == 0:
            (root / f"d{number // 10_000}" / f"e{number // 100}").mkdir(parents=True, exist_ok=True)
        text = " ".join(source.choices(words, cum_weights=weights, k=_WORDS))
        path = root / f"d{number // 10_000}" / f"e{number // 100}" / f"{words[number % 30_000]}-{number}.txt"
        path.write_text(text + "\n")
    return words


async def timed(times: int, work: Callable[[int], Awaitable[object]]) -> tuple[list[float], float]:
    """Return the milliseconds of each, sorted, and the mean of the processor's time."""
    found: list[float] = []
    cpu = time.process_time()
    for number in range(times):
        began = time.perf_counter()
        await work(number)
        found.append((time.perf_counter() - began) * 1000)
    return sorted(found), (time.process_time() - cpu) * 1000 / times


def say(what: str, times: Sequence[float], cpu: float) -> None:
    last = times[min(len(times) - 1, int(len(times) * 0.99))]
    print(
        f"{what:<40} p50 {statistics.median(times):7.1f} p99 {last:7.1f} cpu {cpu:6.1f} ms n {len(times)}", flush=True
    )


def memory() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


async def measure(folder: Path, count: int, vectors: str, times: int) -> None:
    root, kept = folder / "files", folder / "index"
    fresh = not root.exists()
    root.mkdir(parents=True, exist_ok=True)
    words = fill(root, count if fresh else 0)

    models: dict[str, Callable[[], Embedder]] = {"random": Random, "real": LocalEmbedder}
    embedder = models[vectors]() if vectors in models else None
    before = memory()

    def opened() -> tuple[FolderIndex, Inotify, ThreadPoolExecutor]:
        watch, work = Inotify(), ThreadPoolExecutor(1)
        asyncio.get_running_loop().add_reader(watch.start(), watch.hear)
        index = FolderIndex(root, kept, read_text=text_of, watch=watch, embedder=lambda: embedder or _none(), work=work)
        return index, watch, work

    async def closed(index: FolderIndex, watch: Inotify, work: ThreadPoolExecutor) -> None:
        asyncio.get_running_loop().remove_reader(watch.start())
        await index.close()
        watch.close()
        work.shutdown()

    index, watch, work = opened()
    began, cpu = time.perf_counter(), time.process_time()
    await index.open()
    assert await index.caught_up(36_000)
    print(f"load {os.getloadavg()[0]:.1f}; {count:,} files of {_WORDS} words; vectors: {vectors}")
    print(f"first index: {time.perf_counter() - began:.1f} s (cpu {time.process_time() - cpu:.1f} s)")
    if embedder is not None:
        began, cpu = time.perf_counter(), time.process_time()
        await index.settled()
        print(f"vectors: {time.perf_counter() - began:.1f} s (cpu {time.process_time() - cpu:.1f} s)")
    status = await index.status()
    print(
        f"index {status.bytes / 1e6:.0f} MB on disk, {status.vectors:,} vectors, memory {memory() - before:.0f} MB more"
    )
    source = random.Random(3)
    queries = {
        "rare words": lambda: " ".join(source.choices(words[2000:], k=2)),
        "words of all kinds": lambda: " ".join([source.choice(words[:30]), *source.choices(words[30:3000], k=2)]),
        "common words alone": lambda: " ".join(source.choices(words[:20], k=3)),
    }
    hows: tuple[How, ...] = ("words",) if embedder is None else ("words", "hybrid")
    for (name, query), how in itertools.product(queries.items(), hows):

        async def one(_: int, query: Callable[[], str] = query, how: How = how) -> None:
            await index.search(query(), how=how)

        await timed(20, one)
        say(f"search by {how}, {name}", *await timed(times, one))
    known = sorted(root.rglob("*.txt"))[:: max(1, count // 100)]

    async def update(number: int) -> None:
        path = known[number % len(known)]
        path.write_text(f"marker{number} {path.read_text()}")
        assert await index.caught_up(60)
        found = await index.search(f"marker{number}", how="words")
        assert [hit.path for hit in found.hits] == [str(path.relative_to(root))], (number, found)

    cpu = time.process_time()
    say("change one file and find it", *await timed(min(times, 100), update))
    await closed(index, watch, work)
    index, watch, work = opened()
    began, cpu = time.perf_counter(), time.process_time()
    await index.open()
    await index.caught_up(36_000)
    print(f"open again, nothing changed: {time.perf_counter() - began:.1f} s (cpu {time.process_time() - cpu:.1f} s)")
    await closed(index, watch, work)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--files", type=int, default=100_000)
    options.add_argument("--times", type=int, default=300)
    options.add_argument("--vectors", choices=("real", "random", "none"), default="random")
    options.add_argument("--folder", type=Path, default=Path("bench-files"))
    options.add_argument("--keep", action="store_true", help="go on with the files and the index of an earlier run")
    given = options.parse_args()
    if not given.keep:
        shutil.rmtree(given.folder, ignore_errors=True)
    try:
        asyncio.run(measure(given.folder.absolute(), given.files, given.vectors, given.times))
    finally:
        if not given.keep:
            shutil.rmtree(given.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
