"""Pieces on their way to the object store and back: packed into blobs, a bounded number at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import BoundedSemaphore, Event
from typing import Any, NamedTuple

from roost.workspace.manifest import PIECE, Blob, Piece, SnapshotDamaged, digest_of, seal, unseal
from roost.workspace.object_store import ObjectMissing, Objects
from roost.workspace.snapshots import Stopped

AT_ONCE = 8
"""Blobs under way in the whole process, of up to 4 MiB (and as much compressed)."""


class Threads:
    """Those that talk to object stores."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, "roost-objects")
        self._slots = BoundedSemaphore(AT_ONCE)

    def submit(self, work: Callable[[], int]) -> Future[int]:
        """Waits while too much is under way."""
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
    """What one save or restore has under way. Leaving waits for all of it, and raises what failed. `bytes` sums up what
    the jobs returned."""

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
        self._jobs = [job for job in self._jobs if job not in done]  # before one raises: leaving waits for them
        for job in done:
            self.bytes += job.result()

    def settle(self) -> None:
        """Wait for all that is under way. Raises as `check`."""
        wait(self._jobs)
        self.check()

    def __enter__(self) -> Jobs:
        return self

    def __exit__(self, kind: object, *_: Any) -> None:
        wait(self._jobs)
        if kind is None:
            self.check()


class Packer:
    """Takes pieces; those that are not `known` go into new blobs. `where` says afterwards where each piece is, `sizes`
    how large the new blobs are."""

    def __init__(self, traffic: Traffic, jobs: Jobs, known: Mapping[bytes, Piece], today: Callable[[], int]) -> None:
        self._objects = traffic.objects
        self._jobs = jobs
        self._today = today
        self.where: dict[bytes, Piece] = dict(known)
        self.sizes: dict[Blob, int] = {}
        self._open: dict[bytes, bytes] = {}
        self._size = 0

    def has(self, digests: Sequence[bytes]) -> bool:
        """Whether all these pieces are known."""
        return all(map(self.where.__contains__, digests))

    def add(self, data: bytes) -> bytes:
        """The piece's digest."""
        digest = digest_of(data)
        if digest not in self.where and digest not in self._open:
            if self._size + len(data) > PIECE:
                self.close_blob()
            self._open[digest] = data
            self._size += len(data)
        return digest

    def close_blob(self) -> None:
        """Send what has been taken. Only now is it known where it is."""
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
        """What these hold is to be packed anew. Returns the digests of it."""
        lost = {digest for digest, piece in self.where.items() if piece.blob in blobs}
        self.where = {digest: piece for digest, piece in self.where.items() if digest not in lost}
        return lost
