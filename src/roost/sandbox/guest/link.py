"""The host's end of the stream into a sandbox. All data from inside may be forged: sizes are bounded, and a guest that
breaks a rule loses the link. `agent.py` documents the frames."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import msgspec

from roost.errors import SandboxError

HEAD = struct.Struct("!HI")
LONGEST_COMMAND = 4 * 1024**2
"""Bytes of a command's arguments and environment, as JSON."""
_LONGEST_HEAD = 4096
_LONGEST_BODY = 256 * 1024
_UNREAD = 16 * 1024**2
"""Unread bytes after which a guest counts as dead."""
_INPUT_AHEAD = 256 * 1024

Limit = tuple[int, int, int]
"""Number of a resource limit, soft value, hard value."""


class Command(msgspec.Struct, kw_only=True):
    """The body of `exec`. Of each output the first `credit` bytes are sent, and of the rest the last `keep`; with
    `keep` 0 the command waits for more credit. `terminal`: columns and rows. `merge`: one stream for both outputs."""

    argv: Sequence[str]
    cwd: str
    env: Mapping[str, str]
    limits: Sequence[Limit] = ()
    terminal: tuple[int, int] | None = None
    merge: bool = False
    input: bool = False
    credit: int = 65536
    keep: int = 65536


class _Head(msgspec.Struct):
    """The fields allowed in a header from inside."""

    t: Literal["hello", "held", "ate", "out", "exit", "fail", "dial", "eof", "mode"]
    id: int = 0
    fd: Literal[1, 2] = 1
    cut: int = 0
    n: int = 0
    code: int = 0


_head = msgspec.json.Decoder(_Head)


class Ended(msgspec.Struct, frozen=True):
    """`code` is negative for a signal; `refused` says why the command could not be started."""

    code: int
    refused: str | None = None


class Job:
    """A command inside. `output` is called with the stream (1, 2), the number of bytes left out before, and the bytes.
    `ended` raises `SandboxError` when the link is lost first."""

    def __init__(self, link: Link, number: int, credit: int | None, output: Callable[[int, int, bytes], None]) -> None:
        self.id = number
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._link = link
        self._output = output
        self._may = {1: credit, 2: credit}
        self._ahead = 0
        self._eaten = asyncio.Event()
        self._mode: asyncio.Future[bool] | None = None

    async def feed(self, data: bytes) -> None:
        """Send input, as fast as the command reads it."""
        for start in range(0, len(data), _INPUT_AHEAD):
            part = data[start : start + _INPUT_AHEAD]
            while self._ahead and self._ahead + len(part) > _INPUT_AHEAD and not self.ended.done():
                self._eaten.clear()
                await self._eaten.wait()
            self._ahead += len(part)
            self._link.send("in", self.id, part)

    def end_input(self) -> None:
        self._link.send("eof", self.id)

    def signal(self, number: int, *, everything: bool = False) -> None:
        """Send a signal to its process group. `everything`: kill all processes that it started instead."""
        self._link.send("kill", self.id, sig=number, all=everything)

    def resize(self, columns: int, rows: int) -> None:
        self._link.send("resize", self.id, size=(columns, rows))

    async def hides_input(self) -> bool:
        """Whether the program on its terminal reads a line without showing it."""
        if self._mode is None or self._mode.done():
            self._mode = asyncio.get_running_loop().create_future()
            self._link.send("mode", self.id)
        return await asyncio.shield(self._mode)

    def grant(self, count: int) -> None:
        """Allow `count` more bytes of standard output."""
        self._may[1] = (self._may[1] or 0) + count
        self._link.send("credit", self.id, fd=1, n=count)

    def heard(self, head: _Head, body: bytes) -> None:
        match head.t:
            case "out":
                may = self._may[head.fd]
                if may is not None:
                    self._may[head.fd] = max(0, may - len(body))
                self._output(head.fd, max(0, head.cut), body)
            case "ate":
                self._ahead = max(0, self._ahead - max(0, head.n))
                self._eaten.set()
            case "exit":
                self.end(Ended(head.code))
            case "fail":
                self.end(Ended(head.code, body[:4096].decode("utf-8", "replace")))
            case "eof":
                self._output(1, 0, b"")
            case "mode":
                self._learn(head.n != 0)
            case "hello" | "held" | "dial":
                pass

    def _learn(self, hides: bool) -> None:
        if self._mode is not None and not self._mode.done():
            self._mode.set_result(hides)

    def end(self, how: Ended | SandboxError) -> None:
        self._eaten.set()
        self._learn(True)
        if self.ended.done():
            return
        if isinstance(how, Ended):
            self.ended.set_result(how)
        else:
            self.ended.set_exception(how)
            self.ended.exception()  # marks it as retrieved: a caller may not wait for it


