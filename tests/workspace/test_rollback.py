"""Going back, by every means: the contract, on the stores that this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.sandbox.disk_reserve import DiskReserve, free_of
from roost.testing.snapshots import STOP, Places, SnapshotsContract, furnish, tree, write
from roost.workspace.atomic_swap import remove_tree
from roost.workspace.cow.portable import PortableSnapshots
from roost.workspace.cow.probe import choose, probe
from roost.workspace.cow.subvolumes import SubvolumeSnapshots
from roost.workspace.disk_room import Space
from roost.workspace.object_store import ObjectsFailed
from roost.workspace.objects import open_objects
from roost.workspace.snapshots import Place, Snapshots
from roost.workspace.store import ObjectSnapshots


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return lambda name: Place(tmp_path / "workspaces" / name, tmp_path / "memory" / name)


class TestPortable(SnapshotsContract):
    @pytest.fixture
    def snapshots(self) -> Iterator[Snapshots]:
        made = PortableSnapshots()
        yield made
        made.close()


class TestShared(SnapshotsContract):
    @pytest.fixture
    def snapshots(self, store_url: str) -> Iterator[Snapshots]:
        made = ObjectSnapshots(open_objects(store_url))
        yield made
        made.close()


@pytest.fixture(scope="module")
def btrfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system with subvolumes."""
    if os.geteuid() != 0 or shutil.which("mkfs.btrfs") is None:
        pytest.skip("mounting a btrfs of our own needs root and btrfs-progs")
    base = tmp_path_factory.mktemp("btrfs")
    image, where = base / "image", base / "mount"
    where.mkdir()
    with image.open("wb") as file:
        file.truncate(300_000_000)
    subprocess.run(["mkfs.btrfs", "-q", str(image)], check=True, capture_output=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(where)], check=False, capture_output=True).returncode:
        pytest.skip("this machine mounts no loop devices")
    yield where
    subprocess.run(["umount", str(where)], check=True)


class TestSubvolumes(SnapshotsContract):
    @pytest.fixture
    def places(self, btrfs: Path, tmp_path: Path) -> Iterator[Places]:
        base = btrfs / tmp_path.name
        yield lambda name: Place(base / "workspaces" / name, base / "memory" / name)
        remove_tree(base)
        assert not base.exists()

    @pytest.fixture
    def snapshots(self) -> Snapshots:
        return SubvolumeSnapshots()

    def test_a_plain_folder_becomes_one(self, snapshots: Snapshots, places: Places) -> None:
        place = places("here")
        furnish(place)
        before = tree(place.folder)
        first = snapshots.save(place, None, STOP).snapshot
        assert tree(place.folder) == before
        inode = place.folder.stat().st_ino
        snapshots.restore(place, first, STOP)
        assert (tree(place.folder), place.folder.stat().st_ino) == (before, inode)

    def test_what_is_kept_leaves_room_for_the_log(self, btrfs: Path, places: Places) -> None:
        snapshots, place = SubvolumeSnapshots(space=Space(DiskReserve(btrfs, 2**40))), places("one")
        large = write(place, "large", os.urandom(20_000_000))
        first = snapshots.save(place, None, STOP).snapshot
        assert first is not None
        filler = btrfs / "filler"
        try:
            with filler.open("wb") as file:
                free = free_of(btrfs)
                assert free is not None
                os.posix_fallocate(file.fileno(), 0, free.bytes - free.total // 16 + 500_000)
            subprocess.run(sync := ["sync", "-f", str(btrfs)], check=True)  # only then it counts
            write(place, "new", "1")
            for work in (lambda: snapshots.save(place, first, STOP), lambda: snapshots.lend(place, first, places("t"))):
                with pytest.raises(ObjectsFailed, match="the disk is full"):
                    work()
            assert [one.name for one in (place.memory / "points").iterdir()] == [first]
            before = tree(place.folder)
            large.unlink()
            snapshots.restore(place, first, STOP, in_place=True)  # whose blocks are there
            assert tree(place.folder) == {path: one for path, one in before.items() if path != b"/new"}
        finally:
            filler.unlink()
        subprocess.run(sync, check=True)
        assert snapshots.save(place, None, STOP).snapshot != first

    def test_it_is_chosen_where_it_works(self, btrfs: Path, tmp_path: Path) -> None:
        assert isinstance(choose(btrfs / "workspaces"), SubvolumeSnapshots)
        assert (probe(btrfs / "workspaces").name, probe(btrfs / "workspaces").clones) == ("btrfs subvolumes", None)
        assert os.listdir(btrfs / "workspaces") == []


def test_the_probe_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    found = probe(tmp_path / "workspaces")
    assert "namespace" in found.overlay
    assert os.listdir(tmp_path / "workspaces") == []
    if found.subvolumes is not None:
        assert found.name == "portable"
        assert isinstance(choose(tmp_path / "workspaces"), PortableSnapshots)


_PUT_BACK = """
import sys
from pathlib import Path
from threading import Event
from roost.workspace.cow.portable import PortableSnapshots
from roost.workspace.cow.subvolumes import SubvolumeSnapshots
from roost.workspace.snapshots import Place
kind, folder, memory, snapshot = sys.argv[1:]
snapshots = PortableSnapshots() if kind == "portable" else SubvolumeSnapshots()
print("go", flush=True)
snapshots.restore(Place(Path(folder), Path(memory)), snapshot, Event(), in_place=True)
print("done", flush=True)
"""


@pytest.mark.parametrize("kind", ["portable", "subvolumes"])
def test_killed_while_it_puts_back(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Wherever it dies, doing it again makes it whole."""
    snapshots = PortableSnapshots() if kind == "portable" else SubvolumeSnapshots()
    base = tmp_path if kind == "portable" else request.getfixturevalue("btrfs") / "killed"
    place = Place(base / "workspaces/s", base / "memory/s")
    for number in range(300):
        write(place, f"d{number % 20}/f{number}", os.urandom(200))
    before = tree(place.folder)
    snapshot = snapshots.save(place, None, STOP).snapshot
    assert snapshot is not None
    arguments = [sys.executable, "-c", _PUT_BACK, kind, str(place.folder), str(place.memory), snapshot]
    for moment in range(8):
        for number in range(150):
            write(place, f"d{number % 20}/f{number}", b"changed")
            write(place, f"new{number % 7}/f{number}", b"new")
        with subprocess.Popen(arguments, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"go\n"
            time.sleep(moment * 0.006)
            child.kill()
        snapshots.restore(place, snapshot, STOP, in_place=True)
        assert tree(place.folder) == before
        assert os.listdir(place.folder.parent / ".moving") == []
    snapshots.close()
    if kind == "subvolumes":
        remove_tree(base)
