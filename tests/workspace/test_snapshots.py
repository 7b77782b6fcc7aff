"""Snapshots: what is saved comes back exactly, little is done when little changed, and nothing is lost to a crash, a
racing writer or the removal of garbage."""

from __future__ import annotations

import os
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roost.errors import TooLarge
from roost.testing.snapshots import write
from roost.workspace.manifest import PIECE, Item, SnapshotDamaged, segments, unpack_items
from roost.workspace.object_store import Objects
from roost.workspace.objects import open_objects
from roost.workspace.save import Caps
from roost.workspace.scan import scan
from roost.workspace.snapshots import Place, Saved, Stopped
from roost.workspace.store import ObjectSnapshots
from tests.examples import examples

from .machines import Machine, Machines, fill, tree


def test_everything_comes_back_on_another_machine(machines: Machines) -> None:
    here, there = machines("here"), machines("there")
    fill(here)
    saved = here.save()
    assert (saved.files, saved.skipped) == (8, ())
    assert saved.bytes == sum(len(entry[3]) for entry in tree(here.folder).values() if entry[0] == "file")  # type: ignore[arg-type]
    assert there.restore(saved.snapshot) == (8, 0)
    assert tree(there.folder) == tree(here.folder)
    assert there.save().snapshot == saved.snapshot


def test_changes_follow_and_deleted_files_stay_deleted(machines: Machines) -> None:
    here, there = machines("here"), machines("there")
    fill(here)
    time.sleep(0.05)  # what was written this long ago is known by its times
    there.restore(here.save().snapshot)
    there.write("readme.md", "hello again")
    (there.folder / "empty").unlink()
    (there.folder / "src").rename(there.folder / "renamed")
    (there.folder / "link").unlink()
    (there.folder / "link").mkdir()
    (there.folder / "run.sh").chmod(0o644)
    saved = there.save()
    fetched, kept = here.restore(saved.snapshot)
    assert tree(here.folder) == tree(there.folder)
    assert fetched <= 3
    assert kept >= 4
    assert not (here.folder / "src").exists()


def test_nothing_changed_writes_nothing(machines: Machines) -> None:
    here = machines("here")
    assert here.save() == Saved(None, 0, 0, 0, ())
    here.folder.mkdir(parents=True)
    assert here.save().snapshot is None
    fill(here)
    first = here.save()
    assert first.written > PIECE
    for _ in range(3):
        again = here.save()
        assert (again.snapshot, again.written) == (first.snapshot, 0)
    here.write("readme.md", "hello!")
    changed = here.save()
    assert changed.snapshot != first.snapshot
    assert 0 < changed.written < 10_000


def test_a_touched_file_is_not_sent_again(here: Machine) -> None:
    here.write("big", os.urandom(200_000))
    first = here.save()
    os.utime(here.folder / "big", ns=(1, 1))
    touched = here.save()
    assert touched.snapshot != first.snapshot
    assert touched.written < 10_000


def test_times_are_believed_when_the_clock_has_moved_on(here: Machine) -> None:
    for number in range(50):  # a machine that stands still in between may miss it, for once
        here.write("file", str(number))
        if scan(here.folder, files=9).found[0].signature is None:
            break
    else:
        raise AssertionError("what has just changed has a signature")
    time.sleep(0.05)
    assert scan(here.folder, files=9).found[0].signature is not None


def test_a_snapshot_depends_on_nothing_but_the_files_when_new(tmp_path: Path, store_folder: str) -> None:
    """The same tree saved by two machines is the same objects."""
    names: list[str | None] = []
    for name in ("one", "two"):
        machine = Machine(tmp_path / name, store_folder, clock=lambda: 1_000_000.0)
        for number in random.sample(range(300), 300):
            os.utime(machine.write(f"d{number % 7}/f{number}", f"{number}" * 100), ns=(5, 5))
        names.append(machine.save().snapshot)
    assert names[0] == names[1]
    assert len(list(open_objects(store_folder).list(""))) == 3


