"""Decode Server-Sent Events, and decide when a lost stream is opened again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import msgspec

from roost.client.requests import Unreachable, refusal
from roost.log.events import Event, decode_event
from roost.log.frames import Delta, Frame, Progress

_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
_piece = msgspec.json.Decoder(Delta | Progress)


class Logged(NamedTuple):
    """An event of the log and its number."""

    seq: int
    event: Event


StreamItem: TypeAlias = Logged | Delta | Progress
"""What a stream consists of: events of the log, each once and in order, and pieces of the step in progress."""


def item_of(frame: Frame) -> StreamItem:
    """Decode a frame. Raises `UnknownEvent` for an event that only a newer Roost knows."""
    return _piece.decode(frame.body) if frame.seq is None else Logged(frame.seq, decode_event(frame.body))


class FrameReader:
    """Splits the bytes of a stream into frames. `after`: the newest event so far; earlier ones are dropped."""

    def __init__(self, after: int) -> None:
        self.after = after
        self._rest = b""
        self._seq: int | None = None
        self._kind = b""
        self._data: list[bytes] = []

    def restart(self) -> None:
        """Forget what an earlier connection has begun."""
        self._rest, self._seq, self._kind, self._data = b"", None, b"", []

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that are complete now. Raises `ApiError` with the problem that ends the stream."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [frame for line in lines if (frame := self._line(line.rstrip(b"\r"))) is not None]

    def _line(self, line: bytes) -> Frame | None:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"id" and value.isdigit():
            self._seq = int(value)
        elif field == b"event":
            self._kind = value
        elif not line:
            return self._end()
        return None

    def _end(self) -> Frame | None:
        seq, kind, body = self._seq, self._kind, b"\n".join(self._data)
        self._seq, self._kind, self._data = None, b"", []
        if kind == b"problem":
            raise refusal(None, body)
        if not body or (seq is not None and seq <= self.after):
            return None
        self.after = self.after if seq is None else seq
        return Frame(seq, body)


class Resuming:
    """Whether a lost stream is opened again, and when. `known`: daemon and session existed a moment ago, so that even
    the first connection may be repeated."""

    def __init__(self, patience: float, on_gap: Callable[[bool], None], *, known: bool) -> None:
        self._patience, self._on_gap, self.known = patience, on_gap, known
        self._lost: float | None = None
        self._tries = 0

    def connected(self) -> None:
        self.known = True
        if self._lost is not None:
            self._lost = None
            self._on_gap(False)

    def pause(self) -> float:
        """Return the seconds before the next connection. Raises `Unreachable` when the patience is over."""
        if self._lost is None:
            self._lost, self._tries = time.monotonic(), 0
            self._on_gap(True)
        elif time.monotonic() - self._lost > self._patience:
            raise Unreachable(
                f"the daemon has been away for {self._patience:.0f} s; the session goes on when it is back"
            )
        self._tries += 1
        return _PAUSES[min(self._tries - 1, len(_PAUSES) - 1)]
