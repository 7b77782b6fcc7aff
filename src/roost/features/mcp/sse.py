"""Server-sent events, from bytes as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from roost.features.mcp.messages import MESSAGE_BYTES, ServerFailed


class Event(NamedTuple):
    """An event of a stream. retry: milliseconds, where the server names them."""

    name: str
    data: str
    id: str | None
    retry: int | None


class Events:
    """Cut a stream into its events."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._lines: list[str] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Take a piece of the stream, and yield the events that it completes. Raises `ServerFailed`."""
        self._held += piece
        if len(self._held) + self._size > MESSAGE_BYTES:
            raise ServerFailed(f"it sent an event of more than {MESSAGE_BYTES // 1024**2} MB")
        if b"\n" not in piece and b"\r" not in piece:
            return
        *lines, rest = self._held.replace(b"\r\n", b"\n").split(b"\n")
        self._held = bytearray(rest)
        for raw in lines:
            if line := raw.decode("utf-8", "replace").rstrip("\r"):
                self._lines.append(line)
                self._size += len(raw)
            elif self._lines:
                yield self._event()

    def _event(self) -> Event:
        name, data, id, retry = "message", list[str](), None, None
        for line in self._lines:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                name = value
            elif field == "id" and "\0" not in value:
                id = value
            elif field == "retry" and value.isdecimal() and len(value) < 9:
                retry = int(value)
        self._lines, self._size = [], 0
        return Event(name, "\n".join(data), id, retry)
