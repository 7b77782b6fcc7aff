"""Read request bodies of limited size."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable
from typing import TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from roost.errors import Invalid
from roost.server.problems import Refused
from roost.server.responses import Header, Reply, ReplyCall, from_error
from roost.server.validation_messages import said

T = TypeVar("T")
BODY_BYTES = 1024 * 1024
FILE_BYTES = 4 * 1024 * 1024 * 1024
"""Most bytes of a body that is a file."""
BODY_SECONDS = 30.0
VALUES = 200_000
"""Most objects and arrays of a JSON body."""
_LARGE = 512 * 1024
_LINGER_SECONDS = 1.0
_LINGER_BYTES = 48 * BODY_BYTES


class BodyTooLarge(Refused):
    """The body exceeds its limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, "too_large", f"the body has more than {limit} bytes", [(b"connection", b"close")])


def has_body(scope: Scope) -> bool:
    """Return whether the headers announce a non-empty body."""
    return header(scope, b"transfer-encoding") is not None or header(scope, b"content-length") not in (None, "0")


async def read_body(scope: Scope, receive: Receive, *, limit: int = BODY_BYTES) -> bytes:
    """Read the whole body. Raises `BodyTooLarge` as soon as it exceeds `limit`, whatever its headers say, and `Refused`
    when it does not arrive within 30 s."""
    declared = header(scope, b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise BodyTooLarge(limit)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _whole(receive, limit)
    except TimeoutError:
        raise Refused(
            408, "body_timeout", f"the body did not come within {BODY_SECONDS:g} s", [(b"connection", b"close")]
        ) from None
    if len(body) > limit:
        raise BodyTooLarge(limit)
    return body


async def _whole(receive: Receive, limit: int) -> bytes:
    chunks, size, more = list[bytes](), 0, True
    while more:
        if size > limit:
            raise BodyTooLarge(limit)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "incomplete_body", "the connection was closed before the end of the body")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        more = message.get("more_body", False)
    return b"".join(chunks)


async def pieces(receive: Receive, *, limit: int = FILE_BYTES) -> AsyncGenerator[bytes]:
    """Yield a body as it comes. Raises `BodyTooLarge`, and `Refused` when nothing comes for 30 s."""
    size, more = 0, True
    while more:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                message = await receive()
        except TimeoutError:
            closing: list[Header] = [(b"connection", b"close")]
            raise Refused(408, "body_timeout", f"nothing came for {BODY_SECONDS:g} s", closing) from None
        if message["type"] == "http.disconnect":
            raise Refused(400, "incomplete_body", "the connection was closed before the end of the body")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge(limit)
        if chunk:
            yield chunk
        more = message.get("more_body", False)


class Lingering:
    """The response to a body that is too large: send it at once, then discard further input for a moment, so that a
    client that writes before it reads gets the response and not a reset connection."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._reply.begin(send)
        await send({"type": "http.response.body", "body": self._reply.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await _discard(receive)
        await send({"type": "http.response.body", "body": b""})


async def answered(reply: Awaitable[ReplyCall], scope: Scope) -> ReplyCall:
    """Return the reply, or the response for its error."""
    try:
        return await reply
    except BodyTooLarge as error:
        return Lingering(from_error(error, scope))
    except Exception as error:  # a defect too becomes the client's 500 and the operator's log line
        return from_error(error, scope)


async def _discard(receive: Receive) -> None:
    size = 0
    while size < _LINGER_BYTES:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return


def decode_body(scope: Scope, body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode a JSON body. Raises `Refused` (not JSON) and `Invalid` (JSON of another shape)."""
    content_type = header(scope, b"content-type") or ""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "unsupported_media_type", "send JSON, with the header `Content-Type: application/json`")
    check_values(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Invalid(said(error, "the body")) from None
    except UnicodeDecodeError:
        raise Refused(400, "invalid_json", "the body is not JSON: it has bytes that are not UTF-8") from None
    except msgspec.DecodeError as error:
        why = "it is empty" if not body.strip() else str(error).removeprefix("JSON is malformed: ")
        raise Refused(400, "invalid_json", f"the body is not JSON: {why}") from None
    except RecursionError:
        raise Invalid("the body is nested too deeply") from None


def check_values(body: bytes) -> None:
    """Check that a large JSON body has not so many objects and arrays that nothing else would run while it is decoded:
    the decoder holds the interpreter, in any thread. Raises `Invalid`."""
    if len(body) > _LARGE and body.count(b"{") + body.count(b"[") > VALUES:
        raise Invalid(f"the body has more than {VALUES} objects and arrays")


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first header of a (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None
