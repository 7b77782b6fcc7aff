"""The gateway of a node: where the programs of its sessions reach their models.

In a sandbox of level 1 or 2 it is the proxy's own address, over a socket that only this sandbox has: it needs no
network, and nothing else of the node can be reached there. At level 0 it is a port of this machine's loopback. In both
a program must show its key, which is good for one session while its program runs, and is stored nowhere."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import cast

from roost.agent.session import Session
from roost.features.coding_agents.bridge import MOST_WAITING, PREFIX
from roost.features.coding_agents.ports import Caller
from roost.features.coding_agents.process import ProgramFailed, node_folder
from roost.features.coding_agents.program import Program
from roost.features.coding_agents.programs import program_of
from roost.kernel.local_http import CALLER, LocalHttp
from roost.sandbox.backend import Gateway
from roost.sandbox.proxy_request import Refused, Request, parse

_HEAD = 64 * 1024
_HEAD_SECONDS = 30.0
_INSIDE = "http://127.0.0.1:3128"
_MOST = 4 * MOST_WAITING
_MOST_AT_ONCE = 16
"""Requests of one program at once: each may hold a body of 32 MiB in memory."""
_SYSTEM = ("/usr/", "/bin/", "/nix/store/")


class NodeGateway:
    """Implements `ports.Gateway` for all sessions of a node."""

    def __init__(self, http: LocalHttp) -> None:
        self._http = http
        self._bridges: dict[str, Caller] = {}
        self._server: asyncio.Server | None = None
        self._starting = asyncio.Lock()
        self._open: set[asyncio.Task[None]] = set()
        self._busy: Counter[Caller | None] = Counter()

    async def address(self, session: Session) -> str:
        if not await self._http.ready():
            raise ProgramFailed(
                "program_failed", "a coding agent needs the daemon, or the command line, to reach models"
            )
        if session.means.sandbox.level > 0:
            return _INSIDE
        async with self._starting:
            if self._server is None:
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_HEAD)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def open(self, session: str, bridge: Caller) -> None:
        self._bridges[session] = bridge

    def shut(self, session: str) -> None:
        self._bridges.pop(session, None)

    def executable(self, program: Program) -> str:
        found = shutil.which(program.command)
        return os.path.realpath(found) if found else ""

    def folders(self, name: str) -> list[Path]:
        """Return the folders and files that a program needs inside a sandbox, besides the system's. Blocks."""
        program = program_of(name)
        found = [_installation(Path(place)) for place in (self.executable(program),) if place]
        if program.node and (node := node_folder(program.command)):
            found.append(Path(node) / "node")
        return [path for path in found if not f"{path}/".startswith(_SYSTEM)]

    def door_of(self, session: str) -> Gateway:
        """Return what serves the sandbox of a session."""
        return cast("Gateway", partial(self._answer, session))

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            if len(self._open) <= _MOST:
                async with asyncio.timeout(_HEAD_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                await self._answer(None, parse(head, own=True), reader, writer)
        except (OSError, TimeoutError, Refused, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(
        self, session: str | None, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer one request. session: whose sandbox it comes from; None: by its key alone."""
        found = [] if session is None else [self._bridges.get(session)]
        bridges = list(self._bridges.values()) if session is None else [one for one in found if one is not None]
        key = _key_of(request)
        bridge = next((one for one in bridges if hmac.compare_digest(one.key.encode(), key)), None)
        if bridge is None and request.method != "HEAD":
            await _refuse(writer, 401)
            return
        if bridge is not None and self._busy[bridge] >= _MOST_AT_ONCE:
            await _refuse(writer, 503)
            return
        self._busy[bridge] += 1
        try:
            await self._http.serve(
                request, PREFIX + request.path, reader, writer, {CALLER: bridge and bridge.of(request)}
            )
        finally:
            self._busy[bridge] -= 1
            if not self._busy[bridge]:
                del self._busy[bridge]


async def _refuse(writer: asyncio.StreamWriter, status: int) -> None:
    with contextlib.suppress(OSError):
        writer.write(b"HTTP/1.1 %d -\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        await writer.drain()


def _key_of(request: Request) -> bytes:
    """Return the key that a request shows, in a header of any provider's protocol."""
    headers = {key.lower(): value.strip() for key, value in request.headers}
    bearer = headers.get(b"authorization", b"")
    if bearer[:7].lower() == b"bearer ":
        return bearer[7:].strip()
    return headers.get(b"x-api-key") or headers.get(b"x-goog-api-key") or b""


def _installation(executable: Path) -> Path:
    """Return what a program needs: its outermost `node_modules`, else the executable alone, since its folder may be a
    person's home."""
    above = [folder for folder in executable.parents if folder.name == "node_modules"]
    return above[-1] if above else executable
