"""A fork's files, in a home that copies: what it was lent is its own, nothing is kept twice, and what is known is not
read."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from roost.sandbox.disk_reserve import DiskReserve
from roost.testing.snapshots import SETTLED, STOP, tree, write
from roost.workspace.cow.portable import PortableSnapshots
from roost.workspace.disk_room import Space
from roost.workspace.file_cache import glance
from roost.workspace.object_store import ObjectsFailed
from roost.workspace.scan import scan
from roost.workspace.snapshot_sync import SnapshotSync
from roost.workspace.snapshots import Place, Stopped
from tests.disks import disk_of

FILES = 600
LARGE = 17 * 1024**2


@pytest.fixture
def portable() -> Iterator[PortableSnapshots]:
    made = PortableSnapshots()
    yield made
    made.close()


def furnished(base: Path) -> Place:
    place = Place(base / "workspaces" / "one", base / "memory" / "one")
    for number in range(FILES):
        write(place, f"d{number % 7}/f{number}", str(number) * 9)
    write(place, "large", b"x" * LARGE)
    time.sleep(SETTLED)
    return place


@pytest.fixture
def one(tmp_path: Path) -> Place:
    return furnished(tmp_path)


def parts(place: Place) -> set[tuple[str, int]]:
    """Every file of the store, and which it is."""
    return {(one.name, one.stat().st_ino) for one in (place.memory / "snapshots").rglob("*") if one.is_file()}


async def test_what_a_fork_keeps_first_is_what_it_was_lent(one: Place) -> None:
    carrier = SnapshotSync(PortableSnapshots(), home=True)
    try:
        first = carrier.snapshots.save(one, None, STOP).snapshot
        two = one.beside("two")
        files = carrier.folder(two)
        await files.go_back(first, of="one")
        lent = parts(two)
        saved = await files.save(None, patient=False)
        assert (saved.snapshot, saved.written) == (first, 0)
        assert parts(two) == lent
        await files.go_back(first)
        write(two, "d1/f1", "changed")
        saved = await files.save(None, patient=False)
        assert saved.snapshot not in (None, first)
        assert lent < parts(two)
        assert saved.written < 100_000
    finally:
        carrier.close()


def test_a_fork_knows_its_files(portable: PortableSnapshots, one: Place) -> None:
    first = portable.save(one, None, STOP).snapshot
    write(one, "d2/f2", "changed since, and longer")
    (one.folder / "d3/f3").unlink()
    two = one.beside("two")
    restored = portable.fork(one, first, two, STOP)
    assert restored.fetched == FILES + 1
    assert (two.folder / "d2/f2").read_text() == "2" * 9
    assert (two.folder / "d3/f3").read_text() == "3" * 9
    portable.restore(one, first, STOP)
    assert tree(two.folder) == tree(one.folder)
    three = one.beside("three")
    portable.fork(one, first, three, STOP)
    assert glance(three.memory, first, scan(three.folder, files=10_000).found) is not None


def test_a_fork_that_is_stopped_or_has_no_room_leaves_nothing() -> None:
    with disk_of("size=64m") as disk:
        one = furnished(disk)
        tight = PortableSnapshots(space=Space(DiskReserve(disk, 4 * 1024**2)))
        try:
            first = tight.save(one, None, STOP).snapshot
            two = one.beside("two")
            (stop := Event()).set()
            with pytest.raises(Stopped):
                tight.fork(one, first, two, stop)
            with (disk / "filler").open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, 36 * 1024**2)
            with pytest.raises(ObjectsFailed, match="the disk is full"):
                tight.fork(one, first, two, STOP)
            assert not two.folder.exists()
            assert not (disk / "workspaces/.moving/two.new").exists()
            (disk / "filler").unlink()
            tight.fork(one, first, two, STOP)
            assert tree(two.folder) == tree(one.folder)
        finally:
            tight.close()
