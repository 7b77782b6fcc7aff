"""A small HTTP/1.1 client over one kept connection, so that the bench measures the servers and not a client library."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any


class Connection:
    def __init__(self, port: int, *, token: str | None = None) -> None:
        self._port = port
        self._head = f"Host: 127.0.0.1:{port}\r\n" + (f"Authorization: Bearer {token}\r\n" if token else "")
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def request(self, method: str, path: str, body: Any = None, *, stream: bool = False) -> tuple[int, bytes]:
        """(status, whole body). A stream is read to its end."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        data = b"" if body is None else json.dumps(body).encode()
        accept = "text/event-stream" if stream else "application/json"
        kind = "Content-Type: application/json\r\n" if data else ""
        head = f"{method} {path} HTTP/1.1\r\n{self._head}Accept: {accept}\r\n{kind}Content-Length: {len(data)}\r\n\r\n"
        self._writer.write(head.encode() + data)
        return await self._answer()

    async def json(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = await self.request(method, path, body)
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path}: {status} {answer[:300]!r}")
        return json.loads(answer)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    async def _answer(self) -> tuple[int, bytes]:
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        status = int(head.split(b" ", 2)[1])
        if b"transfer-encoding: chunked" in head:
            body = await self._chunks()
        elif b"content-length:" in head:
            body = await self._reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r")[0]))
        else:
            body = await self._reader.read()
        if b"connection: close" in head:
            self.close()
        return status, body

    async def _chunks(self) -> bytes:
        assert self._reader is not None
        parts: list[bytes] = []
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return b"".join(parts)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, path: str = "/health", *, seconds: float = 60.0) -> float:
    """Seconds until a GET is answered 200; looks every 5 ms. Raises `TimeoutError`."""
    began = time.perf_counter()
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
    while time.perf_counter() - began < seconds:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
                link.sendall(request)
                if link.recv(64).startswith(b"HTTP/1.1 200"):
                    return time.perf_counter() - began
        except OSError:
            pass
        time.sleep(0.005)
    raise TimeoutError(f"nothing answers at port {port} within {seconds:g} s")
