"""The one way out of a sandbox: a proxy that lets through what its list of hosts allows, and tells of the rest.

It speaks HTTP proxying (RFC 9110, 9112): `CONNECT host:port` for anything encrypted, and absolute-form requests for
plain HTTP. A name is resolved once and the connection goes to the address that was judged, so that a name cannot mean
another machine a moment later (DNS rebinding). Addresses that are not public are refused, but for a host that the list
names literally with its port, as in `localhost:8080`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from roost.addresses import Resolve, is_public, resolve

log = logging.getLogger("roost.egress")
HEAD = 64 * 1024
"""Bytes of a request's head."""
CONNECTIONS = 128
_CHUNK = 64 * 1024
_CONNECT_SECONDS = 15.0
_HEAD_SECONDS = 30.0
_IDLE_SECONDS = 300.0
_HANDLE = re.compile(rb"\{\{secret:([A-Za-z0-9_.-]{1,128})\}\}")


class Blocked(msgspec.Struct, frozen=True):
    """What was not let through, for the log and the model."""

    host: str
    port: int
    reason: str


class Secret(msgspec.Struct, frozen=True):
    """A value that takes the place of `{{secret:NAME}}` in the head of a request to one of `hosts`, over TLS."""

    value: str
    hosts: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Secret(hosts={self.hosts!r})"


class _Refused(Exception):
    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Egress:
    """Serves one sandbox on a Unix socket. `hosts` are globs of names, maybe with a port (`api.example.com`,
    `*.example.com:443`); without a port 80 and 443 are meant. `blocked` is called for whatever was refused.
    `tls` says whose certificates count; without it those that the system trusts.

    A sandbox that wants a secret in a request sends it as plain HTTP with the handle in a header; to a host that has
    secrets the proxy speaks TLS itself, so the value is never on the inside and never in the clear.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        secrets: Mapping[str, Secret] | None = None,
        blocked: Callable[[Blocked], None] = lambda event: None,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._tls = tls
        self._hosts = tuple(map(_parsed, hosts))
        self._secrets = dict(secrets or {})
        self._blocked = blocked
        self._resolve = resolve
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self, path: Path) -> None:
        """Raises `OSError` when there can be no socket at `path` (at most about 100 bytes long)."""
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
        host, port = "?", 0
        try:
            method, target, lines = _head(head)
            host, port = _target(method, target)
            upstream = await self._reach(host, port, lines, tls=method != "CONNECT" and self._speaks_tls(host))
        except _Refused as refused:
            self._blocked(Blocked(host, port, refused.reason))
            await _answer(writer, refused.status, refused.reason)
            return
        there_reader, there_writer = upstream
        try:
            if method == "CONNECT":
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                there_writer.write(self._forwarded(method, target, host, port, lines))
            await _both(reader, there_writer, there_reader, writer)
        finally:
            there_writer.close()

    async def _reach(
        self, host: str, port: int, lines: Sequence[bytes], *, tls: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        entry = next((entry for entry in self._hosts if entry.fits(host, port)), None)
        if entry is None:
            raise _Refused("403 Forbidden", f"{host}:{port} is not on the list of hosts that may be reached")
        self._mind_secrets(host, lines, tls=tls)
        try:
            addresses = await asyncio.wait_for(self._resolve(host, port), _CONNECT_SECONDS)
        except (OSError, TimeoutError) as error:
            raise _Refused("502 Bad Gateway", f"{host} cannot be found") from error
        if not entry.literal and (private := [each for each in addresses if not is_public(each)]):
            raise _Refused("403 Forbidden", f"{host} is {private[0]}, which is not a public address")
        if not addresses:
            raise _Refused("502 Bad Gateway", f"{host} has no address")
        to_port = 443 if tls and port == 80 else port
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
            raise _Refused("502 Bad Gateway", f"{host}:{to_port} does not answer: {type(error).__name__}") from error

    def _speaks_tls(self, host: str) -> bool:
        return any(fnmatchcase(host, glob) for secret in self._secrets.values() for glob in secret.hosts)

    def _mind_secrets(self, host: str, lines: Sequence[bytes], *, tls: bool) -> None:
        for name in {found.decode() for line in lines for found in _HANDLE.findall(line)}:
            secret = self._secrets.get(name)
            if secret is None or not tls or not any(fnmatchcase(host, glob) for glob in secret.hosts):
                raise _Refused("403 Forbidden", f"the secret {name!r} is not for {host}")

    def _forwarded(self, method: str, target: str, host: str, port: int, lines: Sequence[bytes]) -> bytes:
        parts = urlsplit(target)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        name = host if port in (80, 443) else f"{host}:{port}"
        kept = [line for line in lines if line.partition(b":")[0].strip().lower() not in _OWN]
        head = [f"{method} {path} HTTP/1.1".encode(), f"Host: {name}".encode(), *kept, b"Connection: close", b"", b""]
        return _HANDLE.sub(lambda m: self._secrets[m[1].decode()].value.encode(), b"\r\n".join(head))


_OWN = {b"host", b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive", b"te", b"upgrade"}


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


def _head(head: bytes) -> tuple[str, str, list[bytes]]:
    first, *lines = head[:-4].split(b"\r\n")
    parts = first.split(b" ")
    if len(parts) != 3 or not re.fullmatch(rb"[A-Z]{1,20}", parts[0]) or any(b"\n" in line for line in lines):
        raise _Refused("400 Bad Request", "this is not an HTTP request")
    if any(line[:1] in (b" ", b"\t") or b":" not in line for line in lines):
        raise _Refused("400 Bad Request", "a header of the request is malformed")
    return parts[0].decode(), parts[1].decode("latin-1"), lines


def _target(method: str, target: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _Refused("400 Bad Request", "the address of the request is malformed") from error
    if not host or (method != "CONNECT" and parts.scheme != "http") or parts.username is not None:
        raise _Refused("400 Bad Request", "a proxy takes CONNECT host:port, or a request for http://host/…")
    return host.lower().rstrip("."), port or (443 if method == "CONNECT" else 80)


async def _answer(writer: asyncio.StreamWriter, status: str, reason: str) -> None:
    body = f"{reason}\n".encode()
    writer.write(
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + body
    )
    with contextlib.suppress(OSError):
        await writer.drain()


async def _both(
    reader: asyncio.StreamReader,
    there_writer: asyncio.StreamWriter,
    there_reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Until both directions are over, or nothing has moved for five minutes."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_pump(reader, there_writer))
        group.create_task(_pump(there_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await asyncio.wait_for(reader.read(_CHUNK), _IDLE_SECONDS):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()
    except (OSError, TimeoutError):
        writer.close()
