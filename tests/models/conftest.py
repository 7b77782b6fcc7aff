from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.harness.postgres.server import PostgresServer

from roost.models.http import HttpClient
from roost.models.http_model import HttpModel
from roost.models.request import Profile
from roost.models.wire import Endpoint
from roost.models.wires import wire


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient()
    yield client
    await client.close()


@pytest.fixture
def model(client: HttpClient) -> Callable[..., HttpModel]:
    """Makes a model behind the base URL: `model(url, "anthropic", key=..., profile=..., options...)`. `patience`: the
    longest silence, in seconds."""

    def make(
        url: str,
        kind: str = "openai_chat",
        *,
        key: str | None = None,
        profile: Profile | None = None,
        patience: float = 60.0,
        **options: Any,
    ) -> HttpModel:
        endpoint = Endpoint(base_url=url, key=key, idle_timeout=patience)
        return HttpModel(model="scripted", endpoint=endpoint, wire=wire(kind, options), profile=profile, client=client)

    return make


@pytest.fixture
def chat(model: Callable[..., HttpModel]) -> Callable[..., HttpModel]:
    """As `model`, for the OpenAI chat wire."""
    return model


class RawServers:
    """Each serves one fixed body to everybody. `heads` keeps the head of every request."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self._servers: list[asyncio.Server] = []

    async def __call__(self, *frames: Any, kind: str = "text/event-stream", done: bool = True) -> str:
        """The base URL of a new one. Frames are bytes or get encoded; `[DONE]` follows with `done`."""
        texts = [frame if isinstance(frame, bytes) else json.dumps(frame).encode() for frame in frames]
        body = b"".join(texts)
        if kind == "text/event-stream":
            body = b"".join(b"data: " + text + b"\n\n" for text in (*texts, *([b"[DONE]"] if done else [])))
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(asked)
            await reader.readexactly(int(asked.lower().partition("content-length:")[2].partition("\r\n")[0]))
            writer.write(head + body)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
                writer.close()
                await writer.wait_closed()

        self._servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        return f"http://127.0.0.1:{self._servers[-1].sockets[0].getsockname()[1]}/v1"

    def close(self) -> None:
        for server in self._servers:
            server.close()


@pytest.fixture
async def raw() -> AsyncIterator[RawServers]:
    servers = RawServers()
    yield servers
    servers.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def address(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Where a store of each kind is, for `open_store`; several may open it."""
    if request.param == "sqlite":
        yield str(tmp_path / "roost.db")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    async with server.borrowed() as url:
        yield url
