"""Servers that never end what they send: `web_fetch` takes its part, or refuses, and soon."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable

import pytest

from roost.tools.base import ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.run_tool import run_tool

_MOST = 64 * 1024**2
"""Bytes that the server gets rid of at most, all buffers between counted."""
_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


async def text() -> AsyncIterator[bytes]:
    yield _PLAIN + b"Connection: close\r\n\r\n"
    while True:
        yield b"x" * 65536


async def chunks() -> AsyncIterator[bytes]:
    yield _PLAIN + b"Transfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"10000\r\n" + b"x" * 65536 + b"\r\n"


async def packed() -> AsyncIterator[bytes]:
    yield _PLAIN + b"Content-Encoding: gzip\r\n\r\n"
    packer = zlib.compressobj(9, wbits=31)
    yield packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b"x" * 16 * 1024**2) + packer.flush(zlib.Z_FULL_FLUSH)  # which looks back at nothing
    while True:
        yield block


async def headers() -> AsyncIterator[bytes]:
    yield _PLAIN
    number = 0
    while True:
        yield b"".join(b"X-%d: %b\r\n" % (number + each, b"y" * 100) for each in range(500))
        number += 500


async def one_header() -> AsyncIterator[bytes]:
    yield _PLAIN + b"X: "
    while True:
        yield b"y" * 65536


@pytest.mark.parametrize(
    ("endless", "outcome"),
    [(text, "ok"), (chunks, "ok"), (packed, "ok"), (headers, "error"), (one_header, "error")],
)
async def test_it_ends(
    ctx: ToolContext, monkeypatch: pytest.MonkeyPatch, endless: Callable[[], AsyncIterator[bytes]], outcome: str
) -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        try:
            async for piece in endless():
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
                await asyncio.sleep(0)
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("ROOST_WEB_ALLOW", f"127.0.0.1:{port}")
    began = time.monotonic()
    arguments = json.dumps({"url": f"http://127.0.0.1:{port}/"})
    got, parts = await run_tool(builtin_tools()["web_fetch"], ctx, arguments)
    said = "".join(part.text for part in parts)  # pyright: ignore
    server.close()
    assert (got, "only its first 5 MB" in said) == (outcome, outcome == "ok"), said[:500]
    assert sent < _MOST
    assert time.monotonic() - began < 40, "its own limit of time ended it"
