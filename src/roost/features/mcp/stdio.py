"""The transport of a server that is a program: one JSON message a line, on its standard input and output."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

from roost.errors import SandboxError
from roost.features.mcp.messages import MESSAGE_BYTES, Json, ServerFailed, encode, parse
from roost.features.mcp.wire import Flood, Receive
from roost.sandbox.backend import Terminal

_KEPT = 20
_SHOWN = 600
_SCRIPT = '{ "$@" 2>&1 1>&3 3>&- | tail -c 2000 >&3; } 3>&1'
"""Keep the program's log out of its messages: its last words follow when it has ended."""


class Place(Protocol):
    """What can run a program: the sandbox of a session, or this machine."""

    async def spawn(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str] | None = None, lossless: bool = False
    ) -> Terminal: ...


class Stdio:
    """A server as a program in `place`. hint: what to say when the program ends by itself."""

    def __init__(self, place: Place, argv: Sequence[str], *, cwd: str, env: Mapping[str, str], hint: str = "") -> None:
        self._hint = hint
        self._place, self._cwd, self._env = place, cwd, env
        self._argv = ["sh", "-c", _SCRIPT, "mcp", *argv]
        self._program: Terminal | None = None
        self._words: deque[str] = deque(maxlen=_KEPT)
        self._writing = asyncio.Lock()

    async def open(self, receive: Receive) -> None:
        self._receive = receive
        try:
            self._program = await self._place.spawn(self._argv, cwd=self._cwd, env=self._env, lossless=True)
        except SandboxError as error:
            raise ServerFailed(f"its program cannot be started: {error}") from error

    async def run(self) -> None:
        assert self._program is not None
        flood, held = Flood(), bytearray()
        try:
            async for piece in self._program.read():
                flood.count(len(piece))
                held += piece
                if b"\n" in piece:
                    *lines, rest = held.split(b"\n")
                    held = bytearray(rest)
                    for line in lines:
                        self._take(bytes(line))
                        flood.count(0)
                    await asyncio.sleep(0)
                if len(held) > MESSAGE_BYTES:
                    raise ServerFailed(f"it sent a message of more than {MESSAGE_BYTES // 1024**2} MB")
        except SandboxError as error:
            raise ServerFailed(f"its sandbox has ended: {error}") from error
        if held:
            self._take(bytes(held))
        raise ServerFailed(f"its program has ended{self._said()}{self._hint}")

    async def send(self, message: Json, headers: Mapping[str, str]) -> None:
        if self._program is None:
            raise ServerFailed("its program is not running")
        async with self._writing:
            try:
                await self._program.write(encode(message) + b"\n")
            except (SandboxError, OSError) as error:
                raise ServerFailed(f"its program takes no more messages: {error}") from error

    async def close(self) -> None:
        program, self._program = self._program, None
        if program is not None:
            with contextlib.suppress(SandboxError):  # it ended with its sandbox
                await program.close()

    def _take(self, line: bytes) -> None:
        if line.lstrip()[:1] == b"{":
            self._receive(parse(line), None)
        elif line.strip():
            self._words.append(line.decode("utf-8", "replace"))

    def _said(self) -> str:
        said = " ".join(" ".join(self._words).split())[-_SHOWN:]
        return f"; its last words: {said}" if said else ""
