"""Transfer pieces to and from the object store: packed into blobs, with a bounded number in flight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import BoundedSemaphore, Event
from typing import Any, NamedTuple

from roost.workspace.manifest import PIECE, Blob, Piece, SnapshotDamaged, digest_of, seal, unseal
from roost.workspace.object_store import ObjectMissing, Objects
from roost.workspace.snapshots import Stopped

AT_ONCE = 8
"""Blobs in flight in the whole process, of up to 4 MiB each (and as much compressed)."""


class Threads:
    """The threads for requests to object stores."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, "roost-objects")
        self._slots = BoundedSemaphore(AT_ONCE)

    def submit(self, work: Callable[[], int]) -> Future[int]:
        """Submit work. Blocks while `AT_ONCE` jobs are in flight."""
        self._slots.acquire()
        try:
            future = self._pool.submit(work)
        except BaseException:
            self._slots.release()
            raise
        future.add_done_callback(lambda _: self._slots.release())
        return future

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class Traffic(NamedTuple):
    """An object store, and the threads that talk to it."""

    objects: Objects
    threads: Threads

    def get(self, key: str) -> bytes:
        try:
            return unseal(self.objects.get(key))
        except ObjectMissing as error:
            raise SnapshotDamaged(f"a part of a snapshot is gone: {error}") from error


class Jobs:
    """The jobs of one save or restore. Leaving the block waits for all of them, and raises their failure. `bytes`: sum
    of the jobs' results."""

    def __init__(self, traffic: Traffic, stop: Event) -> None:
        self._traffic = traffic
        self._stop = stop
        self._jobs: list[Future[int]] = []
        self.bytes = 0

    def run(self, work: Callable[[], int]) -> None:
        self.check()
        self._jobs.append(self._traffic.threads.submit(work))

    def check(self) -> None:
        """Raises `Stopped`, or what a job failed with."""
        if self._stop.is_set():
            raise Stopped
        done = {job for job in self._jobs if job.done()}
        self._jobs = [job for job in self._jobs if job not in done]  # before one raises: leaving waits for the rest
        for job in done:
            self.bytes += job.result()

    def settle(self) -> None:
        """Wait for all jobs. Raises as `check` does."""
        wait(self._jobs)
        self.check()

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, kind: object, *_: Any) -> None:
        wait(self._jobs)
        if kind is None:
            self.check()


class Packer:
    """Packs new pieces, those not in `known`, into blobs. Afterwards `where` locates each piece, and `sizes` holds the
    sizes of the new blobs."""

    def __init__(self, traffic: Traffic, jobs: Jobs, known: Mapping[bytes, Piece], today: Callable[[], int]) -> None:
        self._objects = traffic.objects
        self._jobs = jobs
        self._today = today
        self.where: dict[bytes, Piece] = dict(known)
        self.sizes: dict[Blob, int] = {}
        self._open: dict[bytes, bytes] = {}
        self._size = 0

    def has(self, digests: Sequence[bytes]) -> bool:
        """True when all these pieces are known."""
        return all(map(self.where.__contains__, digests))

    def add(self, data: bytes) -> bytes:
        """Add a piece and return its digest."""
        digest = digest_of(data)
        if digest not in self.where and digest not in self._open:
            if self._size + len(data) > PIECE:
                self.close_blob()
            self._open[digest] = data
            self._size += len(data)
        return digest

    def close_blob(self) -> None:
        """Send the open blob. Only then is the location of its pieces known."""
        if not self._open:
            return
        blob = Blob(self._today(), digest_of(b"".join(self._open)))
        offset = 0
        for digest, data in self._open.items():
            self.where[digest] = Piece(digest, len(data), blob, offset)
            offset += len(data)
        self.sizes[blob] = offset
        self.send(blob.key, b"".join(self._open.values()))
        self._open, self._size = {}, 0

    def send(self, key: str, data: bytes) -> None:
        def work() -> int:
            sealed = seal(data)
            self._objects.put(key, sealed)
            return len(sealed)

        self._jobs.run(work)

    def forget(self, blobs: set[Blob]) -> set[bytes]:
        """Drop the pieces of these blobs, so that they are packed anew. Returns their digests."""
        lost = {digest for digest, piece in self.where.items() if piece.blob in blobs}
        self.where = {digest: piece for digest, piece in self.where.items() if digest not in lost}
        return lost
