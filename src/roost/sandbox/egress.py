"""The egress of a sandbox: a proxy that forwards what its list of hosts allows, and reports the rest.

It speaks HTTP proxying (RFC 9110, 9112): `CONNECT host:port` for anything encrypted, and absolute-form requests for
plain HTTP, one per connection. A name is resolved once and the connection goes to the address that was checked, so
that DNS rebinding cannot change it. Addresses that are not public are refused, unless the list names the host
literally with its port, as in `wiki.lan:80`; an address of this machine is only reached by its number or as
`localhost:8080`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from roost.addresses import Resolve, is_own, is_public, resolve
from roost.sandbox.backend import Gateway
from roost.sandbox.client_hello import NotTls, read_hello
from roost.sandbox.injection import BODY, Injection, Mask, Secret, is_loopback
from roost.sandbox.proxy_request import Refused, Request, body_of, parse

__all__ = ["Blocked", "Egress", "Secret"]
log = logging.getLogger("roost.egress")
HEAD = 64 * 1024
"""Bytes of a request's head."""
CONNECTIONS = 128
IDLE_SECONDS = 300.0
_CHUNK = 64 * 1024
_CONNECT_SECONDS = 15.0
_HEAD_SECONDS = 30.0
_TLS_PORT = 443
"""A tunnel to this port carries TLS and nothing else."""
_BEGINS_AS_TLS = b"\x16\x03"


class Blocked(msgspec.Struct, frozen=True):
    """A refused connection, for the log and the model."""

    host: str
    port: int
    reason: str


class Egress:
    """Serves one sandbox on a Unix socket.

    `hosts`: globs of names, maybe with a port (`api.example.com`, `*.example.com:443`); without one, ports 80 and 443.
    `secrets`: by handle; they may change while it serves. `gateway`: answers requests to the proxy's own address.
    `blocked`: called for each refusal. `tls`: trusted certificates; by default the system's. `idle_seconds`: close a
    connection after so long without data in either direction.

    A program that wants a secret in a request sends plain HTTP (`http://host/…`) with the handle in a header. To a
    host that has secrets the proxy speaks TLS itself, so the value is never inside the sandbox and never in clear.
    The proxy does not look into a tunnel (`https://` inside), so no secret enters there.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        secrets: Mapping[str, Secret] | None = None,
        gateway: Gateway | None = None,
        blocked: Callable[[Blocked], None] = lambda event: None,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._tls = tls
        self._idle_seconds = idle_seconds
        self._hosts = tuple(map(_parsed, hosts))
        self._secrets = secrets or {}
        self._gateway = gateway
        self._blocked = blocked
        self._resolve = resolve
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> None:
        """Listen at `path` (at most about 100 bytes long). Raises `OSError` when no socket can be made there."""
        self._server = await asyncio.start_unix_server(self._serve, path=str(path), limit=HEAD)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= CONNECTIONS:
            await _answer(writer, "503 Service Unavailable", "too many connections at once")
            writer.close()
            return
        self._open.add(task)
        try:
            await self._one(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("egress: %s", error)
        finally:
            self._open.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(_HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        request: Request | None = None
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            request = parse(head, own=self._gateway is not None)
            if request.own and self._gateway is not None:
                await self._gateway(request, reader, writer)
                return
            injection = Injection(self._secrets, request)
            there = await self._reach(request, injection)
            if request.tunnel:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await _tunnel(request, (reader, writer), there, _Idle(self._idle_seconds))
            else:
                await _exchange(request, injection, (reader, writer), there, _Idle(self._idle_seconds))
        except Refused as refused:
            self._refuse(request, refused)
            if there is None:
                await _answer(writer, refused.status, refused.reason)
        finally:
            if there is not None:
                there[1].close()

    def _refuse(self, request: Request | None, refused: Refused) -> None:
        host, port = ("?", 0) if request is None else (request.host, request.port)
        self._blocked(Blocked(host, port, refused.reason))

    async def _reach(self, request: Request, injection: Injection) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the request's host. Raises `Refused`."""
        host, port = request.host, request.port
        entry = next((entry for entry in self._hosts if entry.fits(host, port)), None)
        if entry is None:
            raise Refused("403 Forbidden", f"{host}:{port} is not on the list of hosts that may be reached")
        injection.check()
        addresses = await self._addresses(host, port)
        if refused := [each for each in addresses if not _may_be(host, each, entry)]:
            raise Refused("403 Forbidden", f"{host} is {refused[0]}, which is not a public address")
        if injection.plain and not all(map(is_loopback, addresses)):
            raise Refused("403 Forbidden", f"{host} is not this machine, and its secrets go out without TLS")
        tls = injection.tls
        to_port = _TLS_PORT if tls and port == 80 else port
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                return await asyncio.open_connection(
                    addresses[0],
                    to_port,
                    ssl=(self._tls or True) if tls else None,
                    server_hostname=host if tls else None,
                    limit=HEAD,
                )
        except (OSError, TimeoutError) as error:
            raise Refused("502 Bad Gateway", f"{host}:{to_port} does not answer: {type(error).__name__}") from error

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            found = await asyncio.wait_for(self._resolve(host, port), _CONNECT_SECONDS)
        except (OSError, TimeoutError) as error:
            raise Refused("502 Bad Gateway", f"{host} cannot be found") from error
        if not found:
            raise Refused("502 Bad Gateway", f"{host} has no address")
        return found


