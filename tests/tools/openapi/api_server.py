"""An API server on the loopback that tells what arrived, and misbehaves on request."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route


class Api:
    """What the server has seen. asked: requests in order. answers: by path, in place of the echo; a function gets the
    request and its number on that path, from 1."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: dict[str, Callable[[Request, int], Response]] = {}
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def app(self) -> Starlette:
        methods = ["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD"]
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=methods)])

    async def _answer(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode()
        body = await request.body()
        one = {
            "method": request.method,
            "path": path,
            "query": request.scope["query_string"].decode(),
            "headers": dict(request.headers.items()),
            "body": base64.b64encode(body).decode(),
        }
        self.asked.append(one)
        number = sum(each["path"] == path for each in self.asked)
        if (answer := self.answers.get(path)) is not None:
            return answer(request, number)
        return JSONResponse(one)

    def body(self, place: int = -1) -> bytes:
        return base64.b64decode(self.asked[place]["body"])


@contextlib.asynccontextmanager
async def serving(api: Api | None = None) -> AsyncGenerator[Api]:
    api = api or Api()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        api.port = listener.getsockname()[1]
        config = uvicorn.Config(api.app(), log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # type: ignore[assignment, method-assign]
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield api
        finally:
            server.should_exit = True
            await task


def document(paths: dict[str, Any], **more: Any) -> bytes:
    return msgspec.json.encode(
        {"openapi": "3.0.3", "info": {"title": "A test", "version": "1"}, "paths": paths, **more}
    )


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65536
        await asyncio.sleep(0)


async def slow() -> AsyncIterator[bytes]:
    while True:
        yield b"."
        await asyncio.sleep(0.05)


def bomb(size: int) -> Response:
    return Response(gzip.compress(b"0" * size), media_type="application/json", headers={"content-encoding": "gzip"})


def streamed(content: AsyncIterator[bytes], media: str = "text/plain") -> Response:
    return StreamingResponse(content, media_type=media)


def redirect(to: str, status: int = 302) -> Response:
    return RedirectResponse(to, status)


def text(content: str, status: int = 200, **headers: str) -> Response:
    return PlainTextResponse(content, status, {name.replace("_", "-"): value for name, value in headers.items()})
