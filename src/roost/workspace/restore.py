"""Restore a snapshot: build a new folder beside the old one, from files that are here already, files of another folder
of this machine, and fetched files; then swap it in."""

from __future__ import annotations

import os
import time
from pathlib import Path
from threading import Event
from typing import NamedTuple

from roost.errors import StoreFailed, TooLarge
from roost.workspace.atomic_swap import aside, remove_tree, swap, swap_inside
from roost.workspace.chunk_transfer import Jobs, Traffic
from roost.workspace.disk_room import Space
from roost.workspace.file_cache import Remembered, glance, read_index, remember
from roost.workspace.local_reuse import Borrow
from roost.workspace.manifest import HOLE_DIGEST, Item, Piece
from roost.workspace.scan import Signature, Tree, scan, signature_of
from roost.workspace.snapshot_contents import cut, load
from roost.workspace.snapshots import Place, Restored
from roost.workspace.sparse import write_at
from roost.workspace.stable_read import Reader

_SETTLE = 0.03
"""Seconds, longer than a clock tick: after them a file's signature is reliable."""
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = _WRITE | os.O_CREAT | os.O_EXCL


class Wanted(NamedTuple):
    """A piece, and the file and offset that it belongs to."""

    piece: Piece
    path: bytes
    offset: int


class Restore:
    """One call of `Snapshots.restore`, or, with `near` (the source place), of `Snapshots.fork`. Blocks."""

    def __init__(
        self,
        traffic: Traffic,
        place: Place,
        stop: Event,
        files: int,
        *,
        in_place: bool = False,
        near: Place | None = None,
        space: Space | None = None,
    ) -> None:
        self._traffic = traffic
        self._place = place
        self._stop = stop
        self._cap = files
        self._near = near
        self._space = space or Space()
        self._replace = swap_inside if in_place else swap
        self._new, self._old = aside(place.folder)
        self._copies: dict[bytes, os.stat_result] = {}

    def run(self, snapshot: str | None) -> Restored:
        here = self._look(self._place.folder)
        known = glance(self._place.memory, snapshot, here.found)
        if known is not None:
            return Restored(0, known.files)
        remembered = read_index(self._place.memory)
        beside = read_index(self._near.memory) if self._near else remembered
        data, items = load(self._traffic, snapshot, beside, self._stop)
        same = _same(items, here, remembered)
        files = sum(item.kind == "file" for item in items)
        if _identical(items, here, same):
            signatures: dict[bytes, Signature | None] = {**same}
            kept = files
        else:
            remove_tree(self._new)
            try:
                kept = self._build(items, same, beside)
            except (OSError, StoreFailed):  # mostly a full disk
                remove_tree(self._new)
                raise
            self._replace(self._new, self._place.folder, self._old)
            time.sleep(_SETTLE)
            signatures = self._signatures(files)
        signed = [(item, signatures.get(item.path)) for item in items]
        remember(self._place.memory, remembered, Remembered(snapshot, data, signed))
        return Restored(files - kept, kept)

    def _signatures(self, files: int) -> dict[bytes, Signature | None]:
        if len(self._copies) == files:  # no other process works in a fork that is being made
            now = time.time_ns()
            return {path: signature_of(status, now) for path, status in self._copies.items()}
        return {one.path: one.signature for one in scan(self._place.folder, files=self._cap).found}

    def _look(self, folder: Path) -> Tree:
        try:
            return scan(folder, files=self._cap)
        except TooLarge:  # then it is not the saved tree
            return Tree([], ["too large"])

    def _build(self, items: list[Item], same: dict[bytes, Signature], beside: Remembered) -> int:
        """Build the whole tree as `new`. Returns how many files were here already."""
        self._new.mkdir(mode=0o700, parents=True)
        missing = self._names(items, same)
        if self._near:
            known = _known(missing, beside)
            there = [(item, known[item.path]) for item in missing if item.path in known]
            self._copies = Borrow(self._near.folder, self._new, self._space, self._stop).run(self._traffic, there)
        empty = [item for item in missing if item.path not in self._copies]
        wanted: dict[str, list[Wanted]] = {}
        for item in empty:
            self._create(item)
            offset = 0
            for piece in item.pieces:
                if piece.digest != HOLE_DIGEST:
                    wanted.setdefault(piece.blob.key, []).append(Wanted(piece, item.path, offset))
                offset += piece.size
        with Jobs(self._traffic, self._stop) as jobs:
            for key, pieces in wanted.items():
                jobs.run(lambda key=key, pieces=pieces: self._fetch(key, pieces))
        for item in empty:
            path = self._at(item)
            os.utime(path, ns=(item.mtime_ns, item.mtime_ns))
            os.chmod(path, item.mode)
        for item in reversed(items):
            if item.kind == "folder":
                os.chmod(self._at(item), item.mode)
        return sum(item.kind == "file" for item in items) - len(missing)

    def _create(self, item: Item) -> None:
        """Make the file as one hole of its size; only data other than zeros is written into it later."""
        fd = os.open(self._at(item), _CREATE, 0o600)
        try:
            if item.pieces:
                os.ftruncate(fd, sum(piece.size for piece in item.pieces))
        finally:
            os.close(fd)

    def _names(self, items: list[Item], same: dict[bytes, Signature]) -> list[Item]:
        """Make folders, links, and (as hard links to the old ones) files that are proven the same. Returns the files
        still to be made."""
        missing: list[Item] = []
        reader = Reader(self._place.folder)
        try:
            for item in items:
                path = self._at(item)
                if item.kind == "folder":
                    os.mkdir(path, 0o700)
                elif item.kind == "link":
                    os.symlink(item.target, path)
                elif not _take(reader, item, same.get(item.path), path):
                    missing.append(item)
        finally:
            reader.close()
        return missing

    def _fetch(self, key: str, wanted: list[Wanted]) -> int:
        blob = self._traffic.get(key)
        for piece, path, offset in wanted:
            data = cut(blob, piece)
            fd = os.open(os.fsencode(self._new) + b"/" + path, _WRITE)
            try:
                with self._space.taking(len(data)):
                    write_at(fd, data, offset)
            finally:
                os.close(fd)
        return len(blob)

    def _at(self, item: Item) -> bytes:
        return os.fsencode(self._new) + b"/" + item.path


