"""MCP on standard input and output, as a bridge to the door `/mcp` of a daemon or of an application in this process."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from roost.client.async_client import Response, Transport
from roost.client.http1 import BadResponse
from roost.client.requests import Request, Unreachable
from roost.operation import Operation

_PATH = "/mcp"
_INTERNAL, _PARSE = -32603, -32700
_REVISION = "io.modelcontextprotocol/protocolVersion"
_AGAIN_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Waits before a stream that broke is opened again: a daemon may restart."""
_WATCH_SECONDS = 2.0
LINE_BYTES = 8 * 1024 * 1024
"""Most bytes of a message."""
_decode, _encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode


def _operation(method: str) -> Operation:
    return Operation(_operation, method, _PATH)


_POST, _GET, _DELETE = map(_operation, ("POST", "GET", "DELETE"))


class _Event(NamedTuple):
    id: str | None
    data: bytes


class Bridge:
    """Sends each message of the client as a request, and writes what comes back. lines: the client's messages, None for
    one that is too long. write: writes one message."""

    def __init__(
        self, transport: Transport, lines: AsyncGenerator[bytes | None], write: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self._transport, self._lines, self._write = transport, lines, write
        self._session: dict[str, str] = {}
        """The headers of a client that began with `initialize`."""
        self._running: dict[str | int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def serve(self) -> None:
        """Return when the client has closed its end. What runs then is left to the daemon."""
        try:
            async for line in self._lines:
                if line is None:
                    await self._fail(None, _PARSE, f"a message has at most {LINE_BYTES} bytes")
                elif line.strip():
                    await self._message(line)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._session:
                with contextlib.suppress(Unreachable):
                    (await self._send(_DELETE, self._session, None)).close()

    async def _message(self, line: bytes) -> None:
        try:
            found: Any = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            await self._fail(None, _PARSE, f"this is not JSON: {error}")
            return
        message = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        params: Any = message.get("params")
        given = cast("dict[str, Any]", params) if isinstance(params, dict) else {}
        id = given.get("requestId")
        if not self._session and message.get("method") == "notifications/cancelled":
            if isinstance(id, str | int) and (running := self._running.get(id)) is not None:
                running.cancel()  # in the newest revision a client cancels a request by leaving it
            return
        task = self._start(self._request(line, message, self._headers(message, given)))
        if message.get("method") == "initialize":
            await asyncio.wait([task])  # what follows needs its session
        elif isinstance(id := message.get("id"), str | int) and "method" in message:
            self._running[id] = task
            task.add_done_callback(lambda _: self._running.pop(id, None))

    async def _request(self, line: bytes, message: Mapping[str, Any], headers: dict[str, str]) -> None:
        try:
            response = await self._send(_POST, headers, line)
            try:
                await self._answer(response, message)
            finally:
                response.close()
        except (Unreachable, OSError, BadResponse) as error:
            if message.get("id") is not None and "method" in message:
                await self._fail(message["id"], _INTERNAL, f"the daemon did not answer: {error or 'it closed'}")

    def _headers(self, message: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, str]:
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        meta = params.get("_meta")
        revision = cast("dict[str, Any]", meta).get(_REVISION) if isinstance(meta, dict) else None
        if revision is None:
            return headers | self._session
        headers |= {"mcp-protocol-version": _header(revision), "mcp-method": _header(message.get("method"))}
        name = next((params[key] for key in ("name", "uri", "taskId") if isinstance(params.get(key), str)), None)
        return headers if name is None else headers | {"mcp-name": _header(name)}

    async def _answer(self, response: Response, message: Mapping[str, Any]) -> None:
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            body = b"".join([chunk async for chunk in response.chunks()])
            if message.get("method") == "initialize":
                self._begin(response, body)
            if body and message.get("id") is not None:
                await self._write(body)
            return
        last = await self._pass_on(response)
        if last is not None:
            await self._go_on(last)

    def _begin(self, response: Response, body: bytes) -> None:
        session = response.headers.get("mcp-session-id")
        result: Any = _decode(body).get("result") or {}
        if session is not None:
            self._session = {"mcp-session-id": session, "mcp-protocol-version": result["protocolVersion"]}
            self._start(self._watch())

    async def _watch(self) -> None:
        """Pass on what the client watches, from whichever daemon is there."""
        headers = {"accept": "text/event-stream", **self._session}
        while True:
            with contextlib.suppress(Unreachable, OSError, BadResponse):
                response = await self._send(_GET, headers, None)
                if response.status == 200:
                    await self._pass_on(response)
                response.close()
            await asyncio.sleep(_WATCH_SECONDS)

    async def _pass_on(self, response: Response) -> str | None:
        """Write the messages of a stream. Returns the last event's id if the stream broke before the response. Raises
        `Unreachable` when it cannot be gone on with."""
        last, answered = None, False
        try:
            async for event in _events(response):
                last = event.id or last
                if event.data:
                    answered = b'"method"' not in event.data[:200] or "method" not in _decode(event.data)
                    await self._write(event.data)
        except (OSError, BadResponse):
            if last is None:
                raise
        if answered:
            return None
        if last is None:
            raise Unreachable("the daemon ended the connection before its answer")
        return last

    async def _go_on(self, last: str) -> None:
        """Go on with a request after its stream broke, as soon as the daemon is back. Raises `Unreachable`."""
        for seconds in _AGAIN_SECONDS:
            await asyncio.sleep(seconds)
            headers = {"accept": "text/event-stream", **self._session, "last-event-id": last}
            with contextlib.suppress(Unreachable, OSError, BadResponse):
                response = await self._send(_GET, headers, None)
                if response.status != 200:
                    response.close()
                    break
                found = await self._pass_on(response)
                if found is None:
                    return
                last = found
        raise Unreachable("the connection to the daemon broke, and the daemon did not go on with this call")

    async def _send(self, operation: Operation, headers: Mapping[str, str], body: bytes | None) -> Response:
        return await self._transport.send(Request(operation, {}, _PATH, {**headers}, body, False))

    async def _fail(self, id: Any, code: int, message: str) -> None:
        await self._write(_encode({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}))


async def _events(response: Response) -> AsyncGenerator[_Event]:
    rest, id, data = b"", None, list[bytes]()
    async for chunk in response.chunks():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"id: "):
                id = line[4:].decode()
            elif line.startswith(b"data: "):
                data.append(line[6:])
            elif not line and (id is not None or data):
                yield _Event(id, b"\n".join(data))
                id, data = None, []


def _header(value: Any) -> str:
    """Return a value as that of a header, wrapped where the protocol says so."""
    text = str(value)
    if text.isascii() and text.isprintable() and text == text.strip() and not text.startswith("=?"):
        return text
    return f"=?base64?{base64.b64encode(text.encode('utf-8', 'replace')).decode()}?="
