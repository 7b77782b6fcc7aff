"""A client of 9P2000.L as short as can be, to speak to the server of a machine's files."""

from __future__ import annotations

import itertools
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from roost.machines import ninep
from roost.machines.ninep import wire

HEAD = struct.Struct("<IBH")
REFUSED = "the server refuses"


def text(value: str | bytes) -> bytes:
    data = os.fsencode(value)
    return struct.pack("<H", len(data)) + data


def exactly(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = end.recv(size - len(data))
        if not part:
            raise EOFError("the server has ended the stream")
        data += part
    return data


class Nine:
    """Raises `OSError` with the number that the server gives. Fid 0 is the root."""

    def __init__(self, end: socket.socket, *, attach: bool = True) -> None:
        self.end = end
        self.end.settimeout(20)
        self._numbers = itertools.count(1)
        if attach:
            self.attach()

    def attach(self) -> None:
        """Also forgets every fid."""
        self.ask(wire.VERSION, struct.pack("<I", 65536) + text("9P2000.L"))
        self.ask(wire.ATTACH, struct.pack("<II", 0, wire.NO_FID) + text("") * 2 + bytes(4))

    def send(self, kind: int, body: bytes, tag: int = 1) -> None:
        self.end.sendall(HEAD.pack(7 + len(body), kind, tag) + body)

    def hear(self) -> tuple[int, int, bytes]:
        size, kind, tag = HEAD.unpack(exactly(self.end, 7))
        return kind, tag, exactly(self.end, size - 7)

    def ask(self, kind: int, body: bytes) -> bytes:
        self.send(kind, body)
        return self.answer(kind)

    def answer(self, kind: int) -> bytes:
        said, _, body = self.hear()
        if said == wire.ERROR + 1:
            raise OSError(struct.unpack("<I", body)[0], REFUSED)
        assert said == kind + 1
        return body

    def walk(self, *names: str | bytes, start: int = 0, new: int | None = None) -> int:
        number = next(self._numbers) if new is None else new
        asked = struct.pack("<IIH", start, number, len(names)) + b"".join(map(text, names))
        got = struct.unpack_from("<H", self.ask(wire.WALKING, asked))[0]
        if names and got != len(names):
            raise FileNotFoundError(2, "the walk ended early")
        return number

    def path(self, path: str) -> int:
        return self.walk(*[part for part in path.split("/") if part])

    def open(self, fid: int, flags: int = os.O_RDONLY) -> int:
        self.ask(wire.LOPEN, struct.pack("<II", fid, flags))
        return fid

    def create(self, name: str, start: int = 0, flags: int = os.O_RDWR | os.O_CREAT, mode: int = 0o644) -> int:
        fid = self.walk(start=start)
        try:
            self.ask(wire.LCREATE, struct.pack("<I", fid) + text(name) + struct.pack("<III", flags, mode, 0))
        except OSError:
            self.clunk(fid)
            raise
        return fid

    def read(self, fid: int, offset: int = 0, count: int = 60000) -> bytes:
        return self.ask(wire.READ, struct.pack("<IQI", fid, offset, count))[4:]

    def write(self, fid: int, data: bytes, offset: int = 0) -> int:
        said = self.ask(wire.WRITE, struct.pack("<IQI", fid, offset, len(data)) + data)
        return struct.unpack("<I", said)[0]

    def clunk(self, fid: int) -> None:
        self.ask(wire.CLUNK, struct.pack("<I", fid))

    def size(self, fid: int) -> int:
        return wire.ATTRIBUTES.unpack(self.ask(wire.GETATTR, struct.pack("<IQ", fid, 0x7FF)))[9]

    def set(self, fid: int, valid: int, mode: int = 0, size: int = 0, uid: int = 0) -> None:
        self.ask(wire.SETATTR, wire.SETTING.pack(fid, valid, mode, uid, 0, size, 0, 0, 5, 0))

    def readdir(self, fid: int, count: int = 4000) -> list[str]:
        names: list[str] = []
        offset = 0
        while data := self.ask(wire.READDIR, struct.pack("<IQI", fid, offset, count))[4:]:
            while data:
                *_, offset, _, length = wire.ENTRY.unpack_from(data)
                names.append(os.fsdecode(data[wire.ENTRY.size : wire.ENTRY.size + length]))
                data = data[wire.ENTRY.size + length :]
        return names


class Server:
    """A process that serves `folder` twice: `ends[0]` only to be read, `ends[1]` to be written."""

    def __init__(self, folder: Path, kept: bytes | None = None) -> None:
        pairs = [socket.socketpair() for _ in range(3)]
        (self.control, *self.ends), (control, *ends) = zip(*pairs, strict=True)
        streams = [(end.fileno(), str(folder), bool(place)) for place, end in enumerate(ends)]
        program = Path(ninep.__file__).with_name("serve.py")
        argv = [sys.executable, "-I", "-S", "-X", "utf8", str(program), json.dumps({"streams": streams})]
        fds = [end.fileno() for end in ends]
        self.process = subprocess.Popen(argv, stdin=control.fileno(), pass_fds=fds)
        for end in (control, *ends):
            end.close()
        self.control.settimeout(20)
        assert self.ask(kept or b"null") == "ready"

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for end in (self.control, *self.ends):
            end.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def ask(self, what: bytes) -> Any:
        self.control.sendall(struct.pack("!I", len(what)) + what)
        size = struct.unpack("!I", exactly(self.control, 4))[0]
        return json.loads(exactly(self.control, size))

    def memory(self) -> int:
        """Bytes."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096


@contextmanager
def served(folder: Path, *, writable: bool = True) -> Iterator[Nine]:
    with Server(folder) as server:
        yield Nine(server.ends[writable])


@contextmanager
def refused(*numbers: int) -> Iterator[None]:
    """With one of these numbers."""
    with pytest.raises(OSError, match=REFUSED) as caught:
        yield
    assert caught.value.errno in numbers


def contents(place: Path) -> dict[str, object]:
    """All that is in a folder, for a comparison."""
    found: dict[str, object] = {}
    for path in sorted(place.rglob("*")):
        status = path.lstat()
        what: object = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(place))] = (status.st_mode, status.st_nlink, what)
    return found
