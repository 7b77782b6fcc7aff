"""Synchronize private files with their session: fetch before it works, save before its calls' outcomes commit.

Blocking work runs in threads of its own, a few at once for the whole node.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TypeVar, cast

from roost.workspace.cow.portable import PortableSnapshots
from roost.workspace.file_cache import Owner, boot, read_owner, write_owner
from roost.workspace.manifest import SnapshotDamaged
from roost.workspace.object_store import ObjectsFailed, full, is_full
from roost.workspace.owners import Owners
from roost.workspace.snapshots import Place, Saved, Snapshots, Stopped

T = TypeVar("T")
_AT_ONCE = 4
_PAUSE = 0.2


class SnapshotSync:
    """The file synchronization of one node.

    `patience`: seconds for retries of a failed save, while a call's outcome waits for it. `home`: the snapshots belong
    to this home alone, for rollbacks, and the files never move to another node. `owners`: the users of workspaces,
    where the daemon is root. `close` stops all running work; the next owner of a session repeats it."""

    def __init__(self, snapshots: Snapshots, *, home: bool = False, owners: Owners | None = None) -> None:
        self.snapshots = snapshots
        self.home = home
        self.owners = owners
        self.prepares = not isinstance(snapshots, PortableSnapshots)
        self.patience = 8.0
        self.pool = ThreadPoolExecutor(_AT_ONCE, "roost-files")
        self.stops: set[Event] = set()

    def folder(self, place: Place) -> SyncedFolder:
        return SyncedFolder(self, place)

    def close(self) -> None:
        for stop in list(self.stops):
            stop.set()
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.snapshots.close()


class SyncedFolder:
    """The files of one session in memory. Its driver calls the coroutines, one at a time; cancelled, they stop soon.

    `ready`: `wake` has returned. `dirty`: a call may have written something that is not saved yet.
    """

    def __init__(self, carrier: SnapshotSync, place: Place) -> None:
        self._carrier = carrier
        self._place = place
        self._running: asyncio.Future[object] | None = None
        self._owner = Owner(0, 0.0, "")
        self._stamped = False
        self._made_from: str | None = None
        """The snapshot that the folder was restored from, until one is saved on top of it."""
        self.ready = False
        self.dirty = False

    @property
    def home(self) -> bool:
        return self._carrier.home

    @property
    def there(self) -> bool:
        """True when `wake` would not change the folder."""
        return self.ready or (self.home and not self._carrier.prepares)

    async def wake(self, born: float, epoch: int, saved: str | None, *, unsaved: bool) -> bool:
        """Prepare the folder before the session, created at `born`, works here in a new `epoch`. Restores the snapshot
        `saved` unless the folder is as its last owner left it. `unsaved`: the last owner could not save everything.
        Returns whether such files are lost. Raises `ObjectsFailed`, and `SnapshotDamaged`."""
        self._owner = Owner(epoch, born, boot())
        if self.home:
            if self._carrier.prepares:
                await self._work(lambda stop: self._put(lambda: self._carrier.snapshots.prepare(self._place)))
            self.ready = True
            return False
        lost = await self._work(lambda stop: self._wake(saved, unsaved, stop))
        self.ready = True
        return lost

    async def rested(self, born: float, epoch: int, *, unsaved: bool) -> None:
        """Call instead of `wake` when the session needed no files in this `epoch`: marks a folder that is as its last
        owner left it as still so. Raises `ObjectsFailed`."""
        self._owner = Owner(epoch, born, boot())
        if not self.home:
            await self._work(lambda stop: self._pass_on(unsaved))

    async def working(self) -> None:
        """Call before a call that may write."""
        self.dirty = True
        if not self._stamped and not self.home:
            with contextlib.suppress(ObjectsFailed):  # without the stamp, a crash restores the last snapshot
                await self._work(lambda stop: self._stamp())

    async def save(self, base: str | None, *, patient: bool) -> Saved:
        """Save the current files on top of the log's last snapshot. `patient`: retry for some seconds. Raises
        `ObjectsFailed`, `TooLarge`."""
        until = time.monotonic() + (self._carrier.patience if patient else 0.0)
        pause = _PAUSE
        while True:
            try:
                saved = await self._work(lambda stop: self._save(base or self._made_from, stop))
            except ObjectsFailed:
                if time.monotonic() + pause > until:
                    raise
                await asyncio.sleep(pause)
                pause *= 2
            else:
                self._made_from = None
                self.dirty = False
                return saved

    async def go_back(self, snapshot: str | None, *, of: str | None = None) -> None:
        """Restore the snapshot in place, None for no file. When interrupted, it must be repeated before any process
        works there. `of`: the session in the same home that has the snapshot. Raises `ObjectsFailed`, and
        `SnapshotDamaged`."""
        await self._work(lambda stop: self._go_back(snapshot, of, stop))
        self._made_from = snapshot if self.home else None  # in a shared store only the log says which stay
        self.dirty = False

    async def borrow(self, snapshot: str, of: str) -> bool:
        """Pin a snapshot of session `of` in the same home for this session too. False when it does not exist any more.
        Raises `ObjectsFailed`."""
        try:
            await self._work(lambda stop: self._carrier.snapshots.lend(self._place.beside(of), snapshot, self._place))
        except SnapshotDamaged:
            return False
        return True

    async def forget(self, keep: Collection[str], *, thorough: bool = False) -> None:
        """Allow removal of all but these, as `Snapshots.forget` does. A failure leaves them for the next time."""
        snapshots = self._carrier.snapshots
        with contextlib.suppress(ObjectsFailed, SnapshotDamaged):
            await self._work(lambda stop: snapshots.forget(self._place, keep, stop, thorough=thorough))

    async def unsaved(self) -> None:
        """Record durably, even over a loss of power, that the folder holds unsaved files."""
        await self._work(lambda stop: self._stamp(sync=True))

    # In a thread

    def _put(self, work: Callable[[], object]) -> None:
        """Run work that puts files into the folder, and give them to the owner even when it is interrupted."""
        try:
            work()
        finally:
            if self._carrier.owners is not None:
                self._carrier.owners.settle(self._place.folder)

    def _go_back(self, snapshot: str | None, of: str | None, stop: Event) -> None:
        snapshots, place = self._carrier.snapshots, self._place
        if of is None:
            self._put(lambda: snapshots.restore(place, snapshot, stop, in_place=True))
        else:
            self._put(lambda: snapshots.fork(place.beside(of), snapshot, place, stop))

    def _wake(self, saved: str | None, unsaved: bool, stop: Event) -> bool:
        place, owner = self._place, read_owner(self._place.memory)
        there = place.folder.is_dir()
        if owner is None and saved is None:  # files, if any, are from a version that did not save them
            lost = unsaved
        elif owner is not None and self._follows(owner) and (there or saved is None):
            lost = False
            if owner.boot != boot() and not unsaved:  # after a reboot the disk may be behind the log
                self._put(lambda: self._carrier.snapshots.restore(place, saved, stop))
        else:
            self._put(lambda: self._carrier.snapshots.restore(place, saved, stop))
            lost = unsaved
        if there or saved is not None:
            self._stamp()
        return lost

    def _save(self, base: str | None, stop: Event) -> Saved:
        try:
            return self._carrier.snapshots.save(self._place, base, stop)
        except SnapshotDamaged:  # the base is gone: save everything again
            return self._carrier.snapshots.save(self._place, None, stop)

    def _stamp(self, *, sync: bool = False) -> None:
        """Record the owner, unless the folder has a newer one, which this one must not overwrite."""
        owner = read_owner(self._place.memory)
        if owner is None or owner.born != self._owner.born or owner.epoch <= self._owner.epoch:
            write_owner(self._place.memory, self._owner, sync=sync)
        self._stamped = True

    def _pass_on(self, unsaved: bool) -> None:
        """Record the new epoch with the old boot: writes not synced before that boot's end may be lost."""
        owner = read_owner(self._place.memory)
        if owner is not None and self._follows(owner):
            write_owner(self._place.memory, Owner(self._owner.epoch, owner.born, owner.boot), sync=unsaved)

    def _follows(self, owner: Owner) -> bool:
        """True when the session had no owner between that one and this."""
        return (owner.born, owner.epoch) == (self._owner.born, self._owner.epoch - 1)

    async def _work(self, work: Callable[[Event], T]) -> T:
        """Run work in a thread, after the work of a cancelled call has ended there."""
        while self._running is not None and not self._running.done():
            await asyncio.wait([self._running])
        stop = Event()
        self._carrier.stops.add(stop)
        try:
            task = asyncio.get_running_loop().run_in_executor(self._carrier.pool, work, stop)
        except RuntimeError as error:  # the node is going down
            raise ObjectsFailed("the node saves no more files: it stops") from error
        self._running = cast("asyncio.Future[object]", task)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        task.add_done_callback(lambda _: self._carrier.stops.discard(stop))
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            stop.set()
            raise
        try:
            return task.result()
        except OSError as error:
            if is_full(error):
                raise full("the session's files cannot be kept or put back here") from error
            raise ObjectsFailed(f"the session's files cannot be read or written here: {error}") from error
        except (Stopped, asyncio.CancelledError) as error:
            raise ObjectsFailed("the node saves no more files: it stops") from error