def _same(items: list[Item], here: Tree, remembered: Remembered) -> dict[bytes, Signature]:
    """Return the signatures of the files that are here as in the snapshot."""
    found = {one.path: one.signature for one in here.found}
    known = _known(items, remembered) if found else {}
    return {path: signature for path, signature in known.items() if found.get(path) == signature}


def _known(items: list[Item], remembered: Remembered) -> dict[bytes, Signature]:
    """Return the signatures by which a folder's files are known to be as in the snapshot."""
    there = {item.path: (item, signature) for item, signature in remembered.files if signature is not None}
    known: dict[bytes, Signature] = {}
    for item in items:
        old, signature = there.get(item.path, (None, None))
        if old is None or signature is None:
            continue
        if old is item or (old.face == item.face and old.digests == item.digests):
            known[item.path] = signature
    return known


def _identical(items: list[Item], here: Tree, same: dict[bytes, Signature]) -> bool:
    return (
        not here.skipped
        and len(items) == len(here.found)
        and all(
            item.path in same
            if item.kind == "file"
            else (item.path, item.kind, item.mode, item.target) == (one.path, one.kind, one.mode, one.target)
            for item, one in zip(items, here.found, strict=True)
        )
    )


def _take(reader: Reader, item: Item, signature: Signature | None, path: bytes) -> bool:
    """Hard-link an old file into the new folder. False when that fails or the file has changed."""
    if signature is None:
        return False
    try:
        name = item.path.rpartition(b"/")[2]
        os.link(name, path, src_dir_fd=reader.folder(item.path), follow_symlinks=False)
    except OSError:
        return False
    status = os.lstat(path)
    if (status.st_size, status.st_mtime_ns, status.st_ino) == (signature.size, signature.mtime_ns, signature.inode):
        return True
    os.unlink(path)
    return False
