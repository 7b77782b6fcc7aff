from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roost.llm.http import HttpClient
from roost.llm.ir import Profile
from roost.llm.openai_chat import OpenAIChat
from roost.llm.openai_request import Quirks


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient(connect_timeout=2.0, idle_timeout=0.6)
    yield client
    await client.close()


@pytest.fixture
def chat(client: HttpClient) -> Callable[..., OpenAIChat]:
    def make(
        url: str, *, key: str | None = None, profile: Profile | None = None, quirks: Quirks | None = None
    ) -> OpenAIChat:
        return OpenAIChat(model="scripted", base_url=url, key=key, client=client, profile=profile, quirks=quirks)

    return make


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
