"""A stream into a machine of Firecracker: its `docs/vsock.md`, "host-initiated connections".

Firecracker listens on one Unix socket. A client sends `CONNECT port`. When a program in the machine listens on that
port, the answer is `OK` and a number, and the connection is that program's from then on; else it is closed.
"""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from roost.errors import SandboxError

_AGAIN = 0.01
_ONCE = 3.0
"""Seconds for one attempt; Firecracker gives a machine 2 s to answer."""
_LONGEST = 32


async def dial(place: Path, port: int, seconds: float, *, once: float = _ONCE) -> socket.socket:
    """Connect to the port, and retry until a program listens there; each attempt takes at most `once` seconds. Reads no
    byte after the answer. Raises `SandboxError`."""
    why = "nobody listens there"
    try:
        async with asyncio.timeout(seconds):
            while True:
                made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                try:
                    async with asyncio.timeout(once):
                        await _shake(made, place, port)
                    return made
                except (OSError, _Refused) as error:  # `TimeoutError` is one of them
                    made.close()
                    why = str(error) or "it did not answer"
                except BaseException:
                    made.close()
                    raise
                await asyncio.sleep(_AGAIN)
    except TimeoutError as error:
        raise SandboxError(f"the machine cannot be reached on port {port}: {why}") from error


class _Refused(Exception):
    pass


async def _shake(made: socket.socket, place: Path, port: int) -> None:
    loop = asyncio.get_running_loop()
    made.setblocking(False)
    await loop.sock_connect(made, str(place))
    await loop.sock_sendall(made, f"CONNECT {port}\n".encode())
    said = b""
    while not said.endswith(b"\n"):
        piece = await loop.sock_recv(made, 1)  # bytes after the line belong to the stream
        said += piece
        if not piece:
            raise _Refused("nobody listens there")
        if len(said) > _LONGEST:
            break
    word, _, number = said.strip().partition(b" ")
    if word != b"OK" or not number.isdigit():
        raise _Refused(f"it answered {said[:_LONGEST]!r}")
