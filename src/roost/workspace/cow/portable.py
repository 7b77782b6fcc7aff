"""Snapshots of private files in their own home, on any file system: what changed is read, and kept once."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from threading import Event

from roost.workspace.loading import load_root
from roost.workspace.manifest import SnapshotDamaged, snapshot_key, today
from roost.workspace.objects import ObjectMissing
from roost.workspace.objects.folder import UNFINISHED, FolderObjects
from roost.workspace.pieces import Threads, Traffic
from roost.workspace.restoring import Restore
from roost.workspace.saving import Caps, Save
from roost.workspace.snapshots import Place, Restored, Saved
from roost.workspace.store import needed_by

_SLACK = 2
"""Snapshots are removed when there are so many times as many as are to be kept: each look costs one read for each."""
_FEW = 8


class PortableSnapshots:
    """Implements `Snapshots`: the format of the store that nodes share, with an object store for each session beside
    what the machine remembers of its folder. So it goes when the session goes, and has one writer, the session's
    owner."""

    def __init__(self, *, caps: Caps | None = None, clock: Callable[[], float] = time.time) -> None:
        self._caps = caps or Caps()
        self._clock = clock
        self._threads = Threads()

    def prepare(self, place: Place) -> None:
        return None

    def save(self, place: Place, base: str | None, stop: Event) -> Saved:
        traffic = self._traffic(place)
        return Save(traffic, place, lambda: today(self._clock()), stop, self._caps).run(base)

    def restore(self, place: Place, snapshot: str | None, stop: Event, *, in_place: bool = False) -> Restored:
        return Restore(self._traffic(place), place, stop, self._caps.files, in_place=in_place).run(snapshot)

    def lend(self, place: Place, snapshot: str, to: Place) -> None:
        if (_store(to) / snapshot_key(snapshot)).exists():  # then it has all that belongs to it
            return
        if not _store(place).is_dir():  # looking would make it
            raise SnapshotDamaged(f"there is no snapshot {snapshot!r} of these files")
        here = self._objects(place)
        root, _ = load_root(self._traffic(place), snapshot)
        try:
            here.share([held.blob.key for held in root.blobs], self._objects(to))
            here.share([snapshot_key(snapshot)], self._objects(to))
        except ObjectMissing as error:
            raise SnapshotDamaged(f"a part of a snapshot is gone: {error}") from error

    def fork(self, place: Place, snapshot: str | None, to: Place, stop: Event) -> Restored:
        if snapshot is not None:
            self.lend(place, snapshot, to)
        return Restore(self._traffic(to), to, stop, self._caps.files, near=place).run(snapshot)

    def forget(self, place: Place, keep: Collection[str], stop: Event) -> int:
        objects = self._objects(place)
        there = {found.key for found in objects.list("snapshots/")}
        if len(there) <= max(_FEW, _SLACK * len(keep)):
            return 0
        kept = [name for name in keep if _key(name) in there]
        needed = needed_by(self._traffic(place), kept, stop, {})
        doomed = {found.key for prefix in ("blobs/", UNFINISHED) for found in objects.list(prefix)} - needed
        objects.delete(there - needed)  # first, so that none is left without its parts
        objects.delete(doomed)
        return len(there - needed)

    def close(self) -> None:
        self._threads.close()

    def _objects(self, place: Place) -> FolderObjects:
        return FolderObjects.make(_store(place))

    def _traffic(self, place: Place) -> Traffic:
        return Traffic(self._objects(place), self._threads)


def _store(place: Place) -> Path:
    return place.memory / "snapshots"


def _key(snapshot: str) -> str:
    with suppress(SnapshotDamaged):
        return snapshot_key(snapshot)
    return ""
