"""The bytes of uploaded files, as chunks in an object store."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import NamedTuple

from roost.errors import NotFound, TooLarge
from roost.threads import finished_in_thread
from roost.workspace.object_store import ObjectMissing, Objects

CHUNK = 4 * 1024 * 1024
_PREFIX = "uploads"


class Stored(NamedTuple):
    """The size in bytes and the digest (SHA-256, hexadecimal) of what was stored."""

    size: int
    digest: str


class Blobs:
    """Chunks of files by the ids of the files. open: returns the object store; called once, in a thread."""

    def __init__(self, open: Callable[[], Objects]) -> None:
        self._open = open
        self._opened: Objects | None = None

    async def write(self, file: str, pieces: AsyncIterable[bytes], *, most: int) -> Stored:
        """Store what comes, durably. Raises `TooLarge` above `most` bytes, `ObjectsFailed`; a part may be stored
        then."""
        digest, room, size, count = hashlib.sha256(), bytearray(), 0, 0
        async for piece in pieces:
            size += len(piece)
            if size > most:
                raise TooLarge(f"a file has at most {most} bytes here", code="file_too_large")
            digest.update(piece)
            room += piece
            while len(room) >= CHUNK:
                await self._put(file, count, bytes(room[:CHUNK]))
                del room[:CHUNK]
                count += 1
        if room:
            await self._put(file, count, bytes(room))
        return Stored(size, digest.hexdigest())

    async def read(self, file: str, size: int, *, begin: int = 0) -> AsyncIterator[bytes]:
        """Yield the chunks of a file, from the byte `begin` on. Raises `NotFound` when one is not there (any more),
        `ObjectsFailed`."""
        for number in range(begin // CHUNK, _chunks(size)):
            try:
                data = await finished_in_thread(lambda number=number: self._objects().get(_key(file, number)))
                yield data[max(0, begin - number * CHUNK) :]
            except ObjectMissing:
                raise NotFound("the content of the file is gone: it was deleted", code="file_not_found") from None

    async def delete(self, file: str) -> None:
        """Delete all chunks of a file, those of an unfinished upload too. Raises `ObjectsFailed`."""

        def work() -> None:
            objects = self._objects()
            objects.delete([found.key for found in objects.list(f"{_PREFIX}/{_name(file)}/")])

        await finished_in_thread(work)

    async def _put(self, file: str, number: int, data: bytes) -> None:
        await finished_in_thread(lambda: self._objects().put(_key(file, number), data))

    def _objects(self) -> Objects:
        if self._opened is None:
            self._opened = self._open()
        return self._opened


def _chunks(size: int) -> int:
    return -(-size // CHUNK)


def _name(file: str) -> str:
    return file.lower().replace("_", "-")


def _key(file: str, number: int) -> str:
    return f"{_PREFIX}/{_name(file)}/{number:06d}"
