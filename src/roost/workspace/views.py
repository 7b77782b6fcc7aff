"""Read-only views of a tree of private files: a snapshot, or a folder as it is now."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Event

from roost.workspace.chunk_transfer import Traffic
from roost.workspace.file_cache import Remembered
from roost.workspace.manifest import Blob, Item, digest_of
from roost.workspace.scan import Found, Signature, scan
from roost.workspace.snapshot_contents import cut, joined, load_root, load_segments
from roost.workspace.snapshots import Entry, View
from roost.workspace.stable_read import Reader

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BLOBS = 4
"""Blobs of up to 4 MiB that a view caches: neighbouring files are mostly in the same blob."""


class SnapshotView:
    """A snapshot in an object store; None is the empty tree. near: as in `Snapshots.view`. Implements `View`."""

    def __init__(self, traffic: Traffic, snapshot: str | None, *, near: View | None = None) -> None:
        self._traffic = traffic
        self._blobs: dict[Blob, bytes] = {}
        self._segments: dict[bytes, list[Item]] = {}
        items: list[Item] = []
        if snapshot is not None:
            root, _ = load_root(traffic, snapshot)
            known = near._segments if isinstance(near, SnapshotView) else {}
            self._segments = load_segments(traffic, root, Event(), known)
            items = joined(root, self._segments)
        self._items = {item.path: item for item in items}
        self.entries: Mapping[bytes, Entry] = self._items

    def digests(self, path: bytes) -> list[bytes]:
        return self._items[path].digests

    def read(self, path: bytes) -> bytes:
        return b"".join(cut(self._blob(piece.blob), piece) for piece in self._items[path].pieces)

    def close(self) -> None:
        self._blobs.clear()

    def _blob(self, blob: Blob) -> bytes:
        if blob not in self._blobs:
            while len(self._blobs) >= _BLOBS:
                del self._blobs[next(iter(self._blobs))]
            self._blobs[blob] = self._traffic.get(blob.key)
        return self._blobs[blob]


class FolderView:
    """A folder as it was when this was made; others may write to it. `remembered`: files with known content, which need
    not be read. Implements `View`."""

    def __init__(self, folder: Path, *, files: int, remembered: Remembered | None = None) -> None:
        self._reader = Reader(folder)
        self.entries: Mapping[bytes, Entry] = {one.path: one for one in scan(folder, files=files).found}
        known = remembered.files if remembered is not None else ()
        self._known: dict[bytes, tuple[Item, Signature]] = {
            item.path: (item, signature) for item, signature in known if signature is not None
        }

    def digests(self, path: bytes) -> list[bytes]:
        item, signature = self._known.get(path, (None, None))
        found = self.entries[path]
        if item is not None and isinstance(found, Found) and found.signature == signature:
            return item.digests
        content = self._reader.read(path, digest_of)
        return [] if content is None else content.pieces

    def read(self, path: bytes) -> bytes:
        fd = os.open(path.rpartition(b"/")[2], _FILE, dir_fd=self._reader.folder(path))
        with open(fd, "rb") as file:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError(f"{os.fsdecode(path)} is no file any more")
            return file.read(self.entries[path].size)

    def close(self) -> None:
        self._reader.close()


def same(before: View, after: View, path: bytes) -> bool:
    """Return whether both have the same thing at `path`: kind, permissions, bytes or target. Times do not count."""
    old, new = before.entries[path], after.entries[path]
    if (old.kind, old.mode, old.size, old.target) != (new.kind, new.mode, new.size, new.target):
        return False
    if old.kind != "file":
        return True
    if isinstance(old, Found) and isinstance(new, Found) and old.signature is not None and old == new:
        return True  # a file system's own snapshot keeps the inode
    return before.digests(path) == after.digests(path)


def leaves(paths: Iterable[bytes], view: View) -> Iterable[bytes]:
    """Leave out folders that are not empty: their entries imply them."""
    parents = {path.rpartition(b"/")[0] for path in view.entries}
    return (path for path in paths if path not in parents)
