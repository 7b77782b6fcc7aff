"""Snapshots of private files as subvolumes of btrfs: saved, forked and restored at once, whatever their size."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from threading import Event

from roost.errors import StoreFailed
from roost.workspace import btrfs
from roost.workspace.atomic_swap import aside, remove_tree
from roost.workspace.cow.mirror import mirror
from roost.workspace.disk_room import Space
from roost.workspace.manifest import SnapshotDamaged
from roost.workspace.save import Caps
from roost.workspace.snapshots import Place, Restored, Saved, Stopped
from roost.workspace.views import FolderView, View

_NAME = re.compile(r"v[0-9a-f]{16}-[0-9a-f]{8}")
_UNKNOWN = Restored(0, 0)
_TREES = 1024**2
"""Bytes that a new snapshot may take: the tree nodes on the path to it."""


class SubvolumeSnapshots:
    """Implements `Snapshots`. A session's folder is a subvolume, and its snapshots are read-only ones in its memory
    folder. Files are not counted, and all kinds of entries are kept. Reading a file may count as a change, as it
    updates the access time. `space`: disk reserve to respect."""

    def __init__(self, *, caps: Caps | None = None, space: Space | None = None) -> None:
        self._caps = caps or Caps()
        self._space = space or Space()

    def prepare(self, place: Place) -> None:
        folder = place.folder
        if btrfs.is_subvolume(folder):
            return
        new, old = aside(folder)
        _empty(new)
        if folder.is_dir():
            try:
                self._mirror(folder, new)
            except (OSError, StoreFailed):  # mostly a full disk
                remove_tree(new)
                raise
        _swap(new, folder, old)

    def save(self, place: Place, base: str | None, stop: Event) -> Saved:
        if base is None and not (place.folder.is_dir() and os.listdir(place.folder)):
            return Saved(None, 0, 0, 0, ())
        self.prepare(place)
        name = f"v{time.time_ns():016x}-{secrets.token_hex(4)}"
        kept = _kept(place)
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A snapshot is taken first: only it includes all writes so far, so it is what is compared with the base.
        with self._space.taking(_TREES):
            btrfs.snapshot(place.folder, kept / name, read_only=True)
        before = kept / base if base is not None and _NAME.fullmatch(base) else None
        if before is not None and before.is_dir() and btrfs.changed(before) == btrfs.changed(kept / name):
            btrfs.destroy(kept / name)
            return Saved(base, None, None, 0, ())
        return Saved(name, None, None, 0, ())

    def restore(self, place: Place, snapshot: str | None, stop: Event, *, in_place: bool = False) -> Restored:
        source = None if snapshot is None else _found(place, snapshot)
        if stop.is_set():
            raise Stopped
        if in_place and place.folder.is_dir():
            if source is not None:
                self._mirror(source, place.folder)
            else:
                with tempfile.TemporaryDirectory() as nothing:
                    self._mirror(Path(nothing), place.folder)
            return _UNKNOWN
        self._replace(source, place.folder)
        return _UNKNOWN

    def lend(self, place: Place, snapshot: str, to: Place) -> None:
        if not (_kept(to) / _named(snapshot)).is_dir():
            source = _found(place, snapshot)
            _kept(to).mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                with self._space.taking(_TREES):
                    btrfs.snapshot(source, _kept(to) / source.name, read_only=True)
            except FileNotFoundError as error:  # removed just now
                raise SnapshotDamaged(f"there is no snapshot {snapshot!r} of these files any more") from error

    def fork(self, place: Place, snapshot: str | None, to: Place, stop: Event) -> Restored:
        if snapshot is not None:
            self.lend(place, snapshot, to)
        self._replace(None if snapshot is None else _found(to, snapshot), to.folder)
        return _UNKNOWN

    def view(self, place: Place, snapshot: str | None, *, near: View | None = None) -> View:
        folder = _kept(place) / "none" if snapshot is None else _found(place, snapshot)
        return FolderView(folder, files=self._caps.files)

    def forget(self, place: Place, keep: Collection[str], stop: Event, *, thorough: bool = False) -> int:
        kept = _kept(place)
        doomed = [name for name in (os.listdir(kept) if kept.is_dir() else ()) if name not in keep]
        for name in doomed:
            btrfs.destroy(kept / name)
        return len(doomed)

    def close(self) -> None:
        return None

    def _mirror(self, source: Path, folder: Path) -> None:
        mirror(source, folder, files=self._caps.files, space=self._space)

    def _replace(self, source: Path | None, folder: Path) -> None:
        new, old = aside(folder)
        if source is None:
            _empty(new)
        else:
            new.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            remove_tree(new)
            btrfs.snapshot(source, new)
        _swap(new, folder, old)


def _kept(place: Place) -> Path:
    return place.memory / "points"


def _named(snapshot: str) -> str:
    if not _NAME.fullmatch(snapshot):
        raise SnapshotDamaged(f"{snapshot!r} is no snapshot of these files")
    return snapshot


def _found(place: Place, snapshot: str) -> Path:
    path = _kept(place) / _named(snapshot)
    if not path.is_dir():
        raise SnapshotDamaged(f"there is no snapshot {snapshot!r} of these files")
    return path


def _empty(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_tree(path)
    btrfs.create(path)
    os.chmod(path, 0o700)


def _swap(new: Path, folder: Path, old: Path) -> None:
    remove_tree(old)
    if folder.exists():
        os.rename(folder, old)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.rename(new, folder)
    remove_tree(old)