class Link(asyncio.Protocol):
    """One sandbox's stream. Belongs to the loop that made it; no method blocks.

    `hello`: done once the guest has spoken. `held`: done once the guest is still after `hold`. `lost`: done when the
    link is over, with the reason. The link to a resumed guest starts from `last`, the number of the last job that the
    guest knows, and needs `wake`."""

    def __init__(self, last: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self.hello: asyncio.Future[None] = loop.create_future()
        self.held: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[str] = loop.create_future()
        self.dial: Callable[[int], None] | None = None
        """Called with a number when a program inside wants a connection; the receiver claims it with `take_up`. Empty
        output then means the end of the program's data."""
        self._transport: asyncio.Transport | None = None
        self._data = bytearray()
        self._jobs: dict[int, Job] = {}
        self.last = last

    def start(self, command: Command, output: Callable[[int, int, bytes], None]) -> Job:
        """Start a command. Raises `SandboxError` when the link is lost, `ValueError` when the command is too long."""
        body = json.dumps(msgspec.to_builtins(command)).encode()  # not msgspec: file names may not be valid UTF-8
        if len(body) > LONGEST_COMMAND:
            raise ValueError("the arguments are too long")
        self.last += 1
        job = self._jobs[self.last] = Job(self, self.last, command.credit, output)
        self.send("exec", job.id, body)
        return job

    def take_up(self, number: int, output: Callable[[int, int, bytes], None]) -> Job:
        """Attach to a job that already runs."""
        job = self._jobs[number] = Job(self, number, 0, output)
        return job

    def hold(self) -> None:
        self._write("hold", 0)

    def wake(self) -> None:
        self._write("go", 0)

    def send(self, kind: str, job: int, body: bytes = b"", **more: Any) -> None:
        if job in self._jobs or self.lost.done():
            self._write(kind, job, body, **more)

    def _write(self, kind: str, job: int, body: bytes = b"", **more: Any) -> None:
        if self._transport is None or self.lost.done():
            raise SandboxError("the sandbox has ended; make a new one")
        head = msgspec.json.encode({"t": kind, "id": job, **more})
        self._transport.write(HEAD.pack(len(head), len(body)) + head + body)
        if self._transport.get_write_buffer_size() > _UNREAD:
            self._fail("it does not read what it is told")

    def close(self, reason: str = "it was closed") -> None:
        self._fail(reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("it has ended")

    def data_received(self, data: bytes) -> None:
        self._data += data
        while len(self._data) >= HEAD.size and not self.lost.done():
            head, body = HEAD.unpack_from(self._data)
            if head > _LONGEST_HEAD or body > _LONGEST_BODY:
                self._fail("it sent a frame that is too large")
                return
            end = HEAD.size + head + body
            if len(self._data) < end:
                return
            frame = bytes(self._data[HEAD.size : end])
            del self._data[:end]
            try:
                self._heard(_head.decode(frame[:head]), frame[head:])
            except msgspec.MsgspecError:
                self._fail("it sent what is no frame")

    def _heard(self, head: _Head, body: bytes) -> None:
        if head.t == "hello" and not self.hello.done():
            self.hello.set_result(None)
            return
        if head.t == "held" and not self.held.done():
            self.held.set_result(None)
            return
        if head.t == "dial" and self.dial is not None and head.id < 0 and head.id not in self._jobs:
            self.dial(head.id)
            return
        job = self._jobs.get(head.id)
        if job is None:
            return
        job.heard(head, body)
        if job.ended.done():
            self._jobs.pop(job.id, None)  # a job may have closed the link

    def _fail(self, reason: str) -> None:
        if self.lost.done():
            return
        self.lost.set_result(reason)
        if not self.hello.done():
            self.hello.set_exception(SandboxError(f"the sandbox did not start: {reason}"))
            self.hello.exception()
        self.held.cancel()
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            job.end(SandboxError(f"the sandbox ended while a command ran: {reason}"))
        self._data.clear()
        if self._transport is not None:
            self._transport.abort()
