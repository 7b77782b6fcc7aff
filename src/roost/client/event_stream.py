"""Read a session's stream over HTTP, and resume it after a lost connection."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator

from roost.client.daemon_address import Locate, Unreachable
from roost.client.socket_transport import ApiError, connect, headers_of, refusal, target
from roost.kernel.frames import Frame

_SILENCE = 45.0
"""Seconds without data after which the connection is dead: three missed pings."""
_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
_MAX_LINE = 64 * 1024 * 1024


class EventStream:
    """A session's frames: every event once and in order, deltas between them. Iterate in one thread; `close` may be
    called from another and ends the iteration.

    A lost connection is resumed at the last event for up to `patience` seconds, wherever the daemon is then. `on_gap`
    is called with True when the connection is lost and with False when it is back. Ends when the session is deleted.
    Raises `ApiError`, and `Unreachable` when the patience is over.
    known: daemon and session existed a moment ago, so even the first connection may be retried.
    """

    def __init__(
        self,
        locate: Locate,
        session: str,
        *,
        after: int = 0,
        deltas: bool = True,
        patience: float = 60.0,
        on_gap: Callable[[bool], None] = lambda _: None,
        known: bool = False,
    ) -> None:
        self._locate = locate
        self._path = f"/sessions/{session}/events"
        self._query = None if deltas else {"deltas": 0}
        self._after = after
        self._patience = patience
        self._on_gap = on_gap
        self._closed = threading.Event()
        self._socket: socket.socket | None = None
        self._stood = known
        self._lost: float | None = None
        self._tries = 0

    def __iter__(self) -> Iterator[Frame]:
        while not self._closed.is_set():
            try:
                yield from self._once()
            except ApiError as error:
                if self._stood and error.status == 404:
                    return
                if error.status < 500:
                    raise
            except Unreachable:
                if not self._stood:
                    raise
            except (http.client.HTTPException, OSError, ValueError):
                pass  # a broken connection is what this loop is for
            self._wait()

    def close(self) -> None:
        self._closed.set()
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _wait(self) -> None:
        """Wait before the next connection. Raises `Unreachable` when the patience is over."""
        if self._closed.is_set():
            return
        if self._lost is None:
            self._lost, self._tries = time.monotonic(), 0
            self._on_gap(True)
        elif time.monotonic() - self._lost > self._patience:
            raise Unreachable(
                f"the daemon has been away for {self._patience:.0f} s; the session goes on when it is back"
            )
        self._closed.wait(_PAUSES[min(self._tries, len(_PAUSES) - 1)])
        self._tries += 1

    def _connected(self) -> None:
        self._stood = True
        if self._lost is not None:
            self._lost = None
            self._on_gap(False)

    def _once(self) -> Iterator[Frame]:
        """Yield the frames of one connection."""
        endpoint = self._locate()
        connection = connect(endpoint, _SILENCE)
        self._socket = connection.sock
        try:
            headers = headers_of(endpoint, Accept="text/event-stream", Last_Event_ID=str(self._after))
            connection.request("GET", target(self._path, self._query), headers=headers)
            response = connection.getresponse()
            if response.status != 200:
                raise refusal(response.status, response.read(1024 * 1024))
            self._connected()
            for frame in _frames(response):
                if frame.seq is not None:
                    if frame.seq <= self._after:
                        continue
                    self._after = frame.seq
                yield frame
        finally:
            connection.close()


def _frames(response: http.client.HTTPResponse) -> Iterator[Frame]:
    """Decode frames. Raises `ApiError` with the problem that ends the stream."""
    seq: int | None = None
    kind = b""
    data: list[bytes] = []
    while line := response.readline(_MAX_LINE):
        line = line.rstrip(b"\r\n")
        if not line:
            if kind == b"problem":
                raise refusal(None, b"\n".join(data))
            if data:
                yield Frame(seq, b"\n".join(data))
            seq, kind, data = None, b"", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"id" and value.isdigit():
            seq = int(value)
        elif field == b"event":
            kind = value
