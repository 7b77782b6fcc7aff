"""Which HTTP client carries the model wire: aiohttp or pyreqwest (`pip install pyreqwest` to include it).

    python bench/http_client.py [--requests 400]

CPU and wall time of a 100-token SSE stream from a loopback server in another process, import cost, how soon a
cancelled read closes the connection, and what the errors look like.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Protocol

TOKENS = 100
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"id":"x","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"token "}}]}\n\n'
LAST = b'data: {"id":"x","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Server:
    """Paths: /sse the stream, /stall one event and then silence, /reset one event and then RST, /closed when the last
    stalled connection was seen to close (seconds on the monotonic clock, which processes of one machine share)."""

    closed_at = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
                await reader.readexactly(length)
                await self.answer(head.split()[1].decode().removesuffix("/chat/completions"), reader, writer)
        writer.close()

    async def answer(self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if path == "/closed":
            body = str(self.closed_at).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            return
        writer.write(HEAD + chunk(EVENT))
        if path == "/stall":
            self.closed_at = 0.0
            await reader.read(1)
            self.closed_at = time.monotonic()
            return
        if path == "/reset":
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.transport.abort()
            return
        for _ in range(TOKENS - 1):
            writer.write(chunk(EVENT))
            await asyncio.sleep(0)
        writer.write(chunk(LAST) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")


async def run_server() -> None:
    server = await asyncio.start_server(Server().serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Client(Protocol):
    def stream(self, url: str) -> AsyncGenerator[bytes, None]: ...
    async def close(self) -> None: ...


class Aiohttp:
    def __init__(self, read_timeout: float = 60.0) -> None:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=1, sock_read=read_timeout)
        self.session = aiohttp.ClientSession(timeout=timeout)

    async def stream(self, url: str) -> AsyncGenerator[bytes, None]:
        async with self.session.post(url, data=b'{"stream":true}') as response:
            async for data in response.content.iter_any():
                yield data

    async def close(self) -> None:
        await self.session.close()


class Pyreqwest:
    def __init__(self, read_timeout: float = 60.0) -> None:
        from pyreqwest.client import ClientBuilder

        builder = ClientBuilder().read_timeout(timedelta(seconds=read_timeout))
        self.client = builder.connect_timeout(timedelta(seconds=1)).build()

    async def stream(self, url: str) -> AsyncGenerator[bytes, None]:
        async with self.client.post(url).body_bytes(b'{"stream":true}').build_streamed() as response:
            while (data := await response.body_reader.read_chunk()) is not None:
                yield bytes(data)

    async def close(self) -> None:
        await self.client.close()


class Wire:
    """The product's own: the chosen client, the parser of events and the builder of the answer."""

    def __init__(self, read_timeout: float = 60.0) -> None:
        from roost.models.http import HttpClient

        self.client = HttpClient(connect_timeout=1, idle_timeout=read_timeout)

    async def stream(self, url: str) -> AsyncGenerator[bytes, None]:
        from roost.models.http_model import HttpModel
        from roost.models.request import Completed, Failed, TextDelta
        from roost.models.wire import Endpoint
        from roost.models.wires import wire
        from roost.testing.models import ask

        if url.endswith("/closed"):
            async with self.client.stream("POST", url, {"Content-Type": "application/json"}, b"{}") as response:
                yield await response.read_all(100)
            return
        where = Endpoint(base_url=url)
        model = HttpModel(model="m", endpoint=where, wire=wire("openai_chat"), client=self.client)
        async with contextlib.aclosing(model.stream(ask())) as events:
            async for event in events:
                if isinstance(event, Failed):
                    raise RuntimeError(event.error.message)
                # The bench counts wire bytes; a delta stands for its frame.
                yield EVENT if isinstance(event, TextDelta) else b"\n" * isinstance(event, Completed)

    async def close(self) -> None:
        await self.client.close()


async def read_one(client: Client, url: str) -> float:
    start, size = time.perf_counter(), 0
    async for data in client.stream(url):
        size += len(data)
    assert size >= TOKENS * len(EVENT), size
    return time.perf_counter() - start


async def speed(client: Client, base: str, requests: int, concurrency: int) -> str:
    async def worker(count: int) -> list[float]:
        return [await read_one(client, base + "/sse") for _ in range(count)]

    await worker(5)
    cpu = time.process_time()
    rows = await asyncio.gather(*(worker(requests // concurrency) for _ in range(concurrency)))
    cpu = time.process_time() - cpu
    times = sorted(value for row in rows for value in row)
    return f"c={concurrency:<2} cpu {cpu / len(times) * 1e3:5.2f} ms  p50 {times[len(times) // 2] * 1e3:6.2f} ms"


async def cancel(client: Client, base: str) -> str:
    async def read() -> None:
        async with contextlib.aclosing(client.stream(base + "/stall")) as stream:
            async for _ in stream:
                pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0.2)
    start = time.monotonic()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    ended = time.monotonic() - start
    await asyncio.sleep(2)
    closed = float(b"".join([data async for data in client.stream(base + "/closed")]))
    seen = f"{(closed - start) * 1e3:.1f} ms" if closed else "not within 2 s"
    return f"cancel returns in {ended * 1e3:.1f} ms, the server sees the close after: {seen}"


async def error(client: Client, url: str) -> str:
    try:
        async for _ in client.stream(url):
            pass
    except Exception as failure:  # the bench shows whatever comes
        return f"{type(failure).__name__}: {str(failure)[:150]!r}"
    return "NO ERROR: looks like a whole answer"


async def measure(kind: str, base: str, requests: int) -> None:
    make = {"aiohttp": Aiohttp, "pyreqwest": Pyreqwest, "roost wire": Wire}[kind]
    client = make()
    for concurrency in (1, 16):
        print(f"  {await speed(client, base, requests, concurrency)}")
    print(f"  {await cancel(client, base)}")
    print("  reset   ", await error(client, base + "/reset"))
    print("  refused ", await error(client, "http://127.0.0.1:9/"))
    await client.close()
    short = make(read_timeout=0.3)
    print("  timeout ", await error(short, base + "/stall"))
    await short.close()


IMPORT = """
import time, resource, asyncio
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
import {module}
cost = time.process_time() - start
rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(f"  import {{cost * 1e3:.0f}} ms CPU, {{rss / 1024:.1f}} MB")
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if options.serve:
        asyncio.run(run_server())
        return
    server = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--serve"], stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        base = f"http://127.0.0.1:{int(server.stdout.readline())}"
        for kind, module in (
            ("aiohttp", "aiohttp"),
            ("pyreqwest", "pyreqwest.client"),
            ("roost wire", "roost.models.http_model"),
        ):
            print(kind, flush=True)
            if subprocess.run([sys.executable, "-c", IMPORT.format(module=module)]).returncode:
                continue
            asyncio.run(measure(kind, base, options.requests))
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
