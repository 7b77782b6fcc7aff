"""Vectors of facts on this node: a file of vectors by text digest, and codes in memory for the search.

The file is a cache: missing or damaged vectors are embedded again. A search first compares the signs of the components,
whose agreement grows with the likeness (Charikar, "Similarity estimation techniques from rounding algorithms", 2002),
and then the full vectors of the nearest. All functions block.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Codes: TypeAlias = NDArray[np.uint64]
    Floats: TypeAlias = NDArray[np.float32]

_HEAD = 512
_DIGEST, _CHECK = 16, 8
_NUMBER = 4
MOST_BYTES = 4 * 1024**3
"""A larger file is started anew; most of its texts are no longer in use."""
EXACT = 2000
"""Up to this number, all vectors are compared in full."""
NEAREST = 400
"""Facts selected by code that are then compared in full."""


def digest_of(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()


class _Head(msgspec.Struct, frozen=True):
    model: str
    size: int
    format: int = 1


class VectorFile:
    """The vector file of one model. known: row number by text digest. Several processes may share the file, since rows
    are appended under its lock; rows of another process are seen only after reopening. Thread-safe."""

    def __init__(self, path: Path, model: str, size: int) -> None:
        """Open the file; start it anew if it belongs to another model or cannot be read. Raises `OSError`."""
        self.size = size
        self.known: dict[bytes, int] = {}
        self._row = _DIGEST + _CHECK + _NUMBER * size
        self._head = msgspec.json.encode(_Head(model, size)).ljust(_HEAD - 1) + b"\n"
        self._lock = threading.Lock()
        self._rows: NDArray[np.uint8] | None = None
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = self._open(path)
        self._read()

    def add(self, digests: Sequence[bytes], vectors: Sequence[bytes]) -> None:
        """Append vectors. Raises `OSError`."""
        body = b"".join(self._record(*pair) for pair in zip(digests, vectors, strict=True))
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                end = os.fstat(self._file).st_size
                first = max(0, end - _HEAD) // self._row  # overwrite a row that a crash cut off
                os.pwrite(self._file, body, _HEAD + first * self._row)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            for place, digest in enumerate(digests):
                self.known[digest] = first + place

    def erase(self, digests: Sequence[bytes]) -> None:
        """Overwrite the vectors of these texts with zeros, in all rows: another process may have appended the same
        text. Raises `OSError`."""
        gone = set(digests)
        with self._lock:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                table = self._map()
                heads = b"" if table is None else table[:, :_DIGEST].tobytes()
                for row in range(len(heads) // _DIGEST):
                    if heads[row * _DIGEST : (row + 1) * _DIGEST] in gone:
                        os.pwrite(self._file, bytes(self._row), _HEAD + row * self._row)
                os.fsync(self._file)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
            for digest in gone:
                self.known.pop(digest, None)

    def vectors(self, rows: NDArray[np.int64]) -> Floats:
        """Return the vectors of these rows as a matrix."""
        import numpy as np

        with self._lock:
            table = self._rows
            if len(rows) and (table is None or len(table) <= int(rows.max())):
                table = self._rows = self._map()
        if table is None:
            return np.zeros((0, self.size), dtype=np.float32)
        raw = np.ascontiguousarray(table[rows, _DIGEST + _CHECK :])
        return raw.view("<f4").reshape(len(rows), self.size)

    def close(self) -> None:
        with self._lock:
            self._rows = None
            os.close(self._file)

    def _open(self, path: Path) -> int:
        for _ in range(2):
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.fstat(file).st_size
            if size == 0:
                os.pwrite(file, self._head, 0)
            if size == 0 or (os.pread(file, _HEAD, 0) == self._head and size <= MOST_BYTES):
                fcntl.flock(file, fcntl.LOCK_UN)
                return file
            path.unlink(missing_ok=True)  # processes that have it open keep it until they reopen
            os.close(file)
        raise OSError(f"{str(path)!r} cannot be kept")

    def _read(self) -> None:
        table = self._map()
        view = table.data.cast("B") if table is not None else memoryview(b"")
        for row in range(len(view) // self._row):
            record = view[row * self._row : (row + 1) * self._row]
            check = int.from_bytes(record[_DIGEST : _DIGEST + _CHECK], "little")
            if check == self._check(record[:_DIGEST], record[_DIGEST + _CHECK :]):
                self.known[bytes(record[:_DIGEST])] = row
        self._rows = table

    def _map(self) -> NDArray[np.uint8] | None:
        import numpy as np

        count = max(0, os.fstat(self._file).st_size - _HEAD) // self._row
        if not count:
            return None
        with os.fdopen(os.dup(self._file), "rb") as file:
            return np.memmap(file, dtype=np.uint8, mode="r", offset=_HEAD, shape=(count, self._row))

    def _record(self, digest: bytes, vector: bytes) -> bytes:
        return digest + self._check(digest, vector).to_bytes(_CHECK, "little") + vector

    def _check(self, digest: Any, vector: Any) -> int:
        """Return a checksum that is never 0, the value in a hole of the file."""
        return zlib.crc32(vector, zlib.crc32(digest)) + 1


def erase_in(folder: Path, digests: Sequence[bytes]) -> None:
    """Erase vectors like `VectorFile.erase`, in every file of a folder, none of which is open. Raises `OSError`."""
    for path in folder.glob("*.vectors"):
        with path.open("rb") as file:
            head = file.read(_HEAD)
        try:
            told = msgspec.json.decode(head, type=_Head)
        except msgspec.MsgspecError:  # no vector file: the next open starts it anew
            path.unlink(missing_ok=True)
            continue
        vectors = VectorFile(path, told.model, told.size)
        vectors.erase(digests)
        vectors.close()


class NearFact(NamedTuple):
    """likeness: cosine of its vector and the query's. background: likeness to the nearest references."""

    id: str
    likeness: float
    background: float | None = None


