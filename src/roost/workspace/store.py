"""Snapshots in an object store: the portable method, which every machine can use."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from threading import Event

from roost.workspace.chunk_transfer import Jobs, Threads, Traffic
from roost.workspace.disk_room import Space
from roost.workspace.manifest import Item, SnapshotDamaged, snapshot_key, today
from roost.workspace.object_store import ObjectInfo, Objects
from roost.workspace.objects.folder import UNFINISHED
from roost.workspace.objects.owned import Owned
from roost.workspace.restore import Restore
from roost.workspace.save import Caps, Save
from roost.workspace.snapshot_contents import load_items, load_root
from roost.workspace.snapshots import GRACE_DAYS, Place, Restored, Saved, Stopped, Swept
from roost.workspace.views import SnapshotView, View

_DAY = 86_400.0


class ObjectSnapshots:
    """Implements `SharedSnapshots`. `owner`: the database whose sessions' files these are, so that no other database
    sweeps them. `clock`: seconds since 1970; the clocks of all nodes must agree within a day. `space`: disk reserve to
    respect where the workspaces are."""

    def __init__(
        self,
        objects: Objects,
        *,
        owner: str | None = None,
        caps: Caps | None = None,
        clock: Callable[[], float] = time.time,
        space: Space | None = None,
    ) -> None:
        self._objects = Owned(objects, owner)
        self._traffic = Traffic(self._objects, Threads())
        self._caps = caps or Caps()
        self._clock = clock
        self._space = space

    def prepare(self, place: Place) -> None:
        return None

    def save(self, place: Place, base: str | None, stop: Event) -> Saved:
        return Save(self._traffic, place, self._today, stop, self._caps).run(base)

    def restore(self, place: Place, snapshot: str | None, stop: Event, *, in_place: bool = False) -> Restored:
        cap, space = self._caps.files, self._space
        return Restore(self._traffic, place, stop, cap, in_place=in_place, space=space).run(snapshot)

    def lend(self, place: Place, snapshot: str, to: Place) -> None:
        return None

    def fork(self, place: Place, snapshot: str | None, to: Place, stop: Event) -> Restored:
        return Restore(self._traffic, to, stop, self._caps.files, near=place, space=self._space).run(snapshot)

    def view(self, place: Place, snapshot: str | None, *, near: View | None = None) -> View:
        return SnapshotView(self._traffic, snapshot, near=near)

    def forget(self, place: Place, keep: Collection[str], stop: Event, *, thorough: bool = False) -> int:
        return 0

    def items(self, snapshot: str) -> list[Item]:
        root, _ = load_root(self._traffic, snapshot)
        return load_items(self._traffic, root, Event())

    def sweep(self, keep: Mapping[str, str], stop: Event, *, dry: bool = False) -> Swept:
        self._objects.check()
        needed = needed_by(self._traffic, keep, stop, keep) | self._needed_by_new(stop)
        removed, kept = [0, 0], [0, 0]

        def doomed() -> Iterator[str]:
            for found, old in chain(self._aged("blobs/", "snapshots/"), self._unfinished()):
                if stop.is_set():
                    raise Stopped
                needless = old and found.key not in needed
                sums = removed if needless else kept
                sums[0] += 1
                sums[1] += found.size
                if needless:
                    yield found.key

        if dry:
            deque(doomed(), 0)
        else:
            self._objects.delete(doomed())
        return Swept(*removed, *kept)

    def close(self) -> None:
        self._traffic.threads.close()
        self._objects.close()

    def _needed_by_new(self, stop: Event) -> set[str]:
        """Return the keys needed by new snapshots, which stay: a snapshot that exists must be restorable."""
        new = (found.key.split("/") for found, old in self._aged("snapshots/") if not old)
        return needed_by(self._traffic, (f"{day}-{digest}" for _, day, digest in new), stop, None)

    def _aged(self, *prefixes: str) -> Iterator[tuple[ObjectInfo, bool]]:
        """Yield every object, and whether it is old: by the day of writing in its name, not by the store's clock."""
        latest = self._today() - GRACE_DAYS
        for prefix in prefixes:
            for found in self._objects.list(prefix):
                day = found.key.split("/")[1]
                yield found, day.isdecimal() and int(day) < latest

    def _unfinished(self) -> Iterator[tuple[ObjectInfo, bool]]:
        for found in self._objects.list(UNFINISHED):
            yield found, found.modified < self._clock() - GRACE_DAYS * _DAY

    def _today(self) -> int:
        return today(self._clock())


def needed_by(traffic: Traffic, snapshots: Iterable[str], stop: Event, whose: Mapping[str, str] | None) -> set[str]:
    """Return the keys of all objects of these snapshots. `whose` maps snapshots to their users, for the message of
    `SnapshotDamaged`; with None, incomplete snapshots are ignored."""
    needed: set[str] = set()

    def look(snapshot: str) -> int:
        try:
            root, _ = load_root(traffic, snapshot)
        except SnapshotDamaged as error:
            if whose is None:
                return 0
            raise SnapshotDamaged(f"{whose.get(snapshot, snapshot)}: {error}. Nothing is removed") from error
        needed.update(held.blob.key for held in root.blobs)
        needed.add(snapshot_key(snapshot))
        return 0

    with Jobs(traffic, stop) as jobs:
        for snapshot in snapshots:
            jobs.run(lambda snapshot=snapshot: look(snapshot))
    return needed
