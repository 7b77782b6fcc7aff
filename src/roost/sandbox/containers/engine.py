"""A client for the part of the Engine API (Docker's 1.41, which Podman serves too) that a sandbox needs, over a socket.

Requests are HTTP/1.0: the answer ends with the connection, so that only its head must be parsed.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from roost.errors import SandboxError

_VERSION = "/v1.41"
_MOST = 16 * 1024**2
_SECONDS = 60.0


class Engine:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.is_podman = False

    async def ping(self, seconds: float = 3.0) -> str:
        """Return the engine's version. Raises `SandboxError`."""
        said = await self.ask("GET", "/version", seconds=seconds)
        self.is_podman = "Podman" in json.dumps(said)
        return f"engine {said['Version']}" if "Version" in said else "engine"

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | bytes | None = None,
        *,
        fine: tuple[int, ...] = (),
        seconds: float = _SECONDS,
        **query: str,
    ) -> Any:
        """Return the answer as JSON, else its text. Raises `SandboxError` for a status neither 2xx nor in `fine`."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        words = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        head = f"{method} {_VERSION}{path}{'?' + words if words else ''} HTTP/1.0\r\nHost: engine\r\n"
        head += f"Content-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        try:
            async with asyncio.timeout(seconds):
                status, answer = await self._exchange(head.encode() + data)
        except (OSError, TimeoutError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
            raise SandboxError(
                f"the engine at {self.place} does not answer: {error or type(error).__name__}"
            ) from error
        text = answer.decode("utf-8", "replace")
        if not 200 <= status < 300 and status not in fine:
            raise SandboxError(f"the engine refused {method} {path}: {status} {text[:500].strip()}")
        try:
            return json.loads(text)
        except ValueError:
            return text

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_unix_connection(str(self.place), limit=_MOST)
        try:
            writer.write(request)
            await writer.drain()
            answer = bytearray()
            while (piece := await reader.read(65536)) and len(answer) < _MOST:
                answer += piece
        finally:
            writer.close()
        head, _, body = bytes(answer).partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body


def places() -> list[Path]:
    """Return the usual sockets: `DOCKER_HOST`, the system's Docker, a user's Docker or Podman, the system's Podman."""
    named = os.environ.get("DOCKER_HOST", "")
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    found = [Path(named.removeprefix("unix://"))] if named.startswith("unix://") else []
    found += [Path("/var/run/docker.sock"), Path(runtime, "docker.sock"), Path(runtime, "podman/podman.sock")]
    return [*found, Path("/run/podman/podman.sock")]
