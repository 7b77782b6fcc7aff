"""The server of a machine's files, spoken to as a guest would, and as a hostile one."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import stat
import struct
import sys
from pathlib import Path

import pytest
from tests.sandbox.nine import HEAD, Nine, Server, contents, refused, served, text

from roost.machines.ninep import wire

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server uses Linux's ways to open files")
REMOVE_FOLDER = struct.pack("<I", 0x200)
ROOT = bytes(4)


def test_a_file_from_its_making_to_its_end(tmp_path: Path) -> None:
    with served(tmp_path) as nine:
        fid = nine.create("new", mode=0o640)
        assert nine.write(fid, b"hello world") == 11
        assert nine.read(fid, 6) == b"world"
        assert nine.size(fid) == 11
        assert (tmp_path / "new").read_bytes() == b"hello world"
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
        nine.set(fid, 1 | 8 | 0x20 | 0x100, mode=0o600, size=5)
        assert (tmp_path / "new").read_bytes() == b"hello"
        assert (tmp_path / "new").stat().st_mtime == 5
        nine.ask(wire.FSYNC, struct.pack("<II", fid, 0))
        nine.ask(wire.RENAMEAT, ROOT + text("new") + ROOT + text("old"))
        assert nine.read(fid) == b"hello"
        assert nine.readdir(nine.open(nine.walk())) == [".", "..", "old"]
        nine.ask(wire.UNLINKAT, ROOT + text("old") + bytes(4))
        assert nine.read(fid) == b"hello"
        assert nine.size(fid) == 5
        nine.clunk(fid)
        with refused(errno.EBADF):
            nine.read(fid)
        assert list(tmp_path.iterdir()) == []


def test_what_is_removed_while_it_is_open_has_still_its_size(tmp_path: Path) -> None:
    """As Python's temporary files are: by the number that found it, not the one that opened it."""
    with served(tmp_path) as nine:
        open_one = nine.create("t")
        nine.write(open_one, b"123")
        found = nine.path("t")
        nine.ask(wire.UNLINKAT, ROOT + text("t") + bytes(4))
        assert nine.size(found) == 3
        nine.set(found, 8, size=2)
        assert nine.size(open_one) == 2
        nine.clunk(open_one)
        with refused(errno.ESTALE):
            nine.size(found)


def test_what_is_only_to_be_read(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").write_text("x")
    before = contents(tmp_path)
    with served(tmp_path, writable=False) as nine:
        file, one = nine.path("file"), ROOT + text("new")
        assert nine.read(nine.open(nine.path("file"))) == b"x"
        for kind, body in (
            (wire.MKDIR, one + bytes(8)),
            (wire.SYMLINK, one + text("x") + bytes(4)),
            (wire.MKNOD, one + struct.pack("<IIII", stat.S_IFREG | 0o644, 0, 0, 0)),
            (wire.LINK, struct.pack("<II", 0, file) + text("new")),
            (wire.RENAMEAT, ROOT + text("file") + one),
            (wire.RENAME, struct.pack("<II", file, 0) + text("new")),
            (wire.UNLINKAT, ROOT + text("file") + bytes(4)),
            (wire.LCREATE, one + struct.pack("<III", os.O_RDWR, 0o644, 0)),
            (wire.LOPEN, struct.pack("<II", file, os.O_RDWR)),
            (wire.LOPEN, struct.pack("<II", file, os.O_TRUNC)),
            (wire.SETATTR, wire.SETTING.pack(file, 1, 0o777, 0, 0, 0, 0, 0, 0, 0)),
            (wire.REMOVE, struct.pack("<I", file)),
        ):
            with refused(errno.EROFS):
                nine.ask(kind, body)
    assert contents(tmp_path) == before


def test_links_are_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("secret")
    (work := tmp_path / "work").mkdir()
    (work / "out").symlink_to(tmp_path / "secret")
    (work / "file").symlink_to(tmp_path / "secret" / "file")
    with served(work) as nine:
        link, file = nine.path("out"), nine.path("file")
        with refused(errno.ENOTDIR):
            nine.walk("file", start=link)
        with refused(errno.ENXIO):
            nine.open(file)
        for valid in (1, 8):
            with refused(errno.EOPNOTSUPP):
                nine.set(file, valid, mode=0o777)
        with refused(errno.ELOOP):
            nine.create("file")
        for kind, body in (
            (wire.MKDIR, text("new") + bytes(8)),
            (wire.LCREATE, text("new") + struct.pack("<III", os.O_RDWR, 0o644, 0)),
            (wire.UNLINKAT, text("file") + bytes(4)),
        ):
            with refused(errno.ENOTDIR):
                nine.ask(kind, struct.pack("<I", link) + body)
        up = nine.walk("..", "..", "..")
        assert sorted(nine.readdir(nine.open(up))) == [".", "..", "file", "out"]
    assert (tmp_path / "secret" / "file").read_text() == "secret"
    assert len(list((tmp_path / "secret").iterdir())) == 1


def test_a_folder_that_becomes_a_link_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "file").write_text("secret")
    (work := tmp_path / "work").mkdir()
    with served(work) as nine:
        for name in ("moved", "gone"):
            nine.ask(wire.MKDIR, ROOT + text(name) + struct.pack("<II", 0o755, 0))
        kept = nine.create("file", nine.path("moved"))
        nine.write(kept, b"mine")
        inside = [nine.path("moved/file"), nine.path("gone")]
        nine.ask(wire.RENAMEAT, ROOT + text("moved") + ROOT + text("new"))
        nine.ask(wire.UNLINKAT, ROOT + text("gone") + REMOVE_FOLDER)
        for name in ("moved", "gone"):
            nine.ask(wire.SYMLINK, ROOT + text(name) + text(str(tmp_path / "secret")) + bytes(4))
        assert nine.read(nine.open(inside[0])) == b"mine"
        with refused(errno.ESTALE):
            nine.walk("file", start=inside[1])
        with refused(errno.ESTALE):
            nine.open(inside[1])


