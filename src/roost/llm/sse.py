"""Server-sent events, read from bytes as they come."""

from __future__ import annotations

import msgspec

from roost.llm.http import HttpMalformed

MAX_EVENT = 8 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class SSEEvent(msgspec.Struct, frozen=True):
    """`data` is UTF-8 as the server sent it; several data lines are joined by a line feed."""

    data: bytes
    event: bytes = b"message"


class SSEParser:
    """Push bytes in, get whole events out. Lines may end in LF, CRLF or CR and be split anywhere.

    Raises `HttpMalformed` once an event grows above `max_event` bytes.
    """

    def __init__(self, *, max_event: int = MAX_EVENT) -> None:
        self._max = max_event
        self._partial: list[bytes] = []
        self._partial_size = 0
        self._data: list[bytes] = []
        self._data_size = 0
        self._event = b""
        self._after_cr = False
        self._started = False

    def feed(self, data: bytes) -> list[SSEEvent]:
        first, *lines = self._normal(data).split(b"\n")
        self._keep(first)
        events: list[SSEEvent] = []
        if lines:
            *whole, rest = b"".join(self._partial), *lines
            self._partial, self._partial_size = [], 0
            for line in whole:
                self._take(line, events)
            self._keep(rest)
        return events

    def finish(self) -> list[SSEEvent]:
        """The last event where the stream ended without its blank line. Whether it is whole, the caller judges."""
        events: list[SSEEvent] = []
        self._take(b"".join(self._partial), events)
        self._take(b"", events)
        self._partial, self._partial_size = [], 0
        return events

    def _normal(self, data: bytes) -> bytes:
        if not self._started and data:
            self._started = True
            data = data.removeprefix(_BOM)
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _take(self, line: bytes, events: list[SSEEvent]) -> None:
        if not line:
            if self._data:
                events.append(SSEEvent(b"\n".join(self._data), self._event or b"message"))
            self._data, self._event, self._data_size = [], b"", 0
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._data_size += len(value) + 1
            self._check()
        elif name == b"event":
            self._event = value

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._partial.append(piece)
            self._partial_size += len(piece)
            self._check()

    def _check(self) -> None:
        if self._data_size + self._partial_size > self._max:
            raise HttpMalformed(f"the server sent an event of more than {self._max} bytes")