names = st.binary(min_size=1, max_size=6).filter(lambda name: name not in (b".", b"..") and not set(name) & {0, 47})
bodies = st.binary(max_size=40)


@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.tuples(names, names), bodies, max_size=6), min_size=1, max_size=4))
def test_any_series_of_trees(
    tmp_path_factory: pytest.TempPathFactory, series: list[dict[tuple[bytes, bytes], bytes]]
) -> None:
    """Each save is restored on a machine that has any of the earlier ones, or none."""
    base = tmp_path_factory.mktemp("series")
    (base / "objects").mkdir()
    url = f"file://{base}/objects"
    here, moving = Machine(base / "here", url), Machine(base / "moving", url)
    for place, files in enumerate(series):
        for path in [*here.folder.rglob("*")][::-1] if place % 2 else []:
            path.rmdir() if path.is_dir() else path.unlink()
        for (folder, name), body in files.items():
            parent = os.fsencode(here.folder) + b"/" + folder
            os.makedirs(parent, exist_ok=True)
            with open(parent + b"/" + name, "wb") as file:
                file.write(body)
        snapshot = here.save().snapshot
        fresh = Machine(base / f"fresh{place}", url)
        for other in (moving, fresh):
            other.restore(snapshot)
            assert tree(other.folder) == tree(here.folder)


def blobs(machine: Machine) -> set[str]:
    """That hold the files of the last snapshot."""
    items = machine.snapshots.items(machine.last or "")
    return {piece.blob.key for item in items for piece in item.pieces}


@pytest.mark.long
def test_many_saves_do_not_become_many_objects(here: Machine, there: Machine) -> None:
    for number in range(200):
        here.write(f"f{number}", os.urandom(300))
        here.save()
    assert len(blobs(here)) <= 130
    there.restore(here.last)
    assert tree(there.folder) == tree(here.folder)


def test_a_blob_that_is_hardly_needed_is_not_kept(here: Machine, there: Machine) -> None:
    for number in range(50):
        here.write(f"f{number}", os.urandom(30_000))
    here.save()
    first = blobs(here)
    for number in range(45):
        (here.folder / f"f{number}").unlink()
    here.save()
    assert blobs(here) == first
    here.write("new", "x")
    here.save()
    assert not blobs(here) & first
    there.restore(here.last)
    assert tree(there.folder) == tree(here.folder)


