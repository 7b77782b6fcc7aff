"""Read the server's name (SNI) out of the first bytes of a TLS connection. RFC 8446 and 6066."""

from __future__ import annotations

import msgspec

MOST = 64 * 1024
"""Bytes that a ClientHello may have with its records."""
_RECORDS = 128
"""Records that a ClientHello may be spread over. It is parsed again with each new piece, on the event loop."""
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME = 22, 1, 0


class Hello(msgspec.Struct, frozen=True):
    """`name` is None when the client names no server."""

    name: str | None


class NotTls(Exception):
    """The bytes are not the beginning of a TLS connection."""


def read_hello(data: bytes) -> Hello | None:
    """Parse `data`; None while more bytes are needed. Raises `NotTls`."""
    try:
        message = _message(data)
        return None if message is None else Hello(_server_name(message))
    except (IndexError, UnicodeDecodeError) as error:
        raise NotTls("the ClientHello is damaged") from error


def _message(data: bytes) -> bytes | None:
    """Join the ClientHello from its records. Returns it without its header; None while bytes are missing."""
    joined, at = bytearray(), 0
    if len(data) > MOST:
        raise NotTls("the ClientHello is too long")
    for _ in range(_RECORDS):
        head = data[at : at + 5]
        if head[:1] not in (b"", bytes([_HANDSHAKE])) or head[1:2] not in (b"", b"\x03"):
            raise NotTls("this is not TLS")
        size = int.from_bytes(head[3:], "big") if len(head) == 5 else None
        if size == 0:
            raise NotTls("this is not TLS")
        joined += data[at + 5 : at + 5 + (size or 0)]
        if bytes(joined[:1]) not in (b"", bytes([_CLIENT_HELLO])):
            raise NotTls("a TLS connection begins with a ClientHello")
        if len(joined) >= 4 and len(joined) >= 4 + (whole := int.from_bytes(joined[1:4], "big")):
            return bytes(joined[4 : 4 + whole])
        if size is None or len(data) < at + 5 + size:
            return None
        at += 5 + size
    raise NotTls("the ClientHello is spread over too many records")


def _server_name(message: bytes) -> str | None:
    rest = _Bytes(message)
    rest.take(2 + 32)  # version and random
    rest.vector(1)  # session
    rest.vector(2)  # cipher suites
    rest.vector(1)  # compression
    if not rest.left:
        return None
    names: list[str] = []
    extensions = _Bytes(rest.vector(2))
    while extensions.left:
        kind, content = int.from_bytes(extensions.take(2), "big"), extensions.vector(2)
        if kind == _SERVER_NAME:
            listed = _Bytes(_Bytes(content).vector(2))
            while listed.left:
                if (entry := listed.take(1)) != b"\0":
                    raise NotTls(f"there is no server name of the kind {entry[0]}")
                names.append(listed.vector(2).decode("ascii"))
    if len(names) > 1:
        raise NotTls("the ClientHello names more than one server")
    return names[0].lower().rstrip(".") if names else None


class _Bytes:
    """Reads from the front. Raises `IndexError` when bytes are missing."""

    def __init__(self, data: bytes) -> None:
        self.left = data

    def take(self, size: int) -> bytes:
        if len(self.left) < size:
            raise IndexError(size)
        taken, self.left = self.left[:size], self.left[size:]
        return taken

    def vector(self, width: int) -> bytes:
        """Read the length, a number of `width` bytes, and return so many bytes."""
        return self.take(int.from_bytes(self.take(width), "big"))
