"""Parse server-sent events from bytes as they arrive."""

from __future__ import annotations

import msgspec

from roost.models.http import HttpOversized

MAX_EVENT = 64 * 1024 * 1024
"""Bytes; the same limit as for a whole answer, because providers send a picture in one event."""
_BOM = b"\xef\xbb\xbf"


class SSEEvent(msgspec.Struct, frozen=True):
    """data: UTF-8 as the server sent it; several data lines are joined by a line feed."""

    data: bytes
    event: bytes = b"message"


class SSEParser:
    """Takes bytes, returns complete events. Lines may end in LF, CRLF or CR and be split anywhere.

    Raises `HttpOversized` once an event exceeds `max_event` bytes.
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
        data, events = self._normal(data), list[SSEEvent]()
        if self._partial or self._data or self._event:
            end = data.find(b"\n\n") + 2
            if end < 2:
                self._lines(data, events)
                return events
            self._lines(data[:end], events)
            data = data[end:]
        *blocks, rest = data.split(b"\n\n")
        for block in blocks:
            self._block(block, events)
        self._lines(rest, events)
        return events

    def _block(self, block: bytes, events: list[SSEEvent]) -> None:
        """Parse the lines of one event that starts in this block. Fast path: one data line, optionally after an event
        name."""
        head, _, data = block.rpartition(b"\n")
        if data[:6] == b"data: " and b"\n" not in head and len(block) <= self._max:
            if not head:
                events.append(SSEEvent(data[6:]))
                return
            if head[:7] == b"event: ":
                events.append(SSEEvent(data[6:], head[7:] or b"message"))
                return
        for line in (*block.split(b"\n"), b""):
            self._take(line, events)

    def _lines(self, data: bytes, events: list[SSEEvent]) -> None:
        first, *lines = data.split(b"\n")
        self._keep(first)
        if lines:
            *whole, rest = b"".join(self._partial), *lines
            self._partial, self._partial_size = [], 0
            for line in whole:
                self._take(line, events)
            self._keep(rest)

    def finish(self) -> list[SSEEvent]:
        """Return the last event if the stream ended without its blank line. The caller decides whether it is
        complete."""
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
            raise HttpOversized(f"the server sent an event of more than {self._max} bytes")
