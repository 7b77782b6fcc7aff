"""A client of Firecracker's API (1.12, its `src/firecracker/swagger/firecracker.yaml`) over its Unix socket.

One request at a time on one connection, which the server keeps open; an answer without `Content-Length` has no body.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

from roost.errors import SandboxError

_SECONDS = 20.0
_WRITING = 300.0
"""Seconds; Firecracker writes and flushes a memory file before it answers."""
_MOST = 1024**2
_AGAIN = 0.002


class Api:
    """All methods raise `SandboxError` with Firecracker's message. Paths are as Firecracker sees them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self, process: asyncio.subprocess.Process, seconds: float = _SECONDS) -> None:
        """Connect, and retry until Firecracker listens or its process ends."""
        try:
            async with asyncio.timeout(seconds):
                while process.returncode is None:
                    try:
                        self._streams = await asyncio.open_unix_connection(str(self.place), limit=_MOST)
                        return
                    except (FileNotFoundError, ConnectionRefusedError):
                        await asyncio.sleep(_AGAIN)
        except (OSError, TimeoutError) as error:
            raise SandboxError(f"Firecracker cannot be spoken to at {self.place}: {_why(error)}") from error
        raise SandboxError(f"Firecracker ended at once, with {process.returncode}")

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def version(self) -> str:
        said = await self._ask("GET", "/version")
        return str(said.get("firecracker_version", "unknown"))

    async def state(self) -> str:
        """Return `Not started`, `Running` or `Paused`."""
        return str((await self._ask("GET", "/")).get("state"))

    async def machine(self, *, memory_mib: int, cpus: int, diffs: bool) -> None:
        """Configure the machine. `diffs`: track written pages, so that a snapshot may hold only these."""
        config = {"vcpu_count": cpus, "mem_size_mib": memory_mib, "track_dirty_pages": diffs}
        await self._ask("PUT", "/machine-config", config)

    async def boot_source(self, kernel: str, words: str, disk: str | None = None) -> None:
        """Set the kernel, its command line (`words`), and the initial memory disk (`disk`)."""
        source = {"kernel_image_path": kernel, "boot_args": words}
        await self._ask("PUT", "/boot-source", source if disk is None else source | {"initrd_path": disk})

    async def vsock(self, socket: str, number: int = 3) -> None:
        await self._ask("PUT", "/vsock", {"guest_cid": number, "uds_path": socket})

    async def start(self) -> None:
        await self._ask("PUT", "/actions", {"action_type": "InstanceStart"})

    async def pause(self) -> None:
        await self._ask("PATCH", "/vm", {"state": "Paused"})

    async def go_on(self) -> None:
        await self._ask("PATCH", "/vm", {"state": "Resumed"})

    async def snapshot(self, kind: Literal["Full", "Diff"], state: str, memory: str) -> None:
        """Write a snapshot of a paused machine. `Diff` writes only the pages that are new since the last snapshot or
        load, at their offsets in an existing file `memory` of the machine's size, which is complete afterwards."""
        place = {"snapshot_path": state, "mem_file_path": memory}
        await self._ask("PUT", "/snapshot/create", {"snapshot_type": kind, **place}, seconds=_WRITING)

    async def load(self, state: str, memory: str, *, diffs: bool) -> None:
        """Resume from a snapshot. `memory` is mapped and must not change while the machine lives. A failure ends
        Firecracker."""
        backend = {"backend_type": "File", "backend_path": memory}
        more = {"enable_diff_snapshots": diffs, "resume_vm": True}
        await self._ask("PUT", "/snapshot/load", {"snapshot_path": state, "mem_backend": backend, **more})

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, seconds: float = _SECONDS
    ) -> dict[str, Any]:
        if self._streams is None:
            raise SandboxError("Firecracker is not connected")
        data = json.dumps(body).encode() if body is not None else b""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        reader, writer = self._streams
        try:
            async with asyncio.timeout(seconds):
                writer.write(head.encode() + b"\r\n" + data)
                await writer.drain()
                status, answer = await _answer(reader)
            said = json.loads(answer or b"{}")
        except (OSError, EOFError, TimeoutError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
            self.close()  # a late answer would be taken for that of another request
            raise SandboxError(f"Firecracker does not answer {method} {path}: {_why(error)}") from error
        except BaseException:
            self.close()
            raise
        told = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
        if not 200 <= status < 300:
            raise SandboxError(f"Firecracker refused {method} {path}: {told.get('fault_message', status)}")
        return told


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    fields = dict(line.lower().split(":", 1) for line in lines if ":" in line)
    size = int(fields.get("content-length", "0"))
    if not 0 <= size <= _MOST:
        raise ValueError(f"an answer of {size} bytes")
    return int(first.split(" ")[1]), await reader.readexactly(size)


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
