"""A client of the daemon's WebSocket, for threads."""

from __future__ import annotations

import itertools
import json
import queue
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

import msgspec

from roost.client.daemon_address import Endpoint
from roost.client.requests import Unreachable, refusal

PROTOCOL = "roost.v1"
_AHEAD, _MOST_AHEAD = 64, 1024
"""Messages of a channel that may wait to be read, and while an answer is waited for. With more, the connection is not
read."""
_CLOSE_SECONDS = 2.0


class Output(NamedTuple):
    """Bytes for an emulator. at: position of the first one. redraw: they draw the whole screen as it is at `at`, on a
    terminal that was reset."""

    at: int
    data: bytes
    redraw: bool = False

    @property
    def next(self) -> int:
        """The position behind it, for `attach(after=…)`."""
        return self.at if self.redraw else self.at + len(self.data)


class Disconnected(Exception):
    """The connection has ended. code: of the close frame, if there was one."""

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


class WebSocket:
    """One connection. Any thread may use it. Raises `Unreachable`, or `RoostError` when the daemon refuses it."""

    def __init__(self, endpoint: Endpoint, *, timeout: float = 10.0) -> None:
        from websockets.exceptions import InvalidHandshake, InvalidStatus
        from websockets.sync.client import connect
        from websockets.typing import Subprotocol

        headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
        url = f"ws{endpoint.url.removeprefix('http')}/ws"
        try:
            self._link = connect(
                url,
                subprotocols=[Subprotocol(PROTOCOL)],
                additional_headers=headers,
                max_size=None,
                compression=None,
                open_timeout=timeout,
                close_timeout=_CLOSE_SECONDS,
                proxy=None,
            ).__enter__()  # ends with `close`
        except InvalidStatus as error:
            raise refusal(error.response.status_code, bytes(error.response.body or b"")) from None
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise Unreachable(f"no daemon answers at {endpoint.url} ({error})") from error
        self._numbers = itertools.count(1)
        self._asked: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._channels: dict[int, queue.Queue[Output | dict[str, Any] | None]] = {}
        self._over: Disconnected | None = None
        self._moved = threading.Condition()
        """Notified when a message was taken from a channel, or an answer is waited for."""
        self._closed = False
        threading.Thread(target=self._read, name="roost-websocket", daemon=True).start()

    def ask(self, op: str, *, key: str | None = None, timeout: float | None = 60.0, **args: Any) -> Any:
        """Do an operation, and return its answer. Raises `RoostError`, `Disconnected`, `TimeoutError`."""
        number, done = self._start(op, key, args)
        try:
            return done.result(timeout)
        finally:
            self._asked.pop(number, None)

    def start(self, op: str, *, key: str | None = None, **args: Any) -> Future[Any]:
        """Send a request. Returns its answer to be. Raises `Disconnected`."""
        return self._start(op, key, args)[1]

    def _start(self, op: str, key: str | None, args: Mapping[str, Any]) -> tuple[int, Future[Any]]:
        from websockets.exceptions import ConnectionClosed

        number, done = next(self._numbers), Future[Any]()
        message = {"op": op, "id": number, "args": dict(args), **({} if key is None else {"key": key})}
        with self._lock:
            if self._over is not None:
                raise self._over
            self._asked[number] = done
        try:
            self._link.send(json.dumps(message))
        except ConnectionClosed as error:
            self._asked.pop(number, None)
            raise _disconnected(error) from None
        with self._moved:
            self._moved.notify_all()
        return number, done

    def attach(self, session: str, terminal: str, **args: Any) -> Channel:
        """Attach to a terminal. Raises `RoostError`, `Disconnected`."""
        body = self.ask("terminals.attach", session=session, terminal=terminal, **args)
        return Channel(self, body["channel"], body["terminal"])

    def close(self) -> None:
        with self._moved:
            self._closed = True
            self._moved.notify_all()
        self._link.close()

    def waiting(self, channel: int) -> int:
        """Return the number of messages of a channel that wait to be read."""
        return self._messages(channel).qsize()

    def leave(self, channel: int) -> None:
        """Forget what came of a channel that is detached."""
        with self._lock:
            self._channels.pop(channel, None)

    def next_of(self, channel: int) -> Output | dict[str, Any]:
        """Wait for the next message of a channel. Raises `Disconnected`, and `RoostError` at an end by an error."""
        got = self._messages(channel).get()
        with self._moved:
            self._moved.notify_all()
        if got is None:
            raise self._over or Disconnected("the connection has ended")
        if isinstance(got, dict) and "problem" in got:
            raise refusal(None, msgspec.json.encode(got["problem"]))
        return got

    def _messages(self, channel: int) -> queue.Queue[Output | dict[str, Any] | None]:
        with self._lock:
            if channel not in self._channels:
                self._channels[channel] = queue.Queue()
                if self._over is not None:
                    self._channels[channel].put(None)
            return self._channels[channel]

    def _put(self, channel: int, message: Output | dict[str, Any]) -> None:
        """Keep a message until it is read. An answer may stand behind it: a caller that waits for it reads nothing."""
        messages = self._messages(channel)
        with self._moved:
            self._moved.wait_for(lambda: self._closed or messages.qsize() < (_MOST_AHEAD if self._asked else _AHEAD))
        messages.put(message)

    def _read(self) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            for message in self._link:
                self._take(message)
            over = Disconnected("the connection has ended")
        except ConnectionClosed as error:
            over = _disconnected(error)
        except Exception as error:  # what came is no message of the protocol; nobody waits for ever
            over = Disconnected(f"the daemon sent what is no message: {error}")
            self._link.close()
        with self._lock:
            self._over = over
            asked, self._asked = self._asked, {}
            channels = [*self._channels.values()]
        for done in asked.values():
            if not done.done():
                done.set_exception(over)
        for messages in channels:
            messages.put(None)

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            line, _, data = message.partition(b"\n")
            head = json.loads(line)
            self._put(head["channel"], Output(head["at"], data, head.get("redraw", False)))
            return
        got = json.loads(message)
        match got["type"]:
            case "result" | "error" if (done := self._asked.pop(got["id"], None)) is not None:
                _settle(done, got)
            case "channel":
                self._put(got["channel"], got["event"])
            case "end" if "channel" in got:
                self._put(got["channel"], {"problem": got["problem"]})
            case _:
                pass


class Channel:
    """A terminal that this program is attached to. number: of the channel. terminal: its view as it was then. Iterating
    yields `Output` and events, and ends with the event `ended`. Raises `Disconnected`, `RoostError`."""

    def __init__(self, link: WebSocket, number: int, terminal: dict[str, Any]) -> None:
        self._link, self.number = link, number
        self.terminal = terminal

    def __iter__(self) -> Iterator[Output | dict[str, Any]]:
        while True:
            got = self._link.next_of(self.number)
            yield got
            if isinstance(got, dict) and got["kind"] == "ended":
                return

    def detach(self) -> None:
        """Raises `RoostError`, `Disconnected`."""
        self._link.ask("terminals.detach", channel=self.number)
        self._link.leave(self.number)


def _settle(done: Future[Any], got: dict[str, Any]) -> None:
    if done.done():  # its caller has given up
        return
    if got["type"] == "result":
        done.set_result(got["body"])
        return
    done.set_exception(refusal(None, msgspec.json.encode(got["problem"])))


def _disconnected(error: Any) -> Disconnected:
    frame = error.rcvd
    return Disconnected(str(error), None if frame is None else frame.code)
