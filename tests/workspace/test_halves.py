"""A save that was killed leaves nothing once somebody starts again, and whoever starts takes nothing from a save that
goes on."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roost.testing.snapshots import STOP, tree, write
from roost.workspace.cow.portable import PortableSnapshots
from roost.workspace.snapshots import Place

SAVE = """
import sys
from pathlib import Path
from threading import Event
from roost.workspace.cow.portable import PortableSnapshots
from roost.workspace.snapshots import Place
snapshots = PortableSnapshots()
print(snapshots.save(Place(Path(sys.argv[1]), Path(sys.argv[2])), None, Event()).snapshot)
snapshots.close()
"""


def parts(place: Place) -> set[str]:
    found = (place.memory / "snapshots").rglob("*")
    return {str(one) for one in found if one.is_file() and one.name != "roost-snapshots"}


@pytest.mark.parametrize("killed", [True, False])
def test_cut_off(tmp_path: Path, killed: bool) -> None:
    place = Place(tmp_path / "workspaces" / "s", tmp_path / "memory" / "s")
    write(place, "a", b"1")
    portable = PortableSnapshots()
    first = portable.save(place, None, STOP).snapshot
    assert not list((tmp_path / "memory/.saving").iterdir())
    before = parts(place)
    write(place, "big", os.urandom(60_000_000))
    child = subprocess.Popen(
        [sys.executable, "-c", SAVE, str(place.folder), str(place.memory)], stdout=subprocess.PIPE, text=True
    )
    while len(parts(place)) < len(before) + 2:
        assert child.poll() is None
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL if killed else signal.SIGSTOP)
    if killed:
        child.communicate()
    there = parts(place)
    assert there > before
    starting = PortableSnapshots()
    starting.recover(place.memory.parent)
    starting.close()
    if killed:
        assert parts(place) == before
        assert not list((tmp_path / "memory/.saving").iterdir())
        portable.restore(place, first, STOP)
        assert {one.name for one in place.folder.iterdir()} == {"a"}
    else:
        assert parts(place) == there
        want = tree(place.folder)
        child.send_signal(signal.SIGCONT)
        second = child.communicate()[0].strip()
        write(place, "big", b"")
        portable.restore(place, second, STOP)
        assert tree(place.folder) == want
    portable.close()


def test_who_forgets_takes_nothing_from_who_lends(tmp_path: Path) -> None:
    place = Place(tmp_path / "workspaces" / "s", tmp_path / "memory" / "s")
    portable = PortableSnapshots()
    for count in range(9):
        write(place, "a", str(count).encode())
        portable.save(place, None, STOP)
    before = parts(place)
    lender = os.open(place.memory / "snapshots", os.O_RDONLY)
    fcntl.flock(lender, fcntl.LOCK_SH)  # as of one that has shared parts of a snapshot, and not yet the snapshot
    assert (portable.forget(place, [], STOP), parts(place)) == (0, before)
    os.close(lender)
    assert portable.forget(place, [], STOP) == 9
    assert not parts(place)
    portable.close()
