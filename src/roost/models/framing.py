"""How a wire frames a streamed answer: server-sent events, or newline-delimited JSON."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from roost.models.http import HttpOversized
from roost.models.sse import MAX_EVENT, SSEEvent, SSEParser

Framing: TypeAlias = Literal["sse", "ndjson"]
STREAM_TYPES: dict[Framing, str] = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}
"""The media type of a stream: what a call accepts, and what the stub sends."""
_JSON_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")


class Parser(Protocol):
    """Takes bytes, returns complete frames. finish: returns the last frame if its end mark is missing. Raises
    `HttpOversized` for a frame that is too long."""

    def feed(self, data: bytes) -> list[SSEEvent]: ...

    def finish(self) -> list[SSEEvent]: ...


class LineParser:
    """The `Parser` of newline-delimited JSON: each line that is not blank is a frame."""

    def __init__(self, *, max_line: int = MAX_EVENT) -> None:
        self._max = max_line
        self._partial: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[SSEEvent]:
        first, *lines = data.split(b"\n")
        self._keep(first)
        if not lines:
            return []
        *whole, rest = b"".join(self._partial), *lines
        self._partial, self._size = [], 0
        self._keep(rest)
        return [SSEEvent(line) for line in whole if line.strip()]

    def finish(self) -> list[SSEEvent]:
        return self.feed(b"\n")

    def _keep(self, piece: bytes) -> None:
        if piece:
            self._partial.append(piece)
            self._size += len(piece)
            if self._size > self._max:
                raise HttpOversized(f"the server sent a line of more than {self._max} bytes")


def parser_of(framing: Framing) -> Parser:
    return LineParser() if framing == "ndjson" else SSEParser()


def is_document(framing: Framing, head: bytes, content_type: str, *, stream: bool) -> bool:
    """Return whether a body is one JSON document. head: its first bytes, without space before them. content_type: as
    the server names it. stream: the call asked for a stream.

    Events never start with a brace. Lines do: there the content type decides, and where it says neither, the call.
    """
    if not head.startswith(b"{"):
        return False
    kind = content_type.partition(";")[0].strip().lower()
    if framing == "sse" or kind == "application/json":
        return True
    return not stream and kind not in _JSON_LINES
