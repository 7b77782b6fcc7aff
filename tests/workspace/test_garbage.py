"""Removing what nobody needs, while others save."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from threading import Event

import pytest

from roost.workspace.manifest import PIECE, SnapshotDamaged
from roost.workspace.objects import open_objects
from roost.workspace.store import ObjectSnapshots

from .machines import DAY, Machine, Machines, tree


class Clock:
    def __init__(self) -> None:
        self.now = 20_000 * DAY

    def __call__(self) -> float:
        return self.now


def test_garbage_is_removed_and_what_is_needed_stays(machines: Machines) -> None:
    clock = Clock()
    here, there = machines("here", clock=clock), machines("there", clock=clock)
    kept: list[tuple[str, dict[bytes, tuple[object, ...]]]] = []
    for number in range(6):
        clock.now += DAY
        here.write("always", "same" * 1000)
        here.write("changes", os.urandom(5000))
        if number == 3:
            here.write("large", os.urandom(PIECE + 1))
        if number == 4:
            (here.folder / "large").unlink()
        snapshot = here.save().snapshot
        assert snapshot is not None
        kept.append((snapshot, tree(here.folder)))
    clock.now += 10 * DAY
    keep = [kept[1], kept[5]]
    swept = there.snapshots.sweep({name: "a session" for name, _ in keep}, Event())
    assert swept.objects > 4
    assert swept.bytes > PIECE
    assert there.snapshots.sweep({name: "a session" for name, _ in keep}, Event()).objects == 0
    for name, files in keep:
        there.restore(name)
        assert tree(there.folder) == files
    here.write("changes", "and on")
    there.restore(here.save().snapshot)
    assert tree(there.folder) == tree(here.folder)
    with pytest.raises(SnapshotDamaged):
        machines("fresh").restore(kept[3][0])
    with pytest.raises(SnapshotDamaged, match="the fourth: a part of a snapshot is gone"):
        there.snapshots.sweep({kept[3][0]: "the fourth"}, Event())


def test_what_is_new_is_whole(machines: Machines) -> None:
    """A session may be forked from where nothing is named any more: what a sweep leaves for now, it leaves whole."""
    clock = Clock()
    here, there = machines("here", clock=clock), machines("there", clock=clock)
    here.write("old", os.urandom(5000))
    here.save()
    clock.now += 5 * DAY
    here.write("new", os.urandom(5000))
    passed, files = here.save().snapshot, tree(here.folder)
    here.write("old", os.urandom(5000))
    named = here.save().snapshot
    assert named is not None
    there.snapshots.sweep({named: "a session"}, Event())
    there.restore(passed)
    assert tree(there.folder) == files
    clock.now += 5 * DAY
    assert there.snapshots.sweep({named: "a session"}, Event()).objects > 0
    with pytest.raises(SnapshotDamaged):
        machines("fresh").restore(passed)


def test_a_sweep_never_takes_what_is_being_saved(here: Machine, tmp_path: Path, store_folder: str) -> None:
    """The saver's snapshot is not in `keep`: it was not committed when that was put together. Nor does it help that the
    same bytes are garbage of long ago."""
    clock = Clock()
    here = Machine(tmp_path / "saver", store_folder, clock=clock)
    here.write("f", "the same bytes")
    here.save()
    clock.now += 30 * DAY
    sweeper = ObjectSnapshots(open_objects(store_folder), clock=clock)
    again = Machine(tmp_path / "again", store_folder, clock=clock)
    again.write("f", "the same bytes")
    done = Event()
    swept: list[int] = []

    def sweep() -> None:
        while not done.is_set():
            swept.append(sweeper.sweep({}, Event()).objects)

    thread = threading.Thread(target=sweep)
    thread.start()
    snapshot = again.save().snapshot
    done.set()
    thread.join()
    assert sweeper.sweep({}, Event()).objects + sum(swept) == 3
    there = Machine(tmp_path / "there", store_folder)
    there.restore(snapshot)
    assert (there.folder / "f").read_text() == "the same bytes"
