"""Parse one request to the egress proxy, and read its body.

The parser is strict: it refuses any input that two parsers could read in two ways (request smuggling), so that the
proxy and the server behind it agree about host, headers and length. RFC 9110 and 9112.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import msgspec

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_AUTHORITY = r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}))"
_CONNECT = re.compile(_AUTHORITY + r":(?P<port>[0-9]{1,5})")
_ABSOLUTE = re.compile(r"[Hh][Tt][Tt][Pp]://" + _AUTHORITY + r"(?::(?P<port>[0-9]{1,5}))?(?P<path>[/?][^#]*)?")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n\0]*)?\r\n")
_HOP_BY_HOP = {
    b"connection", b"content-length", b"expect", b"host", b"keep-alive", b"proxy-authorization", b"proxy-connection",
    b"te", b"trailer", b"transfer-encoding", b"upgrade",
}  # fmt: skip
"""Headers that the proxy writes itself, or that apply to one connection only."""
_CHUNK = 64 * 1024
_TRAILERS = 64


class Refused(Exception):
    """The proxy refuses the request. `status`: the status line of the answer."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Request(msgspec.Struct, frozen=True):
    """The head of a request. `path` is empty for CONNECT, `host` for a request to the proxy itself. `headers` are those
    to forward, without hop-by-hop ones."""

    method: str
    host: str
    port: int
    path: str
    version: str
    headers: tuple[tuple[bytes, bytes], ...]
    length: int | None
    """Bytes of the body; None when it is chunked."""

    @property
    def tunnel(self) -> bool:
        return self.method == "CONNECT"

    @property
    def own(self) -> bool:
        """Whether it is for the proxy's own address."""
        return not self.host


def parse(head: bytes, *, own: bool = False) -> Request:
    """Parse a head that ends with an empty line. own: accept requests to the proxy's own address. Raises `Refused`."""
    first, *lines = head[:-4].split(b"\r\n")
    parts = first.decode("latin-1").split(" ")
    if len(parts) != 3 or not re.fullmatch("[A-Z]{1,20}", parts[0]) or parts[2] not in ("HTTP/1.0", "HTTP/1.1"):
        raise Refused("400 Bad Request", "this is not an HTTP request")
    method, target, version = parts
    if method == "TRACE":
        raise Refused("405 Method Not Allowed", "TRACE sends headers back and is not forwarded")
    host, port, path = _own(target) if own and target.startswith("/") else _target(method, target)
    fields = [_field(line) for line in lines]
    named = {
        name.strip().lower() for key, value in fields if key.lower() == b"connection" for name in value.split(b",")
    }
    kept = tuple((key, value) for key, value in fields if key.lower() not in _HOP_BY_HOP | named)
    return Request(method, host, port, path, version, kept, _length(fields, version))


def _target(method: str, target: str) -> tuple[str, int, str]:
    found = (_CONNECT if method == "CONNECT" else _ABSOLUTE).fullmatch(target)
    if found is None or re.search(r"[\x00-\x20\x7f]", target):
        raise Refused("400 Bad Request", "a proxy takes CONNECT host:port, or a request for http://host/…")
    port = int(found["port"] or 80)
    if not 0 < port < 65536:
        raise Refused("400 Bad Request", f"{port} is not a port")
    path = "" if method == "CONNECT" else found["path"] or "/"
    host = (found["six"] or found["name"]).lower().rstrip(".")
    return host, port, "/" + path if path.startswith("?") else path


def _own(target: str) -> tuple[str, int, str]:
    if re.search(r"[\x00-\x20\x7f-\xff#]", target) or target.startswith("//"):
        raise Refused("400 Bad Request", "this is no path of a request")
    return "", 0, target


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not _TOKEN.fullmatch(name) or re.search(rb"[\x00\r\n]", value):
        raise Refused("400 Bad Request", "a header of the request is malformed")
    return name, value.strip(b" \t")


def _length(fields: list[tuple[bytes, bytes]], version: str) -> int | None:
    sizes = {value for name, value in fields if name.lower() == b"content-length"}
    codings = [value.lower() for name, value in fields if name.lower() == b"transfer-encoding"]
    if codings:
        if codings != [b"chunked"] or sizes or version != "HTTP/1.1":
            raise Refused("400 Bad Request", "the length of the request's body is unclear")
        return None
    if len(sizes) > 1 or any(not re.fullmatch(rb"[0-9]{1,18}", size) for size in sizes):
        raise Refused("400 Bad Request", "the length of the request's body is unclear")
    return int(next(iter(sizes), b"0"))


async def body_of(reader: asyncio.StreamReader, length: int | None) -> AsyncIterator[bytes]:
    """Read exactly one body, in pieces, without its framing; trailers are dropped. Raises `Refused` for a malformed
    chunk, and `asyncio.IncompleteReadError` when the client ends in the middle."""
    if length is None:
        while size := await _chunk_size(reader):
            async for piece in _exactly(reader, size):
                yield piece
            if await reader.readexactly(2) != b"\r\n":
                raise Refused("400 Bad Request", "a chunk of the request's body is malformed")
        for _ in range(_TRAILERS):
            if await reader.readuntil(b"\r\n") == b"\r\n":
                return
        raise Refused("400 Bad Request", "the request's body has too many trailers")
    async for piece in _exactly(reader, length):
        yield piece


async def _chunk_size(reader: asyncio.StreamReader) -> int:
    found = _SIZE.fullmatch(await reader.readuntil(b"\r\n"))
    if found is None:
        raise Refused("400 Bad Request", "a chunk of the request's body is malformed")
    return int(found[1], 16)


async def _exactly(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    while size:
        piece = await reader.read(min(size, _CHUNK))
        if not piece:
            raise asyncio.IncompleteReadError(b"", size)
        size -= len(piece)
        yield piece
