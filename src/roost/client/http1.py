"""Write requests and read responses of HTTP/1.1, without doing any input or output."""

from __future__ import annotations

from collections.abc import Mapping

_HEAD_BYTES = 256 * 1024


class BadResponse(Exception):
    """What came is no response of HTTP/1.1, or it ended early."""


class ResponseReader:
    """Reads one response. `status` is None until the head has come; `done`: the whole body has come.
    `reusable`: the connection takes another request afterwards."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.done = False
        self.reusable = False
        self._buffer = bytearray()
        self._left: int | None = None
        self._chunked = False

    def feed(self, data: bytes) -> bytes:
        """Take what the connection gave, b"" at its end; return the part of the body in it. Raises `BadResponse`."""
        self._buffer += data
        if self.status is None and not self._head():
            if not data or len(self._buffer) > _HEAD_BYTES:
                raise BadResponse("the connection ended before a response" if not data else "the head is too large")
            return b""
        body = self._chunks() if self._chunked else self._plain(ended=not data)
        if not data and not self.done:
            raise BadResponse("the connection ended within a response")
        return body

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise BadResponse(f"{first[:100]!r} is no status line")
        if rest.startswith("1"):  # an interim response
            return self._head()
        self.status = int(rest[:3])
        for line in lines:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self._frame(version)
        return True

    def _frame(self, version: str) -> None:
        """Learn from the headers where the body ends."""
        self._chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        length = self.headers.get("content-length")
        if length is not None and not length.isdigit():
            raise BadResponse(f"{length[:100]!r} is no length")
        self._left = 0 if self.status in (204, 304) else None if length is None else int(length)
        known = self._chunked or self._left is not None
        closes = "close" in self.headers.get("connection", "").lower() or version == "HTTP/1.0"
        self.reusable = known and not closes

    def _plain(self, *, ended: bool) -> bytes:
        body = bytes(self._buffer if self._left is None else self._buffer[: self._left])
        del self._buffer[: len(body)]
        if self._left is not None:
            self._left -= len(body)
        self.done = ended if self._left is None else self._left == 0
        return body

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while not self.done:
            if self._left is None:
                end = self._buffer.find(b"\r\n")
                if end < 0:
                    break
                try:
                    self._left = int(bytes(self._buffer[:end]).partition(b";")[0], 16)
                except ValueError:
                    raise BadResponse("a chunk has no size") from None
                del self._buffer[: end + 2]
            if len(self._buffer) < self._left + 2:
                break
            parts.append(bytes(self._buffer[: self._left]))
            del self._buffer[: self._left + 2]
            self.done, self._left = self._left == 0, None
        return b"".join(parts)


def head(method: str, target: str, host: str, headers: Mapping[str, str]) -> bytes:
    """Return a request's head."""
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
