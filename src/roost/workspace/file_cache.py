"""A machine's cache about a session's folder: the content of its files, and its last owner.

All of it may be lost or outdated: then files are read or fetched that need not have been.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import msgspec

from roost.workspace.manifest import Item, Kind
from roost.workspace.scan import Found, Signature

_LENGTH = struct.Struct("<I")


class Remembered(NamedTuple):
    """A folder as it was saved or restored. `root`: bytes of the snapshot's root, which its name is made from. `files`:
    its items in order."""

    snapshot: str | None = None
    root: bytes = b""
    files: Sequence[tuple[Item, Signature | None]] = ()


class Glance(msgspec.Struct, frozen=True):
    """A snapshot, and the checksum of a scan while the folder is still as saved."""

    snapshot: str
    sum: bytes
    files: int
    size: int


class Owner(msgspec.Struct, frozen=True):
    """The last owner of a folder: its epoch, the creation time of its session (another may have had the same id), and
    the boot of the machine. Written before work begins."""

    epoch: int
    born: float
    boot: str


_head = msgspec.msgpack.Decoder(tuple[str | None, bytes])
_files = msgspec.msgpack.Decoder(list[tuple[Item, Signature | None]])
_glance = msgspec.msgpack.Decoder(Glance)
_owner = msgspec.json.Decoder(Owner)
_encode = msgspec.msgpack.Encoder().encode
_AT_ONCE = 1000
"""Files encoded or decoded in one call, which blocks the whole process: about 2 ms."""


def read_index(memory: Path) -> Remembered:
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError, struct.error):
        data = (memory / "index").read_bytes()
        if data[:16] == _sum(data[16:]):
            head, *parts = _parts(memoryview(data)[16:])
            return Remembered(*_head.decode(head), [file for part in parts for file in _files.decode(part)])
    return Remembered()


def _write_index(memory: Path, remembered: Remembered) -> None:
    parts = [_encode(remembered[:2])]
    parts += [_encode(remembered.files[at : at + _AT_ONCE]) for at in range(0, len(remembered.files), _AT_ONCE)]
    data = b"".join(_LENGTH.pack(len(part)) + part for part in parts)
    _replace(memory / "index", _sum(data) + data, sync=False)


def _parts(data: memoryview) -> Iterator[memoryview]:
    while data:
        (size,) = _LENGTH.unpack_from(data)
        yield data[_LENGTH.size : _LENGTH.size + size]
        data = data[_LENGTH.size + size :]


def glance(memory: Path, snapshot: str | None, tree: Sequence[Found]) -> Glance | None:
    """Return the snapshot's glance if the tree is still as recorded, else None."""
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
        found = _glance.decode((memory / "glance").read_bytes())
        seen = _sum_of((one.path, one.kind, one.mode, one.signature, one.target) for one in tree)
        return found if (found.snapshot, found.sum) == (snapshot, seen) else None
    return None


def remember(memory: Path, old: Remembered, new: Remembered) -> None:
    """Store what is known of a snapshot. `old`: the result of `read_index`; an equal index is not written again."""
    if new.snapshot is None:
        return
    if new != old:
        _write_index(memory, new)
    seen = _sum_of((item.path, item.kind, item.mode, signature, item.target) for item, signature in new.files)
    if seen is not None:
        sizes = [item.size for item, _ in new.files if item.kind == "file"]
        _replace(memory / "glance", _encode(Glance(new.snapshot, seen, len(sizes), sum(sizes))), sync=False)


def _sum_of(seen: Iterable[tuple[bytes, Kind, int, Signature | None, bytes]]) -> bytes | None:
    """Return a checksum; None when some file may change without a visible difference."""
    whole = blake2b(digest_size=16)
    for one in seen:
        if one[1] == "file" and one[3] is None:
            return None
        whole.update(_encode(one))
    return whole.digest()


def read_owner(memory: Path) -> Owner | None:
    with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
        return _owner.decode((memory / "owner").read_bytes())
    return None


def write_owner(memory: Path, owner: Owner, *, sync: bool = False) -> None:
    """Store the owner. `sync`: durably, even over a loss of power."""
    _replace(memory / "owner", msgspec.json.encode(owner), sync=sync)


@lru_cache(maxsize=1)
def boot() -> str:
    """Return the id of the machine's current boot: unsynced writes of an earlier one may be lost. Empty where the
    system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def _sum(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).digest()


def _replace(path: Path, data: bytes, *, sync: bool) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in os.listdir(path.parent):
        if name.startswith(f"{path.name}."):  # left by a crash
            (path.parent / name).unlink(missing_ok=True)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(6)}")
    try:
        with open(fresh, "xb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
