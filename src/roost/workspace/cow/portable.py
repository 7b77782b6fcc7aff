"""Snapshots of private files in their own home, on any file system: changed content is read and stored once."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from threading import Event

from roost.errors import RoostError, StoreFailed
from roost.workspace.chunk_transfer import Threads, Traffic
from roost.workspace.disk_room import Space
from roost.workspace.manifest import SnapshotDamaged, snapshot_key, today
from roost.workspace.object_store import ObjectInfo, ObjectMissing
from roost.workspace.objects.folder import UNFINISHED, FolderObjects
from roost.workspace.restore import Restore
from roost.workspace.save import Caps, Save
from roost.workspace.snapshot_contents import load_root
from roost.workspace.snapshots import Place, Restored, Saved, Stopped
from roost.workspace.store import needed_by
from roost.workspace.views import SnapshotView, View

_SLACK = 2
"""Snapshots are removed once there are so many times as many as are kept: a look at them costs one read for each."""
_FEW = 8
_EIGHTH = 8
"""One in so many of the kept ones is the number of excess snapshots that a thorough call leaves, so that a thousand
drops do not cost a thousand looks at all others."""
_SAVING = ".saving"
"""A folder beside the memories. Its files show at startup which places a crash left an unfinished save in."""


class PortableSnapshots:
    """Implements `Snapshots`. Uses the format of the shared store, with an object store for each session in its memory
    folder. So it is deleted with the session, and its owner is the only writer. `space`: disk reserve to respect."""

    def __init__(
        self, *, caps: Caps | None = None, clock: Callable[[], float] = time.time, space: Space | None = None
    ) -> None:
        self._caps = caps or Caps()
        self._clock = clock
        self._space = space or Space()
        self._threads = Threads()

    def prepare(self, place: Place) -> None:
        return None

    def save(self, place: Place, base: str | None, stop: Event) -> Saved:
        traffic, half = self._traffic(place), _half(place.memory)
        left = half.exists()
        try:
            with _held(_store(place.memory)):
                half.parent.mkdir(mode=0o700, exist_ok=True)
                half.touch(0o600)
                if base is not None and not (_store(place.memory) / snapshot_key(base)).exists():
                    base = None  # the snapshot that the folder was restored from may have been dropped since
                saved = Save(traffic, place, lambda: today(self._clock()), stop, self._caps).run(base)
        except (OSError, StoreFailed):  # mostly a full disk
            self._tidy(place.memory, stop)
            raise
        if left:
            self._tidy(place.memory, stop)
        else:
            half.unlink(missing_ok=True)
        return saved

    def recover(self, memory: Path) -> None:
        """Remove the remains of interrupted saves, of all places with memories in this folder. Blocks."""
        halves = memory / _SAVING
        for name in os.listdir(halves) if halves.is_dir() else ():
            self._tidy(memory / name, Event())

    def restore(self, place: Place, snapshot: str | None, stop: Event, *, in_place: bool = False) -> Restored:
        traffic, cap = self._traffic(place), self._caps.files
        return Restore(traffic, place, stop, cap, in_place=in_place, space=self._space).run(snapshot)

    def lend(self, place: Place, snapshot: str, to: Place) -> None:
        if (_store(to.memory) / snapshot_key(snapshot)).exists():  # then it has all of its parts
            return
        if not _store(place.memory).is_dir():  # `_objects` would make the folder
            raise SnapshotDamaged(f"there is no snapshot {snapshot!r} of these files")
        here, there = self._objects(place.memory), self._objects(to.memory)
        root, _ = load_root(self._traffic(place), snapshot)
        try:
            with _held(_store(to.memory)):
                here.share([held.blob.key for held in root.blobs], there)
                here.share([snapshot_key(snapshot)], there)
        except ObjectMissing as error:
            raise SnapshotDamaged(f"a part of a snapshot is gone: {error}") from error

    def fork(self, place: Place, snapshot: str | None, to: Place, stop: Event) -> Restored:
        if snapshot is not None:
            self.lend(place, snapshot, to)
        return Restore(self._traffic(to), to, stop, self._caps.files, near=place, space=self._space).run(snapshot)

    def view(self, place: Place, snapshot: str | None, *, near: View | None = None) -> View:
        if snapshot is not None and not (_store(place.memory) / snapshot_key(snapshot)).exists():
            raise SnapshotDamaged(f"there is no snapshot {snapshot!r} of these files")
        return SnapshotView(self._traffic(place), snapshot, near=near)

    def forget(self, place: Place, keep: Collection[str], stop: Event, *, thorough: bool = False) -> int:
        if not _store(place.memory).is_dir():  # `_objects` would make the folder
            return 0
        objects, kept = self._objects(place.memory), len(set(keep))
        most = kept + kept // _EIGHTH if thorough else max(_FEW, _SLACK * kept)
        if len(list(objects.list("snapshots/"))) <= most:
            return 0
        try:
            with _held(_store(place.memory), alone=True):
                return self._forget(place, objects, keep, stop)
        except BlockingIOError:  # a save or lend into this store is running
            return 0

    def close(self) -> None:
        self._threads.close()

    def _forget(self, place: Place, objects: FolderObjects, keep: Collection[str], stop: Event) -> int:
        there = {found.key for found in objects.list("snapshots/")}
        kept = [name for name in keep if _key(name) in there]
        needed = needed_by(self._traffic(place), kept, stop, {})
        doomed = {found.key for found in _parts(objects)} - needed
        objects.delete(there - needed)  # first, so that no snapshot is left without its parts
        objects.delete(doomed)
        return len(there - needed)

    def _tidy(self, memory: Path, stop: Event) -> None:
        """Remove objects that no snapshot needs. Skipped while a save or lend runs here, which may need them soon. A
        failure leaves them for the next time."""
        store = _store(memory)
        with suppress(OSError, RoostError, Stopped):
            if store.is_dir():
                with _held(store, alone=True):
                    objects = self._objects(memory)
                    there = ["-".join(found.key.split("/")[1:]) for found in objects.list("snapshots/")]
                    needed = needed_by(Traffic(objects, self._threads), there, stop, {})
                    objects.delete({found.key for found in _parts(objects)} - needed)
            _half(memory).unlink(missing_ok=True)

    def _objects(self, memory: Path) -> FolderObjects:
        return FolderObjects.make(_store(memory), self._space)

    def _traffic(self, place: Place) -> Traffic:
        return Traffic(self._objects(place.memory), self._threads)


def _store(memory: Path) -> Path:
    return memory / "snapshots"


def _half(memory: Path) -> Path:
    """Return the path of a file that exists while a save is unfinished."""
    return memory.parent / _SAVING / memory.name


def _parts(objects: FolderObjects) -> Iterator[ObjectInfo]:
    return chain(objects.list("blobs/"), objects.list(UNFINISHED))


@contextmanager
def _held(store: Path, *, alone: bool = False) -> Generator[None]:
    """Lock the store, shared or (`alone`) exclusively. Raises `BlockingIOError` when others hold it, and `OSError`."""
    fd = os.open(store, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def _key(snapshot: str) -> str:
    with suppress(SnapshotDamaged):
        return snapshot_key(snapshot)
    return ""
