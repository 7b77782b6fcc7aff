"""A terminal's newest output: for clients that come back, and as asciicast v2."""

from __future__ import annotations

import base64
import codecs
import json
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from roost.errors import Invalid

BYTES = 1024 * 1024
"""Output that is kept of a terminal."""
_PIECES = 50_000
_KEPT_IN_LOG = 256 * 1024
"""Bytes of a recording in the log, compressed. Longer ones lose their oldest half."""

_UNPACKED = 32 * 1024 * 1024


class Output(NamedTuple):
    """at: position of its first byte. time: seconds since the terminal was opened."""

    at: int
    time: float
    data: bytes


class Change(NamedTuple):
    """Something else than output that clients are told, in order with it. at: the position behind the output before."""

    at: int
    time: float
    event: dict[str, Any]


Piece: TypeAlias = Output | Change


class Recording:
    """first: number of the oldest piece that is kept. position: number of bytes of output so far. size: columns and
    rows at the oldest piece."""

    def __init__(self, columns: int, rows: int) -> None:
        self.size = (columns, rows)
        self.pieces: deque[Piece] = deque()
        self.first = 0
        self.position = 0
        self._bytes = 0

    @property
    def end(self) -> int:
        """Number of the next piece."""
        return self.first + len(self.pieces)

    def copy(self) -> Recording:
        """Return what another thread may read."""
        made = Recording(*self.size)
        made.pieces, made.first, made.position = self.pieces.copy(), self.first, self.position
        return made

    def add(self, time: float, data: bytes) -> None:
        self.pieces.append(Output(self.position, time, data))
        self.position += len(data)
        self._bytes += len(data)
        self._trim()

    def note(self, time: float, event: dict[str, Any]) -> None:
        self.pieces.append(Change(self.position, time, event))
        self._trim()

    def find(self, position: int) -> int | None:
        """Return the number of the piece at whose beginning a position stands, or in which it is. None if what follows
        the position is not kept any more."""
        if position == self.position:
            return self.end
        if not 0 <= position < self.position or not self.pieces or self.pieces[0].at > position:
            return None
        for number, piece in enumerate(self.pieces, self.first):
            if isinstance(piece, Output) and position < piece.at + len(piece.data):
                return number
        return None

    def _trim(self) -> None:
        while self._bytes > BYTES or len(self.pieces) > _PIECES:
            gone = self.pieces.popleft()
            self.first += 1
            if isinstance(gone, Output):
                self._bytes -= len(gone.data)
            elif gone.event["kind"] == "size":
                self.size = (gone.event["columns"], gone.event["rows"])


def asciicast(recording: Recording, *, began: float, title: str) -> str:
    """Return a recording as asciicast v2: a header, and a line for each piece."""
    columns, rows = recording.size
    head: dict[str, Any] = {"version": 2, "width": columns, "height": rows, "timestamp": int(began)}
    lines = [json.dumps({**head, **({"title": title} if title else {})}, ensure_ascii=False)]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in recording.pieces:
        time = round(piece.time, 6)
        if isinstance(piece, Output):
            lines.append(json.dumps([time, "o", decoder.decode(piece.data)], ensure_ascii=False))
        elif piece.event.get("kind") == "size":
            size = f"{piece.event['columns']}x{piece.event['rows']}"
            lines.append(json.dumps([time, "r", size]))
    return "\n".join(lines) + "\n"


def packed(cast: str, scrubbed: Callable[[str], str]) -> str:
    """Return a recording for the log. scrubbed: masks secrets."""
    head, *lines = scrubbed(cast).removesuffix("\n").split("\n")  # and not at the other ends of lines of Unicode
    while (
        len(data := zlib.compress("\n".join([head, *lines, ""]).encode("utf-8", "replace"), 6)) > _KEPT_IN_LOG and lines
    ):
        lines = lines[(len(lines) + 1) // 2 :]
    return base64.b64encode(data).decode()


def unpacked(recording: str) -> str:
    """Return a recording of the log; a log that was imported may hold anything. Raises `Invalid`."""
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(recording), _UNPACKED) if recording else b""
    except (ValueError, zlib.error) as error:
        raise Invalid(f"the log has no readable recording: {error}") from None
    return data.decode("utf-8", "replace")
