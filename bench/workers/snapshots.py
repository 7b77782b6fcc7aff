"""One tree that is kept, changed, kept again, forked and put back: by Roost, by copies, by git."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from bench import disk, trees
from bench.worker import serve
from roost.workspace.cow.portable import PortableSnapshots
from roost.workspace.cow.subvolumes import SubvolumeSnapshots
from roost.workspace.snapshots import Place, Snapshots

_STOP = Event()


class Means(Protocol):
    """`back` puts `work` back to what was saved last; `fork` makes another folder of that, which is `at` its name."""

    work: Path

    def at(self, name: str) -> Path: ...

    def save(self) -> None: ...

    def fork(self, name: str) -> None: ...

    def back(self) -> None: ...


class Roost:
    def __init__(self, base: Path, snapshots: Snapshots) -> None:
        self._base, self._snapshots = base, snapshots
        self._place = self._place_of("work")
        self._last: str | None = None
        self.work = self._place.folder
        snapshots.prepare(self._place)

    def _place_of(self, name: str) -> Place:
        return Place(self.at(name), self._base / "memory" / name)

    def at(self, name: str) -> Path:
        return self._base / "workspaces" / name

    def save(self) -> None:
        self._last = self._snapshots.save(self._place, self._last, _STOP).snapshot

    def fork(self, name: str) -> None:
        self._snapshots.fork(self._place, self._last, self._place_of(name), _STOP)

    def back(self) -> None:
        self._snapshots.restore(self._place, self._last, _STOP)


class Copies:
    """What everybody has: `cp -a --reflink=auto`."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._count = 0
        self.work = base / "work"

    @property
    def _kept(self) -> Path:
        return self._base / f"kept{self._count}"

    def save(self) -> None:
        self._count += 1
        _copy(self.work, self._kept)

    def at(self, name: str) -> Path:
        return self._base / name

    def fork(self, name: str) -> None:
        _copy(self._kept, self.at(name))

    def back(self) -> None:
        shutil.rmtree(self.work)
        _copy(self._kept, self.work)


class Git:
    """A commit each; without compression, which is most of its time. A fork is a worktree."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self.work = base / "work"
        self.work.mkdir()
        self._git("init", "-q")
        for name, value in {"core.compression": "0", "gc.auto": "0", "user.name": "b", "user.email": "b@b"}.items():
            self._git("config", name, value)

    def save(self) -> None:
        self._git("add", "-A")
        self._git("commit", "-q", "-m", "kept")

    def at(self, name: str) -> Path:
        return self._base / name

    def fork(self, name: str) -> None:
        self._git("worktree", "add", "-q", "--detach", str(self.at(name)))

    def back(self) -> None:
        self._git("reset", "-q", "--hard")
        self._git("clean", "-q", "-f", "-d")

    def _git(self, *words: str) -> None:
        _run("git", "-C", str(self.work), *words)


@contextlib.contextmanager
def means(kind: str, base: Path) -> Iterator[Means]:
    if kind == "git":
        yield Git(base)
    elif kind == "cp":
        yield Copies(base)
    else:
        snapshots: Snapshots = SubvolumeSnapshots() if kind == "subvolumes" else PortableSnapshots()
        try:
            yield Roost(base, snapshots)
        finally:
            snapshots.close()


def once(kind: str, base: Path, files: int, size: int) -> dict[str, Any]:
    """Each step's milliseconds, wall and CPU, and the MB that the first two snapshots took."""
    found: dict[str, Any] = {}
    with means(kind, base) as one:
        trees.make(one.work, files, size)
        room = [trees.free(base)]
        found["first"] = trees.timed(one.save)
        room.append(trees.free(base))
        kept = trees.change(one.work, files, size, 1)
        found["again"] = trees.timed(one.save)
        room.append(trees.free(base))
        for step, name in {"fork": "fork1", "fork again": "fork2"}.items():
            found[step] = trees.timed(lambda name=name: one.fork(name))
            _check(one.at(name), one.work, kept)
            trees.free(base)
        trees.change(one.work, files, size, 2)
        found["back"] = trees.timed(one.back)
        _check(one.work, one.work, kept)
    return {"steps_ms": found, "mb": [before - after for before, after in itertools.pairwise(room)]}


def _check(folder: Path, work: Path, kept: dict[Path, bytes]) -> None:
    for path, data in kept.items():
        assert (folder / path.relative_to(work)).read_bytes() == data, f"{path} is not what was kept"


def _copy(source: Path, target: Path) -> None:
    _run("cp", "-a", "--reflink=auto", str(source), str(target))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    kind = order["disk"]
    with contextlib.nullcontext(folder) if kind is None else disk.mounted(folder, kind) as base:
        answer = once(order["means"], base, order["files"], order["bytes"])
    return {**answer, "wall": sum(step["wall"] for step in answer["steps_ms"].values()) / 1e3}


if __name__ == "__main__":
    serve(play)