class Hooked:
    """An object store that does something first, once, when something is written to it."""

    def __init__(self, url: str, work: Callable[[], None]) -> None:
        self._inner = open_objects(url)
        self._work = work
        self._done = False
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes) -> None:
        with self._lock:
            if not self._done:
                self._work()
                self._done = True
        self._inner.put(key, data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


def test_a_file_that_changes_while_it_is_read_is_read_again(here: Machine, there: Machine, store_folder: str) -> None:
    path = here.write("large", b"a" * 12 * PIECE)

    def rewrite() -> None:
        with path.open("r+b") as file:
            file.write(b"b" * 12 * PIECE)

    here.snapshots = ObjectSnapshots(Hooked(store_folder, rewrite))  # type: ignore[arg-type]
    path.write_bytes(b"".join(bytes([number]) * PIECE for number in range(12)))
    here.save()
    there.restore(here.last)
    assert (there.folder / "large").read_bytes() == b"b" * 12 * PIECE


def test_a_change_that_leaves_the_same_times_is_seen(here: Machine, store_folder: str) -> None:
    """It comes right after the file was read, and so perhaps within one tick of the file system's clock."""
    for number in range(40):
        path = here.write("file", f"{number:08}")
        os.utime(path, ns=(0, 0))

        def change(path: Path = path) -> None:
            with path.open("r+b") as file:
                file.write(b"another!")
            os.utime(path, ns=(0, 0))

        here.snapshots = ObjectSnapshots(Hooked(store_folder, change))  # type: ignore[arg-type]
        before = here.save().snapshot
        assert here.save().snapshot != before
        here.snapshots.close()


def test_a_large_file_is_sent_in_parts_and_only_the_changed_ones(here: Machine, there: Machine) -> None:
    data = bytearray(os.urandom(3 * PIECE + 100))
    here.write("large", bytes(data))
    here.save()
    data[PIECE + 5] ^= 1
    here.write("large", bytes(data) + b"more")
    assert here.save().written < 1.01 * PIECE + 10_000
    there.restore(here.last)
    assert (there.folder / "large").read_bytes() == bytes(data) + b"more"


@pytest.mark.long
def test_the_memory_is_bounded(tmp_path: Path, store_folder: str) -> None:
    script = f"""
import resource, sys
from pathlib import Path
from threading import Event
from roost.workspace.objects import open_objects
from roost.workspace.scan import scan
from roost.workspace.snapshots import Place
from roost.workspace.store import ObjectSnapshots
here, there = (Place(Path({str(tmp_path)!r}) / n, Path({str(tmp_path)!r}) / (n + "m")) for n in ("a", "b"))
snapshots = ObjectSnapshots(open_objects({store_folder!r}))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
snapshots.restore(there, snapshots.save(here, None, Event()).snapshot, Event())
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    (tmp_path / "a").mkdir()
    with open(tmp_path / "a" / "large", "wb") as file:
        for _ in range(40):
            file.write(os.urandom(PIECE))
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert int(run.stdout) < 130
    assert os.path.getsize(tmp_path / "b" / "large") == 40 * PIECE


def test_what_cannot_be_kept_is_said(here: Machine, there: Machine, tmp_path: Path) -> None:
    here.write("file", "x")
    os.mkfifo(here.folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(here.folder)
        try:
            listener.bind("socket")
        finally:
            os.chdir(tmp_path)
    saved = here.save()
    assert sorted(line.partition(":")[0] for line in saved.skipped) == ["pipe", "socket"]
    assert here.save().skipped == saved.skipped
    there.restore(saved.snapshot)
    assert set(tree(there.folder)) == {b"/file"}


def test_nothing_outside_is_followed_and_no_privilege_is_kept(here: Machine, there: Machine, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("not yours")
    here.write("tool", "x").chmod(0o6755)
    (here.folder / "way/out").parent.mkdir()
    (here.folder / "way/out").symlink_to(outside)
    here.save()
    there.restore(here.last)
    assert b"not yours" not in repr(tree(there.folder)).encode()
    assert (there.folder / "way/out").readlink() == outside
    assert stat.S_IMODE((there.folder / "tool").stat().st_mode) == 0o755
    objects = open_objects(f"file://{tmp_path}/objects")
    assert all(b"not yours" not in objects.get(found.key) for found in objects.list(""))


@pytest.mark.parametrize(("caps", "what"), [(Caps(files=5), "5 files"), (Caps(bytes=1000), "1000")])
def test_caps_are_clear(tmp_path: Path, store_folder: str, caps: Caps, what: str) -> None:
    here = Machine(tmp_path / "here", store_folder, caps=caps)
    for number in range(6):
        here.write(f"f{number}", "x" * 200)
    with pytest.raises(TooLarge) as caught:
        here.save()
    assert what in str(caught.value)
    (here.folder / "f5").unlink()
    here.save()


def test_too_deep_is_clear(here: Machine) -> None:
    here.folder.mkdir(parents=True)
    fd = os.open(here.folder, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    with pytest.raises(TooLarge, match="deep"):
        here.save()
    here.restore(None)
    assert tree(here.folder) == {}


def test_a_file_that_grows_all_the_time_is_saved_as_of_one_moment(here: Machine, there: Machine) -> None:
    """Lines of growing numbers: what is saved is a beginning of what was written."""
    path = here.write("log", "")
    here.write("still", "x")
    done = Event()

    def grow() -> None:
        number = 0
        with path.open("a", buffering=1) as file:
            while not done.is_set():
                file.write(f"{number:09}\n")
                number += 1

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(10):
            here.save()
            there.restore(here.last)
            lines = (there.folder / "log").read_bytes()
            assert lines == b"".join(b"%09d\n" % number for number in range(len(lines) // 10 + 1))[: len(lines)]
    finally:
        done.set()
        writer.join()
    here.save()
    there.restore(here.last)
    assert tree(there.folder) == tree(here.folder)


def test_files_that_come_and_go_while_it_saves(here: Machine, there: Machine) -> None:
    done = Event()

    def churn() -> None:
        number = 0
        while not done.is_set():
            path = here.write(f"d{number % 5}/f{number % 50}", os.urandom(100))
            if number % 3 == 0:
                path.unlink()
            if number % 50 == 0:
                path.parent.rename(here.folder / f"moved{number % 100}") if not (
                    here.folder / f"moved{number % 100}"
                ).exists() else None
            number += 1

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        for _ in range(30):
            here.save()
    finally:
        done.set()
        writer.join()
    here.save()
    there.restore(here.last)
    assert tree(there.folder) == tree(here.folder)


def test_a_folder_that_diverged_is_not_believed(here: Machine, there: Machine) -> None:
    fill(here)
    first = here.save().snapshot
    there.restore(first)
    there.write("readme.md", "theirs")
    second = there.save().snapshot
    here.write("readme.md", "mine, and nobody knows")
    here.write("extra", "also mine")
    (here.folder / "empty").unlink()
    here.restore(second)
    assert tree(here.folder) == tree(there.folder)
    here.write("secret2", "x")
    os.utime(here.folder / "readme.md", ns=(1, 1))
    here.restore(second)
    assert tree(here.folder) == tree(there.folder)
    assert here.restore(second) == (0, 8)


def test_the_empty_snapshot(here: Machine) -> None:
    fill(here)
    here.save()
    assert here.restore(None) == (0, 0)
    assert tree(here.folder) == {}
    here.last = None
    here.write("a", "x")
    here.save()
    (here.folder / "a").unlink()
    empty = here.save()
    assert empty.snapshot is not None
    assert empty.files == 0
    here.write("b", "x")
    here.restore(empty.snapshot)
    assert tree(here.folder) == {}


def test_what_the_machine_remembers_may_be_lost_or_damaged(here: Machine, there: Machine) -> None:
    fill(here)
    first = here.save()
    for damage in (b"", b"\0" * 100, None):
        for name in ("index", "glance"):
            path = here.place.memory / name
            path.unlink() if damage is None else path.write_bytes(damage)
        again = here.save()
        assert (again.snapshot, again.written) == (first.snapshot, 0)
    here.write("new", "x")
    (here.place.memory / "index").write_bytes((here.place.memory / "index").read_bytes()[:-5])
    there.restore(here.save().snapshot)
    assert tree(there.folder) == tree(here.folder)


_RESTORE = """
import os, sys, signal, threading
from pathlib import Path
from roost.workspace.objects import open_objects
from roost.workspace.scan import scan
from roost.workspace.snapshots import Place
from roost.workspace.store import ObjectSnapshots
url, home, snapshot, calls = sys.argv[1:]
left = int(calls)
def struck(event, args):
    global left
    if event in ("os.mkdir", "os.rename", "os.link", "os.symlink", "open", "os.utime", "os.chmod", "shutil.rmtree"):
        if any(home in os.fsdecode(a) for a in args[:2] if isinstance(a, (str, bytes, os.PathLike))):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
snapshots = ObjectSnapshots(open_objects(url))
place = Place(Path(home) / "work", Path(home) / "memory")
sys.addaudithook(struck)
snapshots.restore(place, snapshot, threading.Event())
"""


def test_a_restore_that_is_killed_anywhere_is_done_again(here: Machine, there: Machine, store_folder: str) -> None:
    """The folder is the old one, the new one or not there; the next restore makes it right."""
    here.write("a", "old")
    here.write("d/b", "old")
    here.write("same", "same")
    old = here.save().snapshot
    there.restore(old)
    old_tree = tree(there.folder)
    here.write("a", "new")
    (here.folder / "d/b").unlink()
    here.write("e/f", "new")
    new = here.save().snapshot
    new_tree = tree(here.folder)
    seen: set[str] = set()
    for strike in range(1, 200, 2):
        there.restore(old)
        home = str(there.folder.parent)
        run = subprocess.run([sys.executable, "-c", _RESTORE, store_folder, home, str(new), str(strike)], check=False)
        found = tree(there.folder)
        kind = "old" if found == old_tree else "new" if found == new_tree else "none" if not found else "mixed"
        seen.add(kind)
        assert kind != "mixed"
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL
        there.restore(new)
        assert tree(there.folder) == new_tree
    else:
        raise AssertionError("the restore never ended")
    assert seen >= {"old", "new"}
    assert sorted(os.listdir(there.place.memory)) in (["index"], ["glance", "index"])


def test_a_save_that_is_stopped_is_begun_again(here: Machine) -> None:
    for number in range(20):
        here.write(f"f{number}", os.urandom(PIECE))
    stop = Event()
    threading.Timer(0.02, stop.set).start()
    with pytest.raises(Stopped):
        here.snapshots.save(here.place, None, stop)
    assert here.save().files == 20


@pytest.mark.parametrize("damage", ["gone", "flipped", "short", "empty"])
def test_a_damaged_store_is_noticed(here: Machine, there: Machine, tmp_path: Path, damage: str) -> None:
    here.write("f", os.urandom(1000))
    snapshot = here.save().snapshot
    for found in list(open_objects(f"file://{tmp_path}/objects").list("")):
        path = tmp_path / "objects" / found.key
        good = path.read_bytes()
        bad = {"flipped": good[:-1] + bytes([good[-1] ^ 1]), "short": good[:-1], "empty": b""}
        path.unlink() if damage == "gone" else path.write_bytes(bad[damage])
        with pytest.raises(SnapshotDamaged):
            there.restore(snapshot)
        assert not there.folder.exists()
        path.write_bytes(good)
    there.restore(snapshot)
    assert tree(there.folder) == tree(here.folder)


@pytest.mark.parametrize("name", ["", "x", "1-", "1-" + "g" * 64, "../1-" + "a" * 64, "1-" + "a" * 64])
def test_what_is_no_snapshot(here: Machine, name: str) -> None:
    with pytest.raises(SnapshotDamaged):
        here.restore(name)


def test_a_snapshot_from_elsewhere_gives_no_file_the_rights_of_its_owner() -> None:
    crafted = [Item(b"d", "folder", 0o2777), Item(b"d/tool", "file", 0o106755), Item(b"plain", "file", 0o640)]
    read = [item for data in segments(crafted) for item in unpack_items(data)]
    assert [item.mode for item in read] == [0o777, 0o755, 0o640]


class Counting:
    """Objects that count what is read."""

    def __init__(self, objects: Objects) -> None:
        self._objects, self.reads = objects, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    def get(self, key: str) -> bytes:
        self.reads += 1
        return self._objects.get(key)


def test_a_view_reads_only_what_its_neighbour_lacks(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    objects = Counting(open_objects(f"file://{tmp_path}/store"))
    snapshots = ObjectSnapshots(objects)  # type: ignore[arg-type]
    place = Place(tmp_path / "folder", tmp_path / "memory")
    for n in range(1500):
        write(place, f"d/{n}", str(n))
    first = snapshots.save(place, None, Event()).snapshot
    write(place, "d/7", "changed")
    second = snapshots.save(place, first, Event()).snapshot
    before = snapshots.view(place, first)
    objects.reads = 0
    alone = snapshots.view(place, second)
    needed, objects.reads = objects.reads, 0
    near = snapshots.view(place, second, near=before)
    assert objects.reads < needed
    assert near.entries == alone.entries
    assert near.read(b"d/7") == b"changed"
    objects.reads = 0
    assert snapshots.view(place, second, near=near).entries == alone.entries
    assert objects.reads == 1  # the root
    for view in (before, alone, near):
        view.close()
    snapshots.close()
