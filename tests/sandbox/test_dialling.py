"""The way out over the link: a real agent in namespaces, a door that answers with what it hears, and forged frames."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.sandbox.backend import SandboxSpec
from roost.sandbox.base import Quota
from roost.sandbox.containers.bwrap import BwrapBackend, find_bwrap
from roost.sandbox.egress_dialler import Dialling
from roost.sandbox.guest import relay
from roost.sandbox.guest.command import Running, command
from roost.sandbox.guest.link import HEAD, Link
from roost.sandbox.sandbox_host import SandboxHost

PYTHON = os.path.realpath(sys.executable)
_ECHO = """
import socket, sys, threading
def one(number):
    data = bytes([number]) * int(sys.argv[2])
    end = socket.create_connection(("127.0.0.1", 3128), 20)
    def send():
        end.sendall(data)
        end.shutdown(socket.SHUT_WR)
    threading.Thread(target=send).start()
    back = b""
    while part := end.recv(65536):
        back += part
    print(number, back == data)
stuck = socket.create_connection(("127.0.0.1", 3128), 20)
stuck.setblocking(False)
try:
    while True: stuck.send(bytes(65536))
except BlockingIOError:
    pass
threads = [threading.Thread(target=one, args=(number,)) for number in range(int(sys.argv[1]))]
for each in threads: each.start()
for each in threads: each.join()
"""


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Link]:
    """A sandbox whose only way out is its agent's link."""
    probe = await BwrapBackend().probe()
    if not probe.able:
        pytest.skip(f"bubblewrap: {probe.why}")
    body = SandboxHost(SandboxSpec(session="s", workspace=tmp_path, marker=f"test-{secrets.token_hex(4)}"), "link")
    agent = Path(relay.__file__).with_name("agent.py")
    args = [find_bwrap() or "", "--unshare-all", "--die-with-parent", "--as-pid-1", "--ro-bind", "/", "/"]
    args += ["--proc", "/proc", "--dev", "/dev", "--", PYTHON, "-I", "-S", str(agent)]
    await body.prepare(None, lambda *_: pytest.fail("no proxy was asked for"), bare=True)
    link = await body.launch([*args, json.dumps({"link": 0, "relay": relay.OVER_THE_LINK})])
    await body.greet(20)
    yield link
    await body.end()


async def run(link: Link, program: str, *args: str) -> str:
    quota = Quota(wall_seconds=40)
    made = command([PYTHON, "-I", "-S", "-c", program, *args], "/", {}, quota)
    result = await Running(link, made, None, quota).result()
    assert result.exit_code == 0, result
    return result.stdout


async def test_what_is_sent_comes_back_though_one_does_not_read(inside: Link, tmp_path: Path) -> None:
    async with await asyncio.start_unix_server(echo, path=str(tmp_path / "door")):
        dialling = Dialling(inside, tmp_path / "door")
        said = await run(inside, _ECHO, "12", "300000")
        assert sorted(said.splitlines()) == sorted(f"{number} True" for number in range(12))
        assert sorted((await run(inside, _ECHO, "3", "0")).splitlines()) == ["0 True", "1 True", "2 True"]
        await dialling.close()


async def test_a_door_that_is_shut(inside: Link, tmp_path: Path) -> None:
    dialling = Dialling(inside, tmp_path / "no door")
    ask = "import socket; s = socket.create_connection(('127.0.0.1', 3128), 20); print(s.recv(10))"
    for _ in range(5):
        assert await run(inside, ask) == "b''\n"
    await dialling.close()
    assert await run(inside, "print('on')") == "on\n"


async def test_connections_end_before_the_sandbox_is_held(inside: Link, tmp_path: Path) -> None:
    connected = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await echo(reader, writer)

    async with await asyncio.start_unix_server(serve, path=str(tmp_path / "door")):
        dialling = Dialling(inside, tmp_path / "door")
        ask = "import socket; s = socket.create_connection(('127.0.0.1', 3128), 20); print('there'); s.recv(10)"
        quota = Quota(wall_seconds=30)
        made = command([PYTHON, "-I", "-S", "-u", "-c", ask], "/", {}, quota)
        running = asyncio.create_task(Running(inside, made, None, quota).result())
        await asyncio.wait_for(connected.wait(), 30)
        inside.hold()
        await asyncio.wait_for(asyncio.shield(inside.held), 30)
        inside.wake()
        assert (await asyncio.wait_for(running, 30)).exit_code == 0
        assert (await run(inside, _ECHO, "2", "1000")).count("True") == 2
        await dialling.close()


async def forged(tmp_path: Path) -> tuple[Link, Dialling, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    link = Link()
    await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)
    return link, Dialling(link, tmp_path / "door"), theirs


def frame(kind: str, number: int, body: bytes = b"") -> bytes:
    head = json.dumps({"t": kind, "id": number}).encode()
    return HEAD.pack(len(head), len(body)) + head + body


async def test_forged_frames(tmp_path: Path) -> None:
    async with await asyncio.start_unix_server(echo, path=str(tmp_path / "door")) as server:
        link, dialling, theirs = await forged(tmp_path)
        loop = asyncio.get_running_loop()
        for number in (0, 1, 5, -1, -1, *range(-500, -1)):
            await loop.sock_sendall(theirs, frame("dial", number))
        await loop.sock_sendall(theirs, frame("eof", -1) + frame("out", -9999, b"x") + frame("exit", -2) * 3)
        await asyncio.sleep(0.2)
        assert not link.lost.done()
        assert server.sockets
        with contextlib.suppress(ConnectionError):  # that is what is to come
            for _ in range(100):
                await loop.sock_sendall(theirs, frame("out", -490, bytes(65536)) * 8)
        await asyncio.wait_for(asyncio.shield(link.lost), 30)
        assert "more than it may" in link.lost.result()
        await dialling.close()
        theirs.close()
        await asyncio.sleep(0.1)
