"""The balancer's file, in a real Caddy in front of real sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp


class Node:
    """A server that streams an event, and the next one when it is told."""

    def __init__(self) -> None:
        self.healthy = True
        self.go_on = asyncio.Event()
        self.requests: list[str] = []
        self.port = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ")[1]
            if path == "/health":
                writer.write(b"HTTP/1.0 %d x\r\n\r\n" % (200 if self.healthy else 503))
            else:
                self.requests.append(path)
                await self._stream(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: 1\n\n")
        await writer.drain()
        await self.go_on.wait()
        writer.write(b"data: 2\n\n")


@asynccontextmanager
async def serving(node: Node) -> AsyncIterator[None]:
    async with await asyncio.start_server(node, "127.0.0.1", node.port) as server:
        node.port = server.sockets[0].getsockname()[1]
        yield


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def balancing(caddy: str, deploy: Path, home: Path, nodes: list[Node]) -> AsyncIterator[str]:
    port = free_port()
    environment = os.environ | {
        "ROOST_NODES": " ".join(f"127.0.0.1:{node.port}" for node in nodes),
        "BALANCER_PORT": str(port),
        "HOME": str(home),
    }
    command = [caddy, "run", "--adapter", "caddyfile", "--config", str(deploy / "Caddyfile")]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        await _answers(url)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


async def _answers(url: str) -> None:
    async with aiohttp.ClientSession() as client, asyncio.timeout(30):
        while True:
            try:
                async with client.get(f"{url}/health") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


async def status(client: aiohttp.ClientSession, url: str) -> int:
    async with client.get(url) as answer:
        await answer.read()
        return answer.status


async def test_streams_pass_at_once_and_nodes_may_go(deploy: Path, tool: Callable[[str], str], tmp_path: Path) -> None:
    caddy = tool("caddy")
    one, two = Node(), Node()
    async with (
        serving(one),
        balancing_pair(caddy, deploy, tmp_path, one, two) as (url, stop_two),
        aiohttp.ClientSession() as client,
        asyncio.timeout(100),
    ):
        async with client.get(f"{url}/sessions/s/events") as stream:
            assert await stream.content.readline() == b"data: 1\n", "an event waits in no buffer"
            one.go_on.set()
            two.go_on.set()
            assert await stream.content.read() == b"\ndata: 2\n\n"
        async with client.get(f"{url}/internal/sessions/s/deltas") as refused:
            assert refused.status == 404, "what nodes ask each other is not for clients"
        one.healthy = False
        while True:  # until the balancer has asked it how it is: a node that drains gets no new requests
            one.requests.clear()
            assert {await status(client, f"{url}/sessions") for _ in range(10)} == {200}
            if not one.requests:
                break
            await asyncio.sleep(0.1)
        one.healthy = True
        await stop_two()
        for _ in range(10):
            assert await status(client, f"{url}/sessions") == 200, "a node that is gone costs no error"
    assert not any(path.startswith("/internal") for path in one.requests + two.requests)


@asynccontextmanager
async def balancing_pair(
    caddy: str, deploy: Path, home: Path, one: Node, two: Node
) -> AsyncIterator[tuple[str, Callable[[], object]]]:
    """`two` can be stopped before the end."""
    server = serving(two)
    await server.__aenter__()
    stopped = False

    async def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            await server.__aexit__(None, None, None)

    try:
        async with balancing(caddy, deploy, home, [one, two]) as url:
            yield url, stop
    finally:
        await stop()


def test_caddy_takes_the_file(deploy: Path, tool: Callable[[str], str], tmp_path: Path) -> None:
    environment = os.environ | {"ROOST_NODES": "a:1 b:2", "HOME": str(tmp_path)}
    path = str(deploy / "Caddyfile")
    for command in (["validate", "--adapter", "caddyfile", "--config", path], ["fmt", "--diff", path]):
        done = subprocess.run([tool("caddy"), *command], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
