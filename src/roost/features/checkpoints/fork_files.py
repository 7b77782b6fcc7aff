"""Pin the source's snapshots for a fork before the fork is committed, so that its files are its own from that commit
on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from typing import cast

from roost.agent.state import State
from roost.errors import Conflict, NotFound, StoreCorrupt
from roost.features.checkpoints.state import NOT_KEPT, OLDER, CheckpointState, Files
from roost.features.snapshots.state import SnapshotState
from roost.kernel.peers import Peers
from roost.kernel.placement import NodeLocation, home_of
from roost.kernel.resources import ResourceFactory
from roost.kernel.state_loader import load_state
from roost.log.session_info import SessionInfo
from roost.log.store import Store
from roost.workspace.manifest import SnapshotDamaged, day_of, today
from roost.workspace.snapshots import SharedSnapshots

_SAFE_DAYS = 1
"""Most days since an unnamed snapshot was made for it to be used: less than `GRACE_DAYS`, within which no sweep removes
any part of it."""


class ForkFiles:
    """Pin files for forks, at this home or by asking a node of the home that has them. peers: None asks nobody."""

    def __init__(self, store: Store, resources: ResourceFactory, place: NodeLocation, peers: Peers | None) -> None:
        self._store, self._resources = store, resources
        self._place, self._peers = place, peers

    async def hold(self, source: SessionInfo, now: State, files: Files, position: int, fork: str) -> Files:
        """Pin the files that a fork of `source` (state `now`) at `position` begins with: `files`, or those of the
        newest earlier checkpoint that still exist. If a crash prevents the fork, its remains are cleaned up like those
        of a deleted session. Raises `Conflict`, `ObjectsFailed`, `StoreFailed`."""
        if not files.files:
            return files
        for one in _choices(now, files, position):
            try:
                if files.files_in == "home":
                    await self._lend(source, now, one.files or "", fork)
                elif one.files not in _named(now):
                    await self._see(one.files or "")
            except SnapshotDamaged:
                continue
            return one
        return Files(why_not=NOT_KEPT)

    async def is_held(self, source: SessionInfo, then: State, files: Files, fork: str) -> bool:
        """Return whether a fork just committed, with state `then`, has its files. In a shared snapshot store the source
        still names them, so any sweep sees them by the source or by the fork."""
        try:
            if files.files_in == "home" and files.files:
                await self._lend(source, then, files.files, fork)
                return True
            needed = _named(then) - {None, ""}
            return not needed or needed <= _named(await load_state(self._store, source.id)) | _young(needed)
        except SnapshotDamaged:
            return False
        except NotFound:  # deleted: nothing to compare with
            return True

    async def pass_on(self, session: str) -> None:
        """Pin the snapshots that a deleted session's forks can go back to, before its files are removed from this home.
        Idempotent after a crash. Raises `StoreFailed`, `ObjectsFailed`, `UnknownEvent`."""
        resources = self._resources
        for heir in await asyncio.to_thread(resources.heirs, session):
            try:
                checkpoints = (await load_state(self._store, heir)).part(CheckpointState).checkpoints
            except (NotFound, StoreCorrupt):
                continue
            for one in checkpoints:
                if one.files and one.files_in == "home" and one.of is not None:
                    with contextlib.suppress(SnapshotDamaged):  # another session's, never this one's
                        await asyncio.to_thread(resources.lend, session, one.files, heir)
                    if one.of != session:
                        await asyncio.to_thread(resources.note_heir, one.of, heir)

    async def _see(self, snapshot: str) -> None:
        """Check that a snapshot without a checkpoint still exists: a sweep may have removed it, or be removing it.
        Raises `SnapshotDamaged`."""
        carrier = self._resources.carrier
        if carrier is None:
            return
        if not _young({snapshot}):
            raise SnapshotDamaged(f"nothing keeps the snapshot {snapshot!r}")
        await asyncio.to_thread(cast("SharedSnapshots", carrier.snapshots).items, snapshot)

    async def _lend(self, source: SessionInfo, now: State, snapshot: str, fork: str) -> None:
        """Pin a snapshot for the fork. Raises `SnapshotDamaged` when no session that may have it has it."""
        holders = [source.id, *now.part(CheckpointState).holders(snapshot)]
        home = home_of(source.needs) or self._place.home
        for place, holder in enumerate(holders):
            try:
                if home == self._place.home:
                    await asyncio.to_thread(self._resources.lend, holder, snapshot, fork)
                else:
                    await self._lend_there(home, holder, snapshot, fork)
            except SnapshotDamaged:
                if place == len(holders) - 1:
                    raise
            else:
                return

    async def _lend_there(self, home: str, holder: str, snapshot: str, fork: str) -> None:
        """Ask a node of the home that has the files. Raises `Conflict` when none answers."""
        for other in await self._store.dispatch.nodes() if self._peers is not None else ():
            if other.alive and other.card.home == home and self._peers is not None:
                lent = await self._peers.lend(other, holder, snapshot, fork)
                if lent is None:
                    continue
                if not lent:
                    raise SnapshotDamaged(f"session {holder!r} has no snapshot {snapshot!r} any more")
                return
        raise Conflict(
            f"the private files of session {holder!r} are at another home ({home}), and no node there could be asked to"
            " keep them for the fork: start one there (with --advertise, on another machine), or fork there",
            code="files_elsewhere",
        )


def _choices(now: State, files: Files, position: int) -> Iterator[Files]:
    yield files
    for one in reversed(now.part(CheckpointState).checkpoints):
        if one.seq <= position and one.files and one.files_in == files.files_in and one.files != files.files:
            yield Files(one.files, one.files_in, OLDER)


def _named(now: State) -> set[str | None]:
    checkpoints = now.part(CheckpointState).checkpoints
    return {now.part(SnapshotState).saved, *(one.files for one in checkpoints if one.files_in == "store")}


def _young(snapshots: set[str | None]) -> set[str | None]:
    return {one for one in snapshots if one is not None and day_of(one) >= today(time.time()) - _SAFE_DAYS}
