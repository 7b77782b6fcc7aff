"""The format of snapshots, in which they are stored and compared.

A *piece* is up to 4 MiB of a file, named by the BLAKE2b-256 of its bytes. Pieces are stored in *blobs*, many small ones
together, so that a tree of 10,000 files is some hundred objects; a blob is named by the day of its writing and the
digest of its pieces' digests. The *items* of a tree, in `order`, are cut into *segments* at paths that their CRC
selects: a change of one file changes one segment. Segments are pieces too. The *root*, an object of its own whose
digest is the snapshot's name, lists the segments and every blob that the snapshot needs.

Objects are `blobs/DAY/DIGEST` and `snapshots/DAY/DIGEST`: one byte for the compression (0 none, 1 zlib, which every
Python can read), then the data. A piece of zeros is a hole of a sparse file. Modification times of files are kept, for
build tools; owners, extended attributes and set-user-id bits are not, and hard links become separate files.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Literal, TypeAlias

import msgspec

from roost.errors import RoostError

VERSION = 1
PIECE = 4 * 1024 * 1024
"""Bytes. The largest unit of reading, sending and checking: with eight in flight it bounds the memory."""
_DAY = 86_400
_SAMPLE = 64 * 1024
_SEGMENT = 256
"""Average number of items in a segment; the maximum is four times as many."""

Kind: TypeAlias = Literal["file", "folder", "link"]


class SnapshotDamaged(RoostError):
    """A stored snapshot differs from what was saved, or a part of it is missing. A retry does not help."""

    code, status = "snapshot_damaged", 500


class Blob(msgspec.Struct, frozen=True, array_like=True, gc=False, order=True):
    """A blob's name. `day` counts from 1970; `sweep` judges age by it, and no node writes a blob with a past day."""

    day: int
    digest: bytes

    @property
    def key(self) -> str:
        return f"blobs/{self.day}/{self.digest.hex()}"


