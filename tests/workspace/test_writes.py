"""Changes of several files: all or none, wherever the process ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roost.errors import Invalid, NotFound, TooLarge
from roost.workspace.atomic_edits import Change, applied, change, recover
from roost.workspace.files import Workspace
from roost.workspace.safe_paths import FileRefused, digest_of

_CHILD = """
import os, sys
from pathlib import Path
from roost.workspace.safe_paths import digest_of
from roost.workspace.files import Workspace
from roost.workspace.atomic_edits import Change, change
base, last, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
steps = 0
def at(place):
    global steps
    steps += 1
    if steps == last:
        os._exit(9)
workspace = Workspace(base / "here", private=True)
old = digest_of(b"old" * size)
def put(name, data, expected=old):
    return Change(workspace.resolve(name), data, expected)
new = b"new" * size
print("ready", flush=True)
changes = [put("a", new), put("sub/b", new), put("made/c", new, None), put("gone", None)]
change(workspace, changes, base / "notes", at=at, key=sys.argv[4] if len(sys.argv) > 4 else None)
"""


def _before(base: Path, size: int = 1) -> None:
    (base / "here/sub").mkdir(parents=True)
    for name in ("a", "sub/b", "gone"):
        (base / "here" / name).write_bytes(b"old" * size)


def _state(base: Path) -> dict[str, bytes]:
    here = base / "here"
    return {str(file.relative_to(here)): file.read_bytes() for file in here.rglob("*") if file.is_file()}


def _all_or_none(base: Path, size: int = 1) -> bool:
    """Whether everything is changed; that nothing else is there."""
    old, new = b"old" * size, b"new" * size
    state = _state(base)
    changed = {"a": new, "sub/b": new, "made/c": new}
    assert state in (changed, {"a": old, "sub/b": old, "gone": old})
    assert not list((base / "notes").glob("*.json")) if (base / "notes").exists() else True
    return state == changed


@pytest.mark.parametrize("last", range(1, 13))
def test_a_crash_at_each_step(tmp_path: Path, last: int) -> None:
    _before(tmp_path)
    done = subprocess.run([sys.executable, "-c", _CHILD, str(tmp_path), str(last), "1"], capture_output=True)
    ended = done.returncode == 0
    assert ended or done.returncode == 9, done.stderr
    workspace = Workspace(tmp_path / "here", private=True)
    finished = recover(workspace, tmp_path / "notes")
    assert _all_or_none(tmp_path) == (finished or ended or last == 11)
    assert not recover(workspace, tmp_path / "notes")


def test_kills_at_any_moment(tmp_path: Path) -> None:
    chance = random.Random(7)
    for number in range(12):
        base = tmp_path / str(number)
        _before(base, 300_000)
        process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(base), "0", "300000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        recover(Workspace(base / "here", private=True), base / "notes")
        _all_or_none(base, 300_000)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    _before(tmp_path)
    return Workspace(tmp_path / "here", private=True)


def test_nothing_changes_when_one_of_them_cannot(workspace: Workspace, tmp_path: Path) -> None:
    notes, old = tmp_path / "notes", digest_of(b"old")
    a = Change(workspace.resolve("a"), b"new", old)
    os.mkfifo(tmp_path / "here/pipe")
    (tmp_path / "outside").mkdir()
    (tmp_path / "here/link").symlink_to(tmp_path / "outside")
    wrong: list[tuple[Change, type[Exception]]] = [
        (Change(workspace.resolve("sub/b"), b"new", digest_of(b"else")), FileRefused),
        (Change(workspace.resolve("sub/b"), b"new", None), FileRefused),
        (Change(workspace.resolve("none"), b"new", old), NotFound),
        (Change(workspace.resolve("none"), None, None), Invalid),
        (Change(workspace.resolve("sub"), b"new", None), FileRefused),
        (Change(workspace.resolve("pipe"), b"new", None), FileRefused),
        (Change(workspace.resolve("a/x"), b"new", None), FileRefused),
        (Change(workspace.root, b"new", None), FileRefused),
        (Change(workspace.root / "link/x", b"new", None), FileRefused),
        (Change(workspace.resolve("a"), b"twice", old), Invalid),
        (Change(workspace.resolve("big"), bytes(17 * 1024 * 1024), None), TooLarge),
    ]
    for one, error in wrong:
        with pytest.raises(error):
            change(workspace, [a, one], notes)
        with pytest.raises(error):
            change(workspace, [one, a], notes)
        assert (tmp_path / "here/a").read_bytes() == b"old"
    (tmp_path / "here/pipe").unlink()
    (tmp_path / "here/link").unlink()
    assert not _all_or_none(tmp_path)
    assert os.listdir(tmp_path / "outside") == []
    with pytest.raises(Invalid):
        change(workspace, [], notes)


def test_modes_stay_and_digests_come_back(workspace: Workspace, tmp_path: Path) -> None:
    os.chmod(tmp_path / "here/a", 0o750)
    path = workspace.resolve("a")
    assert change(workspace, [Change(path, b"x", digest_of(b"old"))], tmp_path / "notes") == {path: digest_of(b"x")}
    assert (tmp_path / "here/a").stat().st_mode & 0o777 == 0o750


def _cut_off(base: Path, *key: str) -> Workspace:
    """A change that is certain, of which nothing is in its place yet."""
    _before(base)
    done = subprocess.run([sys.executable, "-c", _CHILD, str(base), "6", "1", *key], capture_output=True)
    assert done.returncode == 9, done.stderr
    assert _state(base)["a"] == b"old"
    return Workspace(base / "here", private=True)


def test_what_was_lost_of_a_change_is_told_once(tmp_path: Path) -> None:
    workspace = _cut_off(tmp_path)
    (staged,) = (tmp_path / "here/sub").glob(".roost-*.tmp")
    staged.unlink()
    with pytest.raises(Invalid, match=r"of 4 files that was cut off, 'sub/b' could not") as told:
        recover(workspace, tmp_path / "notes")
    assert told.value.code == "change_incomplete"
    assert _state(tmp_path) == {"a": b"new", "sub/b": b"old", "made/c": b"new"}
    assert not recover(workspace, tmp_path / "notes")


def test_a_folder_in_the_way_of_a_change_is_told_once(tmp_path: Path) -> None:
    workspace = _cut_off(tmp_path)
    for name in ("a", "gone"):
        (tmp_path / "here" / name).unlink()
        (tmp_path / "here" / name).mkdir()
    with pytest.raises(Invalid, match="'a', 'gone' could not"):
        recover(workspace, tmp_path / "notes")
    assert _state(tmp_path) == {"sub/b": b"new", "made/c": b"new"}
    assert not recover(workspace, tmp_path / "notes")
    path = workspace.resolve("sub/b")
    assert change(workspace, [Change(path, b"on", digest_of(b"new"))], tmp_path / "notes") == {path: digest_of(b"on")}


def test_who_asks_for_a_change_again_learns_what_was_lost(tmp_path: Path) -> None:
    workspace = _cut_off(tmp_path, "the key")
    (tmp_path / "here/sub").rename(tmp_path / "elsewhere")
    with pytest.raises(Invalid, match="'sub/b' could not"):
        recover(workspace, tmp_path / "notes")
    assert not recover(workspace, tmp_path / "notes")
    for _ in range(2):
        with pytest.raises(Invalid, match="'sub/b' could not"):
            applied(workspace, tmp_path / "notes", "the key")
    assert applied(workspace, tmp_path / "notes", "another") is None