def _may_be(host: str, address: str, entry: _Entry) -> bool:
    """True when the host may have the address. A host that the list names literally may have a private address, but
    not one of this machine: a name's owner must not choose that. Then the list must name the address, or localhost."""
    if is_public(address):
        return True
    return entry.literal and (not is_own(address) or host == address or is_loopback(host))


class _Entry(msgspec.Struct, frozen=True):
    glob: str
    ports: tuple[int, ...]
    literal: bool

    def fits(self, host: str, port: int) -> bool:
        return port in self.ports and fnmatchcase(host, self.glob)


def _parsed(text: str) -> _Entry:
    host, colon, port = text.strip().lower().rpartition(":")
    if not colon or not port.isdigit():
        return _Entry(text.strip().lower(), (80, 443), False)
    return _Entry(host.strip("[]"), (int(port),), not re.search(r"[*?\[]", host))


async def _answer(writer: asyncio.StreamWriter, status: str, reason: str) -> None:
    body = f"{reason}\n".encode()
    writer.write(
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + body
    )
    with contextlib.suppress(OSError):
        await writer.drain()


async def _exchange(
    request: Request,
    injection: Injection,
    here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    idle: _Idle,
) -> None:
    """Send one request and its body, and forward the answer. Data that the client sends after the body is dropped: it
    would be a request that was never checked."""
    sending = asyncio.create_task(_send(request, injection, here[0], there[1], idle))
    receiving = asyncio.create_task(_pump(there[0], here[1], idle, injection))
    try:
        await asyncio.wait([sending, receiving], return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
        await receiving
    finally:
        for task in (sending, receiving):
            task.cancel()
        await asyncio.gather(sending, receiving, return_exceptions=True)


async def _send(
    request: Request,
    injection: Injection,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    idle: _Idle,
) -> None:
    pieces, length = body_of(reader, request.length), request.length
    start = b""
    if injection.in_body and (length is None or 0 < length <= BODY):
        start, whole = await _start_of(pieces)
        if whole:
            start = injection.body(start)
            length = len(start)
    writer.write(_head(request, injection, length))
    if start:
        await _write(writer, start, chunked=length is None)
    async for piece in pieces:
        await _write(writer, piece, chunked=length is None)
    if length is None:
        writer.write(b"0\r\n\r\n")
    await writer.drain()
    while await idle.read(reader):
        pass
    if writer.can_write_eof():
        writer.write_eof()


async def _start_of(pieces: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """Return the body up to `BODY` bytes, and whether that is all of it."""
    start = bytearray()
    async for piece in pieces:
        start += piece
        if len(start) > BODY:
            return bytes(start), False
    return bytes(start), True


async def _write(writer: asyncio.StreamWriter, data: bytes, *, chunked: bool) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
    await writer.drain()


def _head(request: Request, injection: Injection, length: int | None) -> bytes:
    name = f"[{request.host}]" if ":" in request.host else request.host
    place = name if request.port in (80, _TLS_PORT) else f"{name}:{request.port}"
    headers = injection.headers()
    lines = [f"{request.method} {request.path} {request.version}".encode("latin-1"), f"Host: {place}".encode()]
    if injection.in_body or injection.masks:  # a compressed answer could not be masked
        headers = [(key, value) for key, value in headers if key.lower() != b"accept-encoding"]
        lines.append(b"Accept-Encoding: identity")
    lines += [key + b": " + value for key, value in headers]
    if length is None:
        lines.append(b"Transfer-Encoding: chunked")
    elif length or request.method in ("POST", "PUT", "PATCH"):
        lines.append(b"Content-Length: %d" % length)
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


async def _tunnel(
    request: Request,
    here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    idle: _Idle,
) -> None:
    """Forward until both directions have ended or the connection was idle too long. The client's first bytes are
    checked while the server may already send. Raises `Refused`."""
    receiving = asyncio.create_task(_pump(there[0], here[1], idle))
    try:
        start = await _hello(request, here[0], idle)
        there[1].write(start)
        await _pump(here[0], there[1], idle)
        await receiving
    finally:
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)


async def _hello(request: Request, reader: asyncio.StreamReader, idle: _Idle) -> bytes:
    """Return the client's first bytes.

    Raises `Refused` when they name another server than the tunnel's, when they begin as TLS and the name cannot be
    read, and when a tunnel to port 443 carries no TLS."""
    start = b""
    while True:
        data = await idle.read(reader)
        start += data
        try:
            hello = read_hello(start)
        except NotTls as error:
            if request.port == _TLS_PORT and start:
                raise Refused("403 Forbidden", f"a tunnel to port {_TLS_PORT} is for TLS: {error}") from error
            if start.startswith(_BEGINS_AS_TLS):
                raise Refused("403 Forbidden", f"the tunnel's TLS cannot be read: {error}") from error
            return start
        if hello is not None:
            if hello.name not in (None, request.host):
                raise Refused("403 Forbidden", f"the tunnel is to {request.host}, and its TLS is for {hello.name!r}")
            return start
        if not data:
            return start


class _Idle:
    """Idle time of a connection, both directions together: during a long download the client sends nothing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._moved = time.monotonic()

    async def read(self, reader: asyncio.StreamReader) -> bytes:
        """Return the next bytes, empty at the end. Raises `TimeoutError` after `seconds` without data in either
        direction."""
        began = time.monotonic()
        while True:
            left = max(began, self._moved) + self._seconds - time.monotonic()
            if left <= 0:
                raise TimeoutError
            timer = asyncio.timeout(left)
            try:
                async with timer:
                    data = await reader.read(_CHUNK)
            except TimeoutError:
                if timer.expired():
                    continue  # the other direction may have moved
                raise
            self._moved = time.monotonic()
            return data


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: _Idle, injection: Injection | None = None
) -> None:
    mask: Mask | None = None
    try:
        while data := await idle.read(reader):
            if mask is None and injection is not None and injection.masks:
                mask = injection.mask()  # the answer comes after the request, so all values are known
            writer.write(mask.feed(data) if mask is not None else data)
            await writer.drain()
        if mask is not None:
            writer.write(mask.end())
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()
    except (OSError, TimeoutError):
        writer.close()