class Piece(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Bytes `offset` to `offset + size` of an uncompressed blob."""

    digest: bytes
    size: int
    blob: Blob
    offset: int


class Item(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One entry of a tree. `path`: relative, bytes as in the file system (not always UTF-8), separated by `/`. `mode`:
    the nine permission bits. `mtime_ns`: 0 for all but files. `target`: text of a link."""

    path: bytes
    kind: Kind
    mode: int = 0
    size: int = 0
    mtime_ns: int = 0
    target: bytes = b""
    pieces: tuple[Piece, ...] = ()

    @property
    def face(self) -> tuple[object, ...]:
        """All metadata that a snapshot holds, without the content."""
        return self.path, self.kind, self.mode, self.size, self.mtime_ns, self.target

    @property
    def digests(self) -> list[bytes]:
        """Identifies the content, wherever its pieces are stored."""
        return [piece.digest for piece in self.pieces]


class Held(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A blob that a snapshot needs: its size, and how many of its bytes the snapshot uses."""

    blob: Blob
    size: int
    used: int


class Root(msgspec.Struct, frozen=True, array_like=True):
    version: int
    files: int
    bytes: int
    segments: tuple[Piece, ...]
    blobs: tuple[Held, ...]


HOLE = bytes(PIECE)
"""The piece for each hole of this size; shared by all sparse files."""
HOLE_DIGEST = bytes.fromhex("4b78491340f5f499c8cb365e807455b47d2c05bc362def5ab9a2505a142710f4")
_encoder = msgspec.msgpack.Encoder()
_items = msgspec.msgpack.Decoder(list[Item])
_root = msgspec.msgpack.Decoder(Root)


def today(now: float) -> int:
    return int(now // _DAY)


def digest_of(data: bytes | memoryview) -> bytes:
    return HOLE_DIGEST if data is HOLE else blake2b(data, digest_size=32).digest()


def snapshot_key(snapshot: str) -> str:
    """Return the key of a snapshot's root. Raises `SnapshotDamaged` for an invalid name."""
    day, _, digest = snapshot.partition("-")
    if not (day.isdecimal() and day.isascii() and len(digest) == 64 and set(digest) <= set("0123456789abcdef")):
        raise SnapshotDamaged(f"{snapshot!r} is not the name of a snapshot")
    return f"snapshots/{day}/{digest}"


def day_of(snapshot: str) -> int:
    """Return the day when it was written. Raises `SnapshotDamaged`."""
    return int(snapshot_key(snapshot).split("/")[1])


def pack_root(root: Root, day: int) -> tuple[str, bytes]:
    """Return the snapshot's name, and its root as bytes."""
    data = _encoder.encode(root)
    return f"{day}-{digest_of(data).hex()}", data


def unpack_root(snapshot: str, data: bytes) -> Root:
    """Decode a root. Raises `SnapshotDamaged`."""
    if digest_of(data).hex() != snapshot.partition("-")[2]:
        raise SnapshotDamaged(f"snapshot {snapshot!r} is not what was saved under that name")
    try:
        version = msgspec.msgpack.decode(data, type=tuple[int, msgspec.Raw, msgspec.Raw, msgspec.Raw, msgspec.Raw])[0]
        if version > VERSION:
            raise SnapshotDamaged(f"snapshot {snapshot!r} has format {version}; this Roost reads {VERSION}: upgrade it")
        return _root.decode(data)
    except msgspec.MsgspecError as error:
        raise SnapshotDamaged(f"snapshot {snapshot!r} cannot be read: {error}") from error


def order(path: bytes) -> bytes:
    """Return the sort key of items: a folder comes first, then all in it, then its next sibling."""
    return path.replace(b"/", b"\0")


def segments(items: Sequence[Item]) -> Iterator[bytes]:
    """Yield the encoded segments of items in order. The cuts depend on the paths alone."""
    start = 0
    for place, item in enumerate(items, 1):
        if zlib.crc32(item.path) % _SEGMENT == 0 or place - start == 4 * _SEGMENT:
            yield _encoder.encode(items[start:place])
            start = place
    if start < len(items):
        yield _encoder.encode(items[start:])


def unpack_items(data: bytes) -> list[Item]:
    """Decode a segment. Only the permission bits of each mode are kept, as the data may be forged. Raises
    `SnapshotDamaged`."""
    try:
        items = _items.decode(data)
        return [msgspec.structs.replace(one, mode=one.mode & 0o777) if one.mode > 0o777 else one for one in items]
    except msgspec.MsgspecError as error:
        raise SnapshotDamaged(f"a snapshot's list of files cannot be read: {error}") from error


def check_tree(items: Iterable[Item]) -> None:
    """Check that restoring these can write nowhere but below their root. Raises `SnapshotDamaged`."""
    folders = {b""}
    before = b""
    for item in items:
        parent, _, name = item.path.rpartition(b"/")
        here = order(item.path)
        if parent not in folders or name in (b"", b".", b"..") or b"\0" in item.path or here <= before:
            raise SnapshotDamaged(f"a snapshot holds the impossible path {item.path!r}")
        before = here
        if item.kind == "folder":
            folders.add(item.path)


def seal(data: bytes) -> bytes:
    """Encode an object: compressed where that helps."""
    sample = zlib.compress(data[:_SAMPLE], 1)
    if len(sample) > 0.9 * min(len(data), _SAMPLE):
        return b"\0" + data
    return b"\1" + (sample if len(data) <= _SAMPLE else zlib.compress(data, 1))


def unseal(sealed: bytes) -> bytes:
    """Decode an object. Raises `SnapshotDamaged`."""
    codec, data = sealed[:1], sealed[1:]
    try:
        if codec in (b"\0", b"\1"):
            return data if codec == b"\0" else zlib.decompress(data)
    except zlib.error as error:
        raise SnapshotDamaged(f"an object of the snapshot store cannot be read: {error}") from error
    raise SnapshotDamaged("an object of the snapshot store has a compression that this Roost does not know: upgrade it")