def test_only_files_and_folders_are_opened_and_no_devices_made(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with served(tmp_path) as nine:
        with refused(errno.ENXIO):
            nine.open(nine.path("fifo"))
        for kind in (stat.S_IFCHR, stat.S_IFBLK, 0):
            with refused(errno.EPERM):
                nine.ask(wire.MKNOD, ROOT + text("d") + struct.pack("<IIII", kind | 0o666, 1, 3, 0))
        nine.ask(wire.MKNOD, ROOT + text("f") + struct.pack("<IIII", stat.S_IFIFO | 0o600, 0, 0, 0))
        assert stat.S_ISFIFO((tmp_path / "f").stat().st_mode)
        with refused(errno.EPERM):
            nine.set(nine.path("f"), 2, uid=12345)
        for kind in (wire.XATTRWALK, wire.XATTRCREATE, wire.AUTH, 200):
            with refused(errno.EOPNOTSUPP):
                nine.ask(kind, bytes(64))


@pytest.mark.parametrize("size", [0, 6, 100_000_000, 0xFFFFFFFF])
def test_an_impossible_size_ends_that_stream_alone(tmp_path: Path, size: int) -> None:
    with Server(tmp_path) as server:
        bad, good = Nine(server.ends[0], attach=False), Nine(server.ends[1])
        bad.end.sendall(HEAD.pack(size, wire.VERSION, 1) + b"x" * 100)
        good.clunk(good.create("fine"))
        assert server.process.poll() is None
        assert server.memory() < 100 * 1024**2


def test_half_messages_and_noise(tmp_path: Path) -> None:
    chance = random.Random(7)
    (tmp_path / "file").write_text("x")
    with Server(tmp_path) as server:
        nine = Nine(server.ends[1])
        nine.open(nine.path("file"))
        for kind in range(0, 256, 2):
            for body in (b"", b"\0", b"\xff" * 5, bytes(12), b"\xff" * 64, chance.randbytes(chance.randrange(200))):
                if kind != wire.VERSION or len(body) < 4:
                    nine.send(kind, body, tag=kind)
                    assert nine.hear()[1] == kind
        nine.end.sendall(HEAD.pack(50, wire.WALKING, 1))
        other = Nine(server.ends[0])
        assert other.read(other.open(other.path("file"))) == b"x"
        nine.end.sendall(bytes(43))
        nine.hear()
        assert server.process.poll() is None


def test_walks(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with served(tmp_path) as nine:
        with refused(errno.EINVAL):
            nine.walk(*["a"] * 17)
        with refused(errno.EINVAL):
            nine.ask(wire.WALKING, struct.pack("<IIH", 0, 99, 1000) + text("a") * 1000)
        for name in ("", ".", "a/b", "/etc", b"a\0b"):
            with refused(errno.EINVAL):
                nine.walk(name)
        with refused(errno.ENOENT):
            nine.walk("no")
        with pytest.raises(FileNotFoundError):
            nine.walk("a", "no", new=77)
        with refused(errno.EBADF):
            nine.clunk(77)
        fid = nine.walk("a")
        with refused(errno.EINVAL):
            nine.walk("a", new=nine.walk())
        assert nine.walk("b", start=fid, new=fid) == fid
        with refused(errno.EINVAL):
            nine.walk(new=wire.NO_FID)
        with refused(errno.EBADF):
            nine.walk(start=5000)
        for name in ("..", ".", "", "x/y"):
            with refused(errno.EINVAL):
                nine.create(name)
        with refused(errno.ENAMETOOLONG):
            nine.create("x" * 300)


def test_many_fids_are_fine_and_too_many_are_refused(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        nine = Nine(server.ends[1])
        (tmp_path / "file").touch()
        assert clone(nine, 0, range(1, 100_001)) == 100_000
        place = 0
        for _ in range(14):
            nine.ask(wire.MKDIR, struct.pack("<I", place) + text("d" * 250) + struct.pack("<II", 0o755, 0))
            place = nine.walk("d" * 250, start=place, new=100_001 + _)
        assert clone(nine, place, range(200_000, 230_000)) < 30_000
        assert server.memory() < 300 * 1024**2
        nine.attach()
        assert clone(nine, 0, range(1, 1000)) == 999
        opened = 0
        with contextlib.suppress(OSError):
            for number in range(10_000, 16_000):
                nine.open(nine.walk(new=number))
                opened += 1
        assert 500 < opened <= 4096
        assert nine.size(nine.walk("file", new=5000)) == 0


def clone(nine: Nine, fid: int, numbers: range) -> int:
    """How many of the numbers were given."""
    given = 0
    for start in range(0, len(numbers), 500):
        part = numbers[start : start + 500]
        messages = (HEAD.pack(17, wire.WALKING, 1) + struct.pack("<IIH", fid, number, 0) for number in part)
        nine.end.sendall(b"".join(messages))
        given += sum(nine.hear()[0] == wire.WALKING + 1 for _ in part)
    return given


def test_a_large_folder(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"file {number}").touch()
    with served(tmp_path) as nine:
        fid = nine.open(nine.walk())
        for count in (300, 60000):
            names = nine.readdir(fid, count)
            assert len(names) == 3002
            assert set(names) == {".", "..", *(each.name for each in tmp_path.iterdir())}
        half, again = (nine.ask(wire.READDIR, struct.pack("<IQI", fid, 1500, 60000)) for _ in range(2))
        assert half == again
        assert nine.ask(wire.READDIR, struct.pack("<IQI", fid, 1 << 40, 60000)) == bytes(4)
        with refused(errno.EINVAL):
            nine.ask(wire.READDIR, struct.pack("<IQI", fid, 0, 5))


def test_who_does_not_read_is_not_heard(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(60000))
    with Server(tmp_path) as server:
        nine = Nine(server.ends[1])
        fid = nine.open(nine.path("file"))
        message = HEAD.pack(23, wire.READ, 1) + struct.pack("<IQI", fid, 0, 60000)
        nine.end.settimeout(1)
        sent = 0
        with contextlib.suppress(TimeoutError):
            for _ in range(100_000):
                sent += nine.end.send(message)
        assert sent < 2_000_000
        assert server.memory() < 100 * 1024**2
        other = Nine(server.ends[0])
        assert len(other.read(other.open(other.path("file")))) == 60000


def test_a_flush_is_answered_after_what_it_cuts_off(tmp_path: Path) -> None:
    with served(tmp_path) as nine:
        fid = nine.create("file")
        nine.write(fid, bytes(60000))
        nine.send(wire.FSYNC, struct.pack("<II", fid, 0), tag=5)
        nine.send(wire.FLUSH, struct.pack("<H", 5), tag=6)
        nine.send(wire.FLUSH, struct.pack("<H", 99), tag=7)
        heard = [nine.hear()[1] for _ in range(3)]
        assert heard.index(5) < heard.index(6)
