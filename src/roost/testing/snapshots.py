"""Conformance suite of `Snapshots`. Every way to save a workspace's states must pass it.

    class TestMine(SnapshotsContract):
        @pytest.fixture
        def snapshots(self): return MySnapshots(...)
        @pytest.fixture
        def places(self, tmp_path): return lambda name: Place(tmp_path / name, tmp_path / "memory" / name)

`places` makes places by name; none of them exists yet.
"""

from __future__ import annotations

import os
import random
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from roost.workspace.manifest import SnapshotDamaged
from roost.workspace.snapshots import Place, Snapshots, Stopped
from roost.workspace.tree_diff import compare
from roost.workspace.views import FolderView

STOP = Event()
SETTLED = 0.05
"""Seconds after which a file's times identify its content."""
_IMAGE = 2 * 1024**3
_NO_NEWLINE = "\n\\ No newline at end of file\n"
_DATA_AT = 700 * 1024**2 + 8192
Places = Callable[[str], Place]


def tree(folder: Path) -> dict[bytes, tuple[object, ...]]:
    """Return everything that a snapshot promises to keep."""
    found: dict[bytes, tuple[object, ...]] = {}
    top = os.fsencode(folder)
    for parent, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(parent, name)
            status = os.lstat(path)
            mode = stat.S_IMODE(status.st_mode) & 0o777
            if stat.S_ISLNK(status.st_mode):
                found[path[len(top) :]] = ("link", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                found[path[len(top) :]] = ("folder", mode)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    found[path[len(top) :]] = ("file", mode, status.st_mtime_ns, file.read())
    return found


def on_disk(path: Path) -> int:
    """Return the bytes of disk that a file, or a folder with all in it, takes."""
    found = [path, *(path.rglob("*") if path.is_dir() else ())]
    return sum(os.lstat(one).st_blocks * 512 for one in found)


def write(place: Place, path: str, data: bytes | str) -> Path:
    file = place.folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return file


def furnish(place: Place) -> None:
    """Make one file of each kind."""
    write(place, "readme", "hello")
    write(place, "deep/er/file", "text\n" * 1000)
    write(place, "empty", "")
    write(place, "run.sh", "#!/bin/sh\n").chmod(0o755)
    write(place, "secret", "x").chmod(0o400)
    (place.folder / "nothing/in/here").mkdir(parents=True)
    write(place, "closed/file", "x")
    (place.folder / "closed").chmod(0o500)
    (place.folder / "link").symlink_to("deep/er")
    (place.folder / "broken").symlink_to("/nowhere/at/all")
    with open(os.fsencode(place.folder) + b"/\xff\xfe not utf-8 \n", "wb") as file:
        file.write(b"odd name")


def _upset(place: Place) -> None:
    """Change the files in every way that a command can."""
    (place.folder / "closed").chmod(0o700)
    (place.folder / "closed/file").unlink()
    (place.folder / "closed").rmdir()
    (place.folder / "deep").rename(place.folder / "moved")
    (place.folder / "readme").unlink()
    (place.folder / "readme").mkdir()
    (place.folder / "link").unlink()
    write(place, "link", "a file now")
    (place.folder / "run.sh").chmod(0o600)
    write(place, "new/one", "new")
    (place.folder / "new").chmod(0o500)


class SnapshotsContract:
    @pytest.fixture
    def place(self, places: Places) -> Place:
        return places("here")

    @pytest.mark.parametrize("in_place", [False, True])
    def test_all_is_put_back(self, snapshots: Snapshots, place: Place, in_place: bool) -> None:
        furnish(place)
        before = tree(place.folder)
        first = snapshots.save(place, None, STOP).snapshot
        _upset(place)
        after = tree(place.folder)
        second = snapshots.save(place, first, STOP).snapshot
        for _ in range(2):
            snapshots.restore(place, first, STOP, in_place=in_place)
            assert tree(place.folder) == before
            snapshots.restore(place, second, STOP, in_place=in_place)
            assert tree(place.folder) == after

    def test_a_sparse_file_stays_sparse(self, snapshots: Snapshots, places: Places) -> None:
        one, two = places("one"), places("two")
        path = write(one, "image", "")
        with path.open("r+b") as file:
            file.truncate(_IMAGE)
            file.seek(_DATA_AT)
            file.write(b"d" * 4096)
        write(one, "zeros", bytes(5 * 1024**2) + b"end")
        first = snapshots.save(one, None, STOP).snapshot
        before = path.stat().st_mtime_ns
        for name in ("image", "zeros"):
            (one.folder / name).unlink()
        snapshots.restore(one, first, STOP, in_place=True)
        time.sleep(SETTLED)
        again = snapshots.save(one, first, STOP).snapshot
        snapshots.fork(one, first, two, STOP)
        assert again is not None
        for place in (one, two):
            there = (place.folder / "image").stat()
            assert (there.st_size, there.st_mtime_ns) == (_IMAGE, before)
            with (place.folder / "image").open("rb") as file:
                file.seek(_DATA_AT - 1)
                assert file.read(4098) == b"\0" + b"d" * 4096 + b"\0"
            assert (place.folder / "zeros").read_bytes() == bytes(5 * 1024**2) + b"end"
            assert on_disk(place.folder / "image") <= 128 * 1024
            assert on_disk(place.memory) <= 16 * 1024**2

    def test_a_view_tells_what_changed(self, snapshots: Snapshots, place: Place) -> None:
        furnish(place)
        first = snapshots.save(place, None, STOP).snapshot
        _upset(place)
        second = snapshots.save(place, first, STOP).snapshot
        folder = FolderView(place.folder, files=1000)
        views = [snapshots.view(place, one) for one in (None, first, second)]
        nothing, before, after = views
        assert before.read(b"deep/er/file") == b"text\n" * 1000
        for now in (after, folder):
            found = {one.path: one for one in compare(before, now).changes}
            assert {path for path, one in found.items() if one.change == "removed"} == {"closed/file", "deep/er/file"}
            assert {path for path, one in found.items() if one.change == "added"} == {"moved/er/file", "new/one"}
            assert {"readme", "link", "run.sh"} <= {path for path, one in found.items() if one.change == "changed"}
            assert found["new/one"].diff == "--- /dev/null\n+++ b/new/one\n@@ -0,0 +1 @@\n+new" + _NO_NEWLINE
            assert found["run.sh"].diff is None
        assert compare(after, folder).changes == []
        assert compare(nothing, after).added == compare(nothing, folder).added == compare(after, nothing).removed
        for view in (*views, folder):
            view.close()
        with pytest.raises(SnapshotDamaged):
            snapshots.view(place, "nonsense")

    def test_preparing_keeps_what_is_there(self, snapshots: Snapshots, place: Place) -> None:
        snapshots.prepare(place)
        furnish(place)
        before = tree(place.folder)
        snapshots.prepare(place)
        assert tree(place.folder) == before

    def test_nothing_there_is_no_snapshot(self, snapshots: Snapshots, place: Place) -> None:
        assert snapshots.save(place, None, STOP).snapshot is None
        snapshots.restore(place, None, STOP)
        write(place, "a", "1")
        snapshots.restore(place, None, STOP)
        assert tree(place.folder) == {}

    def test_nothing_changed_is_the_same_snapshot(self, snapshots: Snapshots, place: Place) -> None:
        furnish(place)
        first = snapshots.save(place, None, STOP)
        assert first.snapshot is not None
        for pause in (0.0, SETTLED, 0.0):
            time.sleep(pause)
            assert snapshots.save(place, first.snapshot, STOP).snapshot == first.snapshot
        write(place, "readme", "hello!")
        assert snapshots.save(place, first.snapshot, STOP).snapshot != first.snapshot

    def test_what_is_written_in_place_does_not_reach_the_snapshot(self, snapshots: Snapshots, place: Place) -> None:
        path = write(place, "data", "a" * 100_000)
        with path.open("r+b") as file:
            first = snapshots.save(place, None, STOP).snapshot
            file.write(b"b" * 1000)
            file.flush()
            snapshots.restore(place, first, STOP, in_place=True)
        assert (place.folder / "data").read_text() == "a" * 100_000

    def test_in_place_the_folder_stays(self, snapshots: Snapshots, place: Place) -> None:
        furnish(place)
        first = snapshots.save(place, None, STOP).snapshot
        before = place.folder.stat().st_ino
        fd = os.open(place.folder, os.O_RDONLY)
        try:
            _upset(place)
            snapshots.restore(place, first, STOP, in_place=True)
            for name in os.listdir(place.folder):
                assert os.lstat(name, dir_fd=fd).st_ino == os.lstat(place.folder / name).st_ino
        finally:
            os.close(fd)
        assert place.folder.stat().st_ino == before

    def test_a_fork_is_its_own(self, snapshots: Snapshots, places: Places) -> None:
        one, two = places("one"), places("two")
        furnish(one)
        before = tree(one.folder)
        time.sleep(SETTLED)
        first = snapshots.save(one, None, STOP).snapshot
        write(one, "deep/er/file", "changed since")
        snapshots.fork(one, first, two, STOP)
        assert tree(two.folder) == before
        write(two, "readme", "theirs")
        second = snapshots.save(two, first, STOP).snapshot
        assert (one.folder / "readme").read_text() == "hello"
        snapshots.forget(one, [], STOP)
        write(two, "readme", "theirs again")
        snapshots.restore(two, second, STOP)
        assert (two.folder / "readme").read_text() == "theirs"
        snapshots.restore(two, first, STOP)
        assert tree(two.folder) == before
        assert (one.folder / "deep/er/file").read_text() == "changed since"

    def test_a_fork_of_nothing(self, snapshots: Snapshots, places: Places) -> None:
        snapshots.fork(places("one"), None, places("two"), STOP)
        assert tree(places("two").folder) == {}

    def test_what_is_kept_stays(self, snapshots: Snapshots, place: Place) -> None:
        base, made, trees = None, list[str](), list[object]()
        for number in range(24):
            write(place, f"f{number % 5}", os.urandom(100))
            write(place, "n", str(number))
            base = snapshots.save(place, base, STOP).snapshot
            assert base is not None
            made.append(base)
            trees.append(tree(place.folder))
            snapshots.forget(place, made[-3:], STOP)
        for snapshot, was in list(zip(made, trees, strict=True))[-3:]:
            snapshots.restore(place, snapshot, STOP)
            assert tree(place.folder) == was
        snapshots.forget(place, ["nothing that there ever was", *made[-3:]], STOP)
        snapshots.restore(place, made[-1], STOP)

    def test_what_never_was_cannot_be_restored(self, snapshots: Snapshots, place: Place) -> None:
        write(place, "a", "1")
        first = snapshots.save(place, None, STOP).snapshot
        assert first is not None
        for name in ("", "nonsense", "../../etc", first[:-1] + "0", first[:-1] + "1"):
            if name != first:
                with pytest.raises(SnapshotDamaged):
                    snapshots.restore(place, name, STOP)
        assert (place.folder / "a").read_text() == "1"

    def test_it_stops(self, snapshots: Snapshots, place: Place) -> None:
        furnish(place)
        first = snapshots.save(place, None, STOP).snapshot
        stop = Event()
        stop.set()
        _upset(place)
        after = tree(place.folder)
        with pytest.raises(Stopped):
            snapshots.restore(place, first, stop)
        assert tree(place.folder) == after

    def test_many_places_at_once(self, snapshots: Snapshots, places: Places) -> None:
        def live(number: int) -> bool:
            place, chance = places(f"s{number}"), random.Random(number)
            base, seen = None, list[tuple[str | None, object]]()
            for _ in range(8):
                write(place, f"d{chance.randrange(3)}/f{chance.randrange(3)}", chance.randbytes(500))
                base = snapshots.save(place, base, STOP).snapshot
                seen.append((base, tree(place.folder)))
            for snapshot, was in chance.sample(seen, 5):
                snapshots.restore(place, snapshot, STOP, in_place=chance.random() < 0.5)
                if tree(place.folder) != was:
                    return False
            return True

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(live, range(8)))
