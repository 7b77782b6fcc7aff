"""A server that takes the place of another, one that is killed, and what a server can see."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import json
import os
import random
import secrets
import socket
import struct
import sys
import time
from pathlib import Path

import pytest
from tests.sandbox.nine import HEAD, Nine, Server, refused

from roost.errors import SandboxError
from roost.machines import file_export as starting
from roost.machines.ninep import wire
from roost.sandbox import mounts
from roost.sandbox.backend import SandboxSpec
from roost.sandbox.base import User
from roost.sandbox.containers.bwrap import BwrapBackend
from roost.sandbox.process_marks import reap_orphans
from roost.sandbox.sandbox_host import SandboxHost

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the server uses Linux's ways to open files")


def left(server: Server, *unsent: bytes) -> bytes:
    """What the next one is started with."""
    there = [base64.b64encode(each).decode() for each in unsent or (b"", b"")]
    return json.dumps({"unsent": there, "streams": server.ask(b'"save"')}).encode()


def test_a_server_takes_up_what_another_had_in_hand(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        nine = Nine(server.ends[1])
        fids = {name: nine.create(name) for name in ("stays", "goes", "changes")}
        for fid in fids.values():
            nine.write(fid, b"before")
        walked, listed = nine.path("stays"), nine.open(nine.walk())
        assert server.ask(b'"hold"') == "held"
        nine.send(wire.READ, struct.pack("<IQI", fids["stays"], 0, 100), tag=9)
        half = HEAD.pack(23, wire.READ, 10) + struct.pack("<IQI", fids["stays"], 3, 100)
        nine.end.sendall(half[:12])
        kept = left(server)
    (tmp_path / "goes").unlink()
    (tmp_path / "changes").rename(tmp_path / "changed")
    (tmp_path / "changes").write_text("other")
    with Server(tmp_path, kept) as server:
        nine = Nine(server.ends[1], attach=False)
        assert nine.hear() == (wire.READ + 1, 9, struct.pack("<I", 6) + b"before")
        nine.end.sendall(half[12:])
        assert nine.hear()[1:] == (10, struct.pack("<I", 3) + b"ore")
        assert nine.write(fids["stays"], b"after", 6) == 5
        assert (tmp_path / "stays").read_text() == "beforeafter"
        assert nine.size(walked) == 11
        assert len(nine.readdir(listed)) == 5
        for name in ("goes", "changes"):
            with refused(errno.ESTALE):
                nine.read(fids[name])


def everything(end: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(BlockingIOError):
        while part := end.recv(1 << 20):
            data += part
    return data


def test_not_a_byte_is_lost_between_two_servers(tmp_path: Path) -> None:
    """Held at any moment while requests and answers are under way, twelve times."""
    chance = random.Random(3)
    (tmp_path / "file").write_bytes(data := chance.randbytes(60_000))
    asked = {tag: (chance.randrange(50_000), chance.randrange(1200)) for tag in range(1, 4001)}
    waiting = bytearray()
    for tag, (offset, count) in asked.items():
        waiting += HEAD.pack(23, wire.READ, tag) + struct.pack("<IQI", 9, offset, count)
    kept, unread = b"null", bytearray()
    for turn in range(12):
        with Server(tmp_path, kept) as server:
            nine = Nine(server.ends[1], attach=not turn)
            if not turn:
                nine.open(nine.walk("file", new=9))
            nine.end.setblocking(False)
            for _ in range(chance.randrange(40)):
                with contextlib.suppress(BlockingIOError):
                    del waiting[: nine.end.send(waiting[: chance.randrange(1, 9000)])]
                with contextlib.suppress(BlockingIOError):
                    unread += nine.end.recv(chance.randrange(1, 90_000))
            assert server.ask(b'"hold"') == "held"
            kept = left(server, b"", everything(nine.end))
            assert everything(nine.end) == b""
    answers: dict[int, bytes] = {}
    with Server(tmp_path, kept) as server:
        server.ends[1].setblocking(False)
        deadline = time.monotonic() + 20
        while len(answers) < len(asked) and time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                del waiting[: server.ends[1].send(waiting)]
            unread += everything(server.ends[1])
            while len(unread) >= 7 and len(unread) >= (size := HEAD.unpack_from(unread)[0]):
                tag = HEAD.unpack_from(unread)[2]
                assert tag not in answers
                answers[tag] = bytes(unread[11:size])
                del unread[:size]
    assert answers == {tag: data[offset : offset + count] for tag, (offset, count) in asked.items()}


def test_killed_in_the_midst(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        nine = Nine(server.ends[1])
        fid = nine.create("file")
        for number in range(100):
            nine.send(wire.WRITE, struct.pack("<IQI", fid, number * 1000, 1000) + bytes([number]) * 1000, tag=number)
        server.process.kill()
        server.process.wait()
        heard = 0
        with contextlib.suppress(EOFError, OSError):
            while True:
                nine.hear()
                heard += 1
    data = (tmp_path / "file").read_bytes()
    assert heard <= len(data) // 1000 <= 100
    assert data == b"".join(bytes([number]) * 1000 for number in range(len(data) // 1000))


async def in_a_namespace(
    workspace: Path, reads: tuple[Path, ...] = (), hidden: tuple[Path, ...] = (), user: User | None = None
) -> tuple[SandboxHost, starting.ServedView]:
    probe = await BwrapBackend().probe()
    if not probe.able:
        pytest.skip(f"bubblewrap: {probe.why}")
    marker = f"test-{secrets.token_hex(4)}"
    body = SandboxHost(SandboxSpec(session="s", workspace=workspace, marker=marker, user=user), "files")
    view = [*mounts.system(), *mounts.folders(workspace, reads, hidden)]
    return body, await starting.start(body, view)


async def test_it_sees_the_view_and_nothing_else(tmp_path: Path) -> None:
    for name in ("work", "work/hidden", "reads", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    hidden = tmp_path / "work" / "hidden"
    body, view = await in_a_namespace(tmp_path / "work", reads=(tmp_path / "reads",), hidden=(hidden,))

    def look() -> None:
        root, work = Nine(view.root), Nine(view.workspace)
        assert sorted(root.readdir(root.open(root.path(str(tmp_path))))) == [".", "..", "reads", "work"]
        assert root.read(root.open(root.path(f"{tmp_path}/reads/file"))) == b"reads"
        for place in ("proc", "dev", "sys", "tmp/.X11-unix"):
            with contextlib.suppress(FileNotFoundError, OSError):
                assert root.readdir(root.open(root.path(place))) == [".", ".."]
        for place in ("/etc/shadow", f"{tmp_path}/other"):
            with pytest.raises(FileNotFoundError):
                root.path(place)
        with refused(errno.EROFS):
            root.create("new", root.path(str(tmp_path / "work")))
        assert work.readdir(work.open(work.path("hidden"))) == [".", ".."]
        with refused(errno.EROFS, errno.EACCES):
            work.create("new", work.path("hidden"))
        work.write(work.create("new"), b"from inside")
        for up in ("/", f"{tmp_path}/reads"):
            with refused(errno.EROFS):
                root.create("new", root.path(up))

    try:
        await asyncio.to_thread(look)
        assert (tmp_path / "work" / "new").read_text() == "from inside"
        assert (tmp_path / "work" / "new").stat().st_uid == os.getuid()
    finally:
        await view.close()
        await view.close()
    assert await asyncio.to_thread(reap_orphans, body.spec.marker) == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another user")
async def test_what_it_makes_belongs_to_the_workspace_s_user(tmp_path: Path) -> None:
    """Inside the guest they are those of its commands' user."""
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "work").mkdir(mode=0o700)
    os.chown(tmp_path / "home" / "work", 2100000001, 2100000001)
    (tmp_path / "roots").mkdir(mode=0o700)
    reads = (tmp_path / "roots",)
    _, view = await in_a_namespace(tmp_path / "home" / "work", reads, user=User(2100000001, 2100000001))

    def look() -> None:
        root, work = Nine(view.root), Nine(view.workspace)
        work.write(work.create("new"), b"from inside")
        with refused(errno.EACCES):
            root.readdir(root.open(root.path(str(tmp_path / "roots"))))

    try:
        await asyncio.to_thread(look)
        assert (tmp_path / "home" / "work" / "new").stat().st_uid == 2100000001
    finally:
        await view.close()


async def test_a_namespace_that_takes_the_place_of_another(tmp_path: Path) -> None:
    body, view = await in_a_namespace(tmp_path)
    nine = Nine(view.workspace)
    fid = await asyncio.to_thread(nine.create, "file")
    await asyncio.to_thread(nine.write, fid, b"before")
    nine.send(wire.READ, struct.pack("<IQI", fid, 0, 100), tag=4)
    await view.hold()
    kept = await view.kept()
    await view.close()
    again = await starting.start(body, [*mounts.system(), *mounts.folders(tmp_path, (), ())], kept)
    try:
        nine = Nine(again.workspace, attach=False)
        assert (await asyncio.to_thread(nine.hear))[1:] == (4, struct.pack("<I", 6) + b"before")
    finally:
        await again.close()
    with pytest.raises(SandboxError):
        await starting.start(body, [*mounts.system()], b"no JSON")
    assert await asyncio.to_thread(reap_orphans, body.spec.marker) == 0


async def test_a_server_that_died_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    body, view = await in_a_namespace(tmp_path)
    try:
        assert await asyncio.to_thread(reap_orphans, body.spec.marker) >= 1
        with pytest.raises(SandboxError, match="does not answer"):
            await view.hold()
    finally:
        await view.close()