class SpaceVectors:
    """The facts of one space that have a vector: row numbers in the file, and codes. Not thread-safe."""

    def __init__(self, file: VectorFile) -> None:
        import numpy as np

        self._file = file
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self._rows = np.zeros(64, dtype=np.int64)
        self._codes: Codes = np.zeros(((file.size + 63) // 64, 64), dtype=np.uint64)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, id: object) -> bool:
        return id in self._places

    def add(self, ids: Sequence[str], digests: Sequence[bytes]) -> None:
        """Add facts whose vectors are in the file."""
        import numpy as np

        fresh = {id: digest for id, digest in zip(ids, digests, strict=True) if id not in self._places}
        if not fresh:
            return
        rows = np.array([self._file.known[digest] for digest in fresh.values()], dtype=np.int64)
        start, end = len(self._ids), len(self._ids) + len(fresh)
        self._make_room(end)
        self._rows[start:end] = rows
        self._codes[:, start:end] = codes_of(self._file.vectors(rows))
        self._places |= {id: start + place for place, id in enumerate(fresh)}
        self._ids += fresh

    def drop(self, id: str) -> None:
        """Remove a fact; the last one moves to its place."""
        place = self._places.pop(id, None)
        if place is None:
            return
        last = self._ids.pop()
        if last != id:
            end = len(self._ids)
            self._ids[place], self._places[last] = last, place
            self._rows[place] = self._rows[end]
            self._codes[:, place] = self._codes[:, end]

    def nearest(self, query: Floats, limit: int, references: Floats | None = None) -> list[NearFact]:
        """Return the nearest facts, nearest first."""
        import numpy as np

        count = len(self._ids)
        if not count:
            return []
        chosen = np.arange(count)
        if count > EXACT:
            apart = _apart(self._codes[:, :count], codes_of(query[None, :])[:, 0])
            chosen = np.argpartition(apart, max(NEAREST, limit))[: max(NEAREST, limit)]
        vectors = self._file.vectors(self._rows[chosen])
        likeness = vectors @ query
        best = np.argsort(-likeness, kind="stable")[:limit]
        beside = None if references is None or not len(best) else (vectors[best] @ references.T).max(axis=1)
        return [
            NearFact(
                self._ids[int(chosen[place])], float(likeness[place]), None if beside is None else float(beside[at])
            )
            for at, place in enumerate(best)
        ]

    def _make_room(self, count: int) -> None:
        import numpy as np

        room = len(self._rows)
        if count > room:
            more = max(count, 2 * room) - room
            self._rows = np.pad(self._rows, (0, more))
            self._codes = np.pad(self._codes, ((0, 0), (0, more)))


def codes_of(vectors: Floats) -> Codes:
    """Return one bit for each component, 64 in a word; one column for each vector, so that equal words lie together."""
    import numpy as np

    bits = np.packbits(vectors > 0, axis=1)
    padded = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8)))
    return np.ascontiguousarray(np.ascontiguousarray(padded).view(np.uint64).T)


def _apart(codes: Codes, query: Codes) -> NDArray[np.uint16]:
    """Return the number of differing bits of each code."""
    import numpy as np

    total = np.zeros(codes.shape[1], dtype=np.uint16)
    for row, word in zip(codes, query, strict=True):
        total += np.bitwise_count(row ^ word)
    return total
