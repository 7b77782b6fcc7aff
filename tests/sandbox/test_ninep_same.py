"""Whatever a guest does to a folder through the server comes out as if it were done without it."""

from __future__ import annotations

import errno
import os
import random
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.sandbox.nine import Nine, contents, served, text

from roost.machines.ninep import wire

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server uses Linux's ways to open files")
NAMES = ["a", "b", "dir", "dir/a", "dir/b", "dir/deep", "dir/deep/a", "b/a", "ümlaut"]
KINDS = [
    "mkdir",
    "rmdir",
    "unlink",
    "symlink",
    "readlink",
    "rename",
    "link",
    "chmod",
    "truncate",
    "list",
    "write",
    "read",
]
OFTEN = [*KINDS, *["mkdir", "write", "unlink"] * 3]
EITHER = {"ENXIO", "EISDIR", "ELOOP", "EINVAL", "EPERM", "EEXIST", "ENOTDIR", "ENOENT"}
"""Which of two faults is named first may differ: a guest's kernel asks in steps."""


class Without:
    """By this process. Every method raises `OSError`."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def act(self, kind: str, path: str, other: str, data: bytes, at: int) -> object:
        one, two = self.place / path, self.place / other
        ways: dict[str, Callable[[], object]] = {
            "mkdir": lambda: os.mkdir(one, 0o755),
            "rmdir": lambda: os.rmdir(one),
            "unlink": lambda: os.unlink(one),
            "symlink": lambda: os.symlink(other, one),
            "readlink": lambda: os.fsencode(os.readlink(one)),
            "rename": lambda: os.rename(one, two),
            "link": lambda: os.link(one, two, follow_symlinks=False),
            "chmod": lambda: os.chmod(one, 0o711),
            "truncate": lambda: os.truncate(one, 7),
            "list": lambda: sorted([".", "..", *os.listdir(one)]),
            "write": lambda: self.opened(one, os.O_RDWR | os.O_CREAT, lambda fd: os.pwrite(fd, data, at)),
            "read": lambda: self.opened(one, os.O_RDONLY, lambda fd: os.pread(fd, 60000, 0)),
        }
        return ways[kind]()

    def opened(self, path: Path, flags: int, use: Callable[[int], object]) -> object:
        fd = os.open(path, flags | os.O_NOFOLLOW, 0o644)
        try:
            return use(fd)
        finally:
            os.close(fd)


class Through:
    """The same by a guest."""

    def __init__(self, nine: Nine) -> None:
        self.nine = nine

    def named(self, path: str) -> bytes:
        above, _, name = path.rpartition("/")
        return struct.pack("<I", self.nine.path(above)) + text(name)

    def act(self, kind: str, path: str, other: str, data: bytes, at: int) -> object:
        nine, ask, named = self.nine, self.nine.ask, self.named
        ways: dict[str, Callable[[], object]] = {
            "mkdir": lambda: ask(wire.MKDIR, named(path) + struct.pack("<II", 0o755, 0)),
            "rmdir": lambda: ask(wire.UNLINKAT, named(path) + struct.pack("<I", 0x200)),
            "unlink": lambda: ask(wire.UNLINKAT, named(path) + bytes(4)),
            "symlink": lambda: ask(wire.SYMLINK, named(path) + text(other) + bytes(4)),
            "readlink": lambda: ask(wire.READLINK, struct.pack("<I", nine.path(path)))[2:],
            "rename": lambda: ask(wire.RENAMEAT, named(path) + named(other)),
            "link": lambda: self.link(path, other),
            "chmod": lambda: nine.set(nine.path(path), 1, mode=0o711),
            "truncate": lambda: nine.set(nine.path(path), 8, size=7),
            "list": lambda: sorted(nine.readdir(nine.open(nine.path(path)))),
            "write": lambda: self.write(path, data, at),
            "read": lambda: nine.read(nine.open(nine.path(path))),
        }
        return ways[kind]()

    def link(self, path: str, other: str) -> None:
        source = self.nine.path(path)
        named = self.named(other)
        self.nine.ask(wire.LINK, named[:4] + struct.pack("<I", source) + named[4:])

    def write(self, path: str, data: bytes, at: int) -> int:
        above, _, name = path.rpartition("/")
        fid = self.nine.create(name, self.nine.path(above))
        try:
            return self.nine.write(fid, data, at)
        finally:
            self.nine.clunk(fid)


def outcome(act: Callable[[], object]) -> tuple[str, object]:
    try:
        return "done", act()
    except OSError as error:
        return "refused", errno.errorcode[error.errno or 0]


def has_link(place: Path, path: str) -> bool:
    parts = path.split("/") if path else []
    return any((place / "/".join(parts[:depth])).is_symlink() for depth in range(1, len(parts) + 1))


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_done(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for each in (ours, theirs):
        each.mkdir()
    done = 0
    with served(theirs) as nine:
        here, there = Without(ours), Through(nine)
        for turn in range(400):
            path, other, kind = chance.choice(NAMES), chance.choice(NAMES), chance.choice(OFTEN)
            data, at = chance.randbytes(chance.randrange(1, 9)), chance.randrange(9)
            follows = kind in ("chmod", "truncate", "list") and has_link(ours, path)
            if follows or any(has_link(ours, os.path.dirname(each)) for each in (path, other)):
                continue  # a guest's kernel follows links itself
            if kind == "link" and (ours / path).is_dir():
                continue
            wanted = outcome(lambda: here.act(kind, path, other, data, at))  # noqa: B023
            got = outcome(lambda: there.act(kind, path, other, data, at))  # noqa: B023
            where = (turn, kind, path, other, wanted, got)
            assert wanted[0] == got[0], where
            assert wanted == got or {wanted[1], got[1]} <= EITHER or kind not in ("read", "list", "readlink"), where
            done += wanted[0] == "done"
            if turn % 20 == 0:
                assert contents(ours) == contents(theirs), where
        assert contents(ours) == contents(theirs)
    assert done > 20
