"""Streams into a machine, with the program that is its end of them, and a stand-in for Firecracker between the two."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import random
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.errors import SandboxError
from roost.machines.firecracker import stream
from roost.machines.firecracker.stream import Stream
from roost.sandbox import guest
from roost.sandbox.guest.link import Command, Link

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="the program is for Linux on x86-64"
)
AGENT = Path(guest.__file__).with_name("agent.py")


class Vsock:
    """Carries connections to `port N` on to the Unix socket `N` of a folder, as Firecracker's documentation says, and
    cuts them all when its machine sleeps."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, folder / "vsock"
        self.tasks: set[asyncio.Task[None]] = set()
        self.lost = 0

    async def __aenter__(self) -> Vsock:
        self.server = await asyncio.start_unix_server(self.taken, str(self.place))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sleep()
        self.server.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def sleep(self) -> None:
        for task in self.tasks:
            task.cancel()

    async def taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        port = int((await reader.readline()).split()[1])
        theirs: asyncio.StreamWriter | None = None
        try:
            inside, theirs = await asyncio.open_unix_connection(str(self.folder / str(port)))
            writer.write(b"OK 1073741824\n")
            if self.lost:  # as after a sleep: who has accepted it is told that it is gone
                self.lost -= 1
                return
            await asyncio.gather(_pump(reader, theirs), _pump(inside, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in (writer, theirs):
                if each is not None:
                    each.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(5000):
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError


@pytest.fixture
async def vsock(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Vsock]:
    folder = tmp_path_factory.mktemp("v")
    async with Vsock(folder) as made:
        yield made


@contextlib.asynccontextmanager
async def inside(vsock: Vsock, port: int, fd: int, *argv: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of the machine, and what carries for it."""
    made = await asyncio.create_subprocess_exec(
        str(stream.PROGRAM),
        str(vsock.folder / str(port)),
        str(fd),
        *argv,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(made.pid, 9)
        await made.wait()


def pair() -> tuple[socket.socket, socket.socket]:
    ours, end = socket.socketpair()
    ours.setblocking(False)
    return ours, end


async def echoed(ours: socket.socket, data: bytes) -> bytes:
    loop, got = asyncio.get_running_loop(), b""
    sending = asyncio.ensure_future(loop.sock_sendall(ours, data))
    while len(got) < len(data):
        piece = await loop.sock_recv(ours, 1 << 20)
        assert piece, "the stream has ended"
        got += piece
    await sending
    return got


async def test_what_goes_in_comes_out(vsock: Vsock) -> None:
    """Much at once in both directions, through an echo that stops reading while nobody takes its answer."""
    ours, end = pair()
    async with inside(vsock, 1, 7, "/bin/sh", "-c", "exec cat <&7 >&7"):
        made = Stream(vsock.place, 1, end)
        await made.start(5)
        for size in (1, 100, 3_000_000):
            data = secrets.token_bytes(size)
            assert await echoed(ours, data) == data
        await made.close()
        await made.close()
    ours.close()


_SLOW_ECHO = """
import random, socket, time
link = socket.socket(fileno=7)
while data := link.recv(random.randrange(1, 9000)):
    time.sleep(random.random() / 2000)
    link.sendall(data)
"""


async def test_nothing_is_lost_or_doubled_by_sleep(vsock: Vsock) -> None:
    """A machine is put to sleep and woken eight times while bytes are under way everywhere."""
    random.seed(7)
    data = random.randbytes(400_000)
    loop = asyncio.get_running_loop()
    sent = got = 0
    back = bytearray()
    async with inside(vsock, 1, 7, sys.executable, "-I", "-S", "-c", _SLOW_ECHO):
        left = b""
        for sleeps in range(9):
            ours, end = pair()
            made = Stream(vsock.place, 1, end)
            vsock.lost = sleeps % 3
            await made.start(5)
            part = left + data[sent : sent + 50_000 * (sleeps < 8)]
            sent = min(len(data), sent + 50_000)
            writing = asyncio.ensure_future(loop.sock_sendall(ours, part))
            until = len(data) if sleeps == 8 else random.randrange(got, sent)
            while len(back) < until:
                back += await loop.sock_recv(ours, 3000)
            got = len(back)
            await writing
            if sleeps < 8:
                await made.hush()
                end.setblocking(False)
                left = b""
                with contextlib.suppress(BlockingIOError):
                    while piece := end.recv(1 << 20):
                        left += piece
                await made.settle()
                vsock.sleep()
                with contextlib.suppress(BlockingIOError):
                    while piece := ours.recv(1 << 20):
                        back += piece
            await made.close()
            ours.close()
    assert bytes(back) == data


async def test_an_agent_goes_on_where_it_was(vsock: Vsock, tmp_path: Path) -> None:
    """The guest's agent over a stream that sleeps: what it runs is alive, and heard of, afterwards."""
    # It ends every process that it sees: it must be the first of a namespace.
    alone = ["/usr/bin/unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no namespaces for this user")
    python = [*alone, sys.executable, "-I", "-S", str(AGENT), '{"link": 5}']
    shown: list[bytes] = []
    env = {"PATH": os.environ["PATH"]}
    async with inside(vsock, 1, 5, *python):
        link, made = await linked(vsock, Link())
        await asyncio.wait_for(asyncio.shield(link.hello), 30)
        job = link.start(
            Command(argv=["cat"], cwd=str(tmp_path), env=env, input=True, keep=0),
            lambda fd, cut, body: shown.append(body),
        )
        await job.feed(b"before ")
        while not shown:
            await asyncio.sleep(0.01)
        link.hold()
        await asyncio.wait_for(asyncio.shield(link.held), 30)
        await made.hush()
        await made.settle()
        vsock.sleep()
        await made.close()
        again, made = await linked(vsock, Link(link.last))
        link.close()
        job = again.take_up(job.id, lambda fd, cut, body: shown.append(body))
        again.wake()
        await asyncio.wait_for(asyncio.shield(again.hello), 30)
        await job.feed(b"after")
        job.end_input()
        assert (await asyncio.wait_for(asyncio.shield(job.ended), 30)).code == 0
        again.close()
        await made.close()
    assert b"".join(shown) == b"before after"


async def linked(vsock: Vsock, link: Link) -> tuple[Link, Stream]:
    ours, end = pair()
    made = Stream(vsock.place, 1, end)
    await made.start(5)
    await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)
    return link, made


async def test_what_ends_on_one_side_ends_on_the_other(vsock: Vsock) -> None:
    loop = asyncio.get_running_loop()
    ours, end = pair()
    async with inside(vsock, 1, 7, "/bin/sh", "-c", "read line <&7; echo last >&7") as program:
        made = Stream(vsock.place, 1, end)
        await made.start(5)
        await loop.sock_sendall(ours, b"go\n")
        got = b""
        while piece := await asyncio.wait_for(loop.sock_recv(ours, 100), 30):
            got += piece
        assert got == b"last\n"
        assert await program.wait() == 0
        await made.hush()
        with pytest.raises(SandboxError, match="has ended"):
            await made.settle()
        await made.close()
    ours.close()
    ours, end = pair()
    async with inside(vsock, 2, 7, "/bin/sh", "-c", "cat <&7 >/dev/null") as program:
        made = Stream(vsock.place, 2, end)
        await made.start(5)
        await loop.sock_sendall(ours, b"x")
        await asyncio.sleep(0.05)
        vsock.sleep()  # without having been settled: bytes may be lost, so it is over
        assert await asyncio.wait_for(program.wait(), 30) == 0
        await made.close()
    ours.close()
    ours, end = pair()
    never = Stream(vsock.place, 3, end)
    with pytest.raises(SandboxError, match="port 3"):
        await never.start(0.2)
    with pytest.raises(SandboxError, match="port 3"):
        await never.settle()
    await never.close()
    ours.close()


def test_the_program_is_made_from_its_source(tmp_path: Path) -> None:
    """Whatever compiler is here: it is no larger than twice, and as the source says it links nothing."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no gcc on this machine")
    source = stream.PROGRAM.with_suffix(".c")
    line = source.read_text().split("Made by: ")[1].split("-o carry")[0].replace("\n", " ").split()[1:]
    made = tmp_path / "carry"
    subprocess.run([compiler, *line, "-Wall", "-Wextra", "-Werror", "-o", made, source], check=True)
    assert abs(len(made.read_bytes()) - len(stream.PROGRAM.read_bytes())) < 1000
    assert stream.PROGRAM.read_bytes().startswith(b"\x7fELF")
    assert b"/ld-" not in stream.PROGRAM.read_bytes()
