"""The stream out of a sandbox: whatever comes from inside, the outside stays whole."""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import socket
import threading
import tracemalloc
import tty

import pytest

from roost.errors import SandboxError
from roost.sandbox.base import Quota
from roost.sandbox.guest import spawn
from roost.sandbox.guest.command import Running
from roost.sandbox.guest.link import HEAD, LONGEST_COMMAND, Command, Job, Link


class Inside:
    """The other end, to say anything with."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end

    async def say(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.end, data)

    async def frame(self, head: object, body: bytes = b"") -> None:
        text = json.dumps(head).encode()
        await self.say(HEAD.pack(len(text), len(body)) + text + body)


async def pair() -> tuple[Link, Inside]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    link = Link()
    await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)
    return link, Inside(theirs)


def job(link: Link, heard: list[bytes]) -> Job:
    return link.start(Command(argv=["x"], cwd="/", env={}), lambda fd, cut, data: heard.append(data))


@pytest.mark.parametrize(
    "data",
    [
        HEAD.pack(65535, 0),
        HEAD.pack(2, 2**32 - 1) + b"{}",
        HEAD.pack(2, 0) + b"{}",
        HEAD.pack(4, 0) + b"null",
        HEAD.pack(3, 0) + b"\xff\xff\xff",
        HEAD.pack(26, 0) + b'{"t":"out","fd":7,"id":1} ',
        HEAD.pack(20, 0) + b'{"t":"exit","id":[]}',
        b"\0" * 100,
    ],
)
async def test_what_is_no_frame_ends_the_link(data: bytes) -> None:
    link, inside = await pair()
    running = job(link, [])
    await inside.say(data)
    await asyncio.wait_for(asyncio.shield(link.lost), 30)
    with pytest.raises(SandboxError):
        await running.ended
    with pytest.raises(SandboxError):
        job(link, [])
    inside.end.close()


async def test_frames_of_jobs_that_nobody_knows_are_nothing() -> None:
    link, inside = await pair()
    heard: list[bytes] = []
    running = job(link, heard)
    for number in (0, 2, 99, 2**62):
        for kind in ("out", "exit", "ate", "fail", "hello"):
            await inside.frame({"t": kind, "id": number, "code": 3, "n": -5, "cut": -1}, b"forged")
    await inside.frame({"t": "ate", "id": running.id, "n": -(10**9)})
    await inside.frame({"t": "out", "id": running.id, "fd": 1}, b"real")
    await inside.frame({"t": "exit", "id": running.id, "code": 4})
    assert (await asyncio.wait_for(running.ended, 30)).code == 4
    assert heard == [b"real"]
    await inside.frame({"t": "exit", "id": running.id, "code": 5})
    link.close()
    inside.end.close()


async def test_noise_of_any_kind_raises_nothing() -> None:
    noise = random.Random(7)
    for _ in range(60):
        link, inside = await pair()
        running = job(link, [])
        frames = [
            {"t": noise.choice(["out", "exit", "ate", 1, None]), "id": noise.choice([1, 2, "x", -1])} for _ in range(9)
        ]
        for head in frames:
            text = json.dumps(head).encode()
            data = bytearray(HEAD.pack(len(text), 5) + text + b"12345")
            if noise.random() < 0.5:
                data[noise.randrange(len(data))] = noise.randrange(256)
            try:
                await inside.say(bytes(data))
            except OSError:
                break
        inside.end.close()
        await asyncio.wait_for(asyncio.shield(link.lost), 30)
        await asyncio.wait([running.ended], timeout=30)
        assert running.ended.done()


async def test_a_flood_of_forged_output_takes_no_memory() -> None:
    link, inside = await pair()
    running = Running(link, Command(argv=["x"], cwd="/", env={}), None, Quota(output_bytes=10_000))
    task = asyncio.create_task(running.result())
    await asyncio.sleep(0)
    tracemalloc.start()
    try:
        for _ in range(500):
            await inside.frame({"t": "out", "id": 1, "fd": 1, "cut": 10**15}, b"x" * 100_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    await inside.frame({"t": "exit", "id": 1, "code": 0})
    result = await asyncio.wait_for(task, 30)
    assert peak < 4_000_000
    assert result.truncated
    assert len(result.stdout) < 10_200
    link.close()
    inside.end.close()


async def test_a_guest_that_hears_nothing_is_given_up() -> None:
    link, inside = await pair()
    big = Command(argv=["x" * (LONGEST_COMMAND - 1000)], cwd="/", env={})
    for _ in range(5):
        if not link.lost.done():
            link.start(big, lambda fd, cut, data: None)
    with pytest.raises(SandboxError):
        link.start(big, lambda fd, cut, data: None)
    assert "does not read" in await link.lost
    inside.end.close()


async def test_a_command_that_is_too_long_is_refused_here() -> None:
    link, inside = await pair()
    result = await Running(link, Command(argv=["x" * LONGEST_COMMAND], cwd="/", env={}), None, Quota()).result()
    assert result.exit_code == 126
    assert "too long" in result.stderr
    link.close()
    inside.end.close()


async def test_who_dies_before_it_has_spoken_is_told() -> None:
    link, inside = await pair()
    inside.end.close()
    with pytest.raises(SandboxError, match="did not start"):
        await asyncio.wait_for(link.hello, 30)


def test_a_terminal_is_read_in_larger_pieces_than_it_gives_out() -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    os.write(theirs, b"key")
    assert select.select([ours], [], [], 60)[0]
    assert spawn.read_terminal(ours, 65536) == b"key"
    given = bytes(range(32, 127)) * 20_000
    writing = threading.Thread(
        target=lambda: [os.write(theirs, given[at : at + 4096]) for at in range(0, len(given), 4096)]
    )
    writing.start()
    pieces: list[bytes] = []
    while sum(map(len, pieces)) < len(given):
        assert select.select([ours], [], [], 60)[0]
        pieces.append(spawn.read_terminal(ours, 20_000))
    writing.join()
    assert b"".join(pieces) == given
    assert 4096 < max(map(len, pieces)) <= 20_000
    os.close(theirs)
    with pytest.raises(OSError):
        spawn.read_terminal(ours, 20_000)
    os.close(ours)
