"""One connection: read the client's requests, run them, and write answers and events."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from roost.authority import current
from roost.doors.websocket.calls import Calls, failed
from roost.doors.websocket.channels import Channels
from roost.doors.websocket.messages import End, Failure, Request, Result, id_of, read_request, written
from roost.doors.websocket.subscriptions import Seats, Subscriptions
from roost.kernel.channels import Open
from roost.server.app_state import Api
from roost.server.problems import Refused, problem_of, shutting_down, token_ended

CALLS = 32
"""Most requests of a connection that run at once. With more, the connection is not read."""
RATE, BURST = 100.0, 200.0
"""Requests in a second, and at once, that a connection is read for. With more, it is read slower."""
_FAREWELL_SECONDS = 1.0
_POLICY, _RESTART = 1008, 1012
"""Codes of RFC 6455 and its registry, by which a connection is closed: it may not go on; connect again."""


class Connection:
    """Serves one client until it leaves, the daemon stops, or its token ends. Requests that name the same session run
    in the order in which they came, others beside each other. There is no queue: a subscription waits with its next
    message until the one before has been taken by the client's socket."""

    def __init__(self, api: Api, calls: Calls, opens: dict[str, Open], seats: Seats, protocol: str) -> None:
        self.authority = current()
        self._api, self._calls, self._protocol = api, calls, protocol
        self._subscriptions = Subscriptions(api, seats, self._write)
        self._channels = Channels(api, opens, seats, self._write)
        self._room = asyncio.Semaphore(CALLS)
        self._lanes: dict[str, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._writing = asyncio.Lock()
        self._over = asyncio.Event()
        self._pace = _Pace()

    def end(self) -> None:
        """End the connection from outside."""
        self._over.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send = send
        await receive()  # the request, which has been checked
        await send({"type": "websocket.accept", "subprotocol": self._protocol})
        self._api.streams.add(self)
        if self._api.stopping:
            self.end()
        reading = asyncio.create_task(self._read(receive))
        over = asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait((reading, over), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await self._leave(End(None, shutting_down() if self._api.stopping else token_ended()))
            elif (error := reading.exception()) is not None and isinstance(error, Exception):
                await self._leave(End(None, problem_of(error, "a WebSocket")))
        finally:
            self._api.streams.discard(self)
            reading.cancel()
            over.cancel()
            await self._subscriptions.close()
            await self._channels.close()
            await asyncio.gather(*self._running, return_exceptions=True)  # what was accepted goes on to its end

    async def _leave(self, last: End) -> None:
        """Say why the connection ends. A client that reads nothing is not waited for."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._write(written(last))
                code = _RESTART if last.problem.status >= 500 else _POLICY
                await self._send({"type": "websocket.close", "code": code, "reason": last.problem.code})

    async def _read(self, receive: Receive) -> None:
        """Start the client's requests until it leaves."""
        while (message := await receive())["type"] != "websocket.disconnect":
            await self._pace.wait()
            await self._room.acquire()
            asked = _request(message)
            lane = _lane(asked)
            task = asyncio.create_task(self._run(asked, self._lanes.get(lane) if lane else None))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            if lane:
                self._lanes[lane] = task
                task.add_done_callback(lambda ended, lane=lane: self._clear(lane, ended))

    def _clear(self, lane: str, task: asyncio.Task[None]) -> None:
        if self._lanes.get(lane) is task:
            del self._lanes[lane]

    async def _run(self, asked: Request | Failure, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                await asyncio.wait([before])
            answer = asked if isinstance(asked, Failure) else await self._answer(asked)
            if answer is not None:
                await self._write(written(answer))
        except OSError:  # the client has gone; what it asked for is in the log
            pass
        finally:
            self._room.release()

    async def _answer(self, asked: Request) -> Result | Failure | None:
        """Do what a client asks. Returns None when the answer is written already."""
        try:
            match asked.op:
                case "subscribe":
                    await self._api.count()
                    await self._subscriptions.subscribe(asked)
                    return None
                case "unsubscribe":
                    return await self._subscriptions.unsubscribe(asked)
                case op if self._channels.knows(op):
                    await self._api.count()
                    return await self._channels.answer(asked)
                case _:
                    return await self._calls.answer(asked)
        except OSError:
            raise
        except Exception as error:  # a defect too becomes the client's error and the operator's log line
            return failed(asked.id, error)

    async def _write(self, message: str | bytes) -> None:
        """Send a message. One writer at a time waits for the client, in turn. Raises `OSError` when it has gone."""
        kind = "text" if isinstance(message, str) else "bytes"
        async with self._writing:
            await self._send({"type": "websocket.send", kind: message})


class _Pace:
    """Delays a client that sends more than its rate."""

    def __init__(self) -> None:
        self._left, self._at = BURST, 0.0

    async def wait(self) -> None:
        now = asyncio.get_running_loop().time()
        self._left = min(BURST, self._left + (now - self._at) * RATE) - 1.0
        self._at = now
        if self._left < 0:
            await asyncio.sleep(-self._left / RATE)


def _request(message: Message) -> Request | Failure:
    text: str | None = message.get("text")
    if text is None:
        return failed(None, Refused(400, "binary_message", "send JSON as text: this is a binary message"))
    try:
        return read_request(text)
    except Exception as error:
        return failed(id_of(text), error)


def _lane(asked: Request | Failure) -> str | None:
    """Return the session whose requests this one keeps its order with."""
    args: dict[str, Any] = {} if isinstance(asked, Failure) else asked.args
    name = args.get("session", args.get("id"))
    return name if isinstance(name, str) else None
