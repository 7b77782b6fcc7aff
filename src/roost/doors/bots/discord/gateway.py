"""Discord's gateway (v10): one WebSocket with heartbeats, which is resumed after it breaks.

An event has a sequence number. It is reported back, in heartbeats and when the connection is resumed, only after the
event was taken: what was not taken comes again."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from roost.doors.bots.platform import Failed, Refused, Unauthorized
from roost.doors.bots.socket_link import Closed, Link, connect

log = logging.getLogger("roost.bots")
_DISPATCH, _BEAT, _IDENTIFY, _RESUME, _RECONNECT, _INVALID, _HELLO, _BEAT_ACK = 0, 1, 2, 6, 7, 9, 10, 11
_FATAL = {
    4010: "the shard is not valid",
    4011: "the bot is in so many servers that it needs shards",
    4012: "this version of the gateway is not valid",
    4013: "the intents are not valid",
    4014: "it lacks an intent: turn on 'Message Content Intent' in the developer portal, or use groups = \"mention\"",
}
_NEW_SESSION = frozenset((1000, 1001, 4007, 4009))
"""Codes after which a session cannot be resumed."""
_WAITING = 1000
"""Most events that are read and not taken. Beyond that the connection breaks, and is resumed where they were taken."""
_UNANSWERED = 4900
"""Our code for a connection whose heartbeats get no answer: one that does not end the session."""

Dispatch = Callable[[str, msgspec.Raw], Awaitable[None]]
"""Takes an event by its name."""


class _Frame(msgspec.Struct):
    op: int
    d: msgspec.Raw = msgspec.Raw(b"null")
    s: int | None = None
    t: str | None = None


class _Hello(msgspec.Struct):
    heartbeat_interval: float


class _Ready(msgspec.Struct):
    session_id: str
    resume_gateway_url: str = ""


_frame = msgspec.json.Decoder(_Frame)


class Gateway:
    """The gateway's session of one bot. find: returns the address for a new session. dispatch: gets every event, one
    after the other, `READY` and `RESUMED` too."""

    def __init__(self, token: str, intents: int, find: Callable[[], Awaitable[str]], dispatch: Dispatch) -> None:
        self._token, self._intents, self._find, self._dispatch = token, intents, find, dispatch
        self._session, self._resume_url = "", ""
        self._seq: int | None = None
        self._answered = True

    async def run(self) -> None:
        """Take in events, over as many connections as it needs; for ever. Raises `Failed`, `Refused`."""
        while True:
            try:
                await self._connection()
            except Closed as error:
                if error.code == 4004:
                    raise Unauthorized("the gateway: the token is wrong") from None
                if error.code in _FATAL:
                    raise Refused(f"the gateway: {_FATAL[error.code]}") from None
                if error.code in _NEW_SESSION:
                    self._session = ""
                log.info("the gateway of Discord: %s", error)
                raise  # `run` is called again after a pause, and resumes

    async def _connection(self) -> None:
        """Open a connection and serve it until it is to be replaced. Raises `Closed`."""
        url = self._resume_url if self._session and self._resume_url else await self._find()
        link = await connect(f"{url.rstrip('/')}/?v=10&encoding=json")
        parts: list[asyncio.Task[None]] = []
        waiting: asyncio.Queue[_Frame] = asyncio.Queue(_WAITING)
        try:
            hello = _frame.decode(await link.receive())
            if hello.op != _HELLO:
                raise Failed("the gateway does not begin with a hello")
            interval = msgspec.json.decode(hello.d, type=_Hello).heartbeat_interval / 1000
            self._answered = True
            await link.send(self._introduction())
            work = (self._read(link, waiting), self._take(waiting), self._beat(link, interval))
            parts += [asyncio.create_task(one) for one in work]
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        except msgspec.MsgspecError as error:
            raise Failed(f"the gateway: a frame that is not understood: {error}") from None
        finally:
            for one in parts:
                one.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            await link.close(4000)  # 1000 would end the session

    def _introduction(self) -> dict[str, Any]:
        if self._session:
            return {"op": _RESUME, "d": {"token": self._token, "session_id": self._session, "seq": self._seq}}
        about = {"os": "linux", "browser": "roost", "device": "roost"}
        return {"op": _IDENTIFY, "d": {"token": self._token, "intents": self._intents, "properties": about}}

    async def _read(self, link: Link, waiting: asyncio.Queue[_Frame]) -> None:
        """Read frames until the connection is to be replaced. Heartbeats are seen to also while an event is taken."""
        while True:
            try:
                frame = _frame.decode(await link.receive())
            except msgspec.MsgspecError as error:  # such as half a character; it would come again for ever
                log.error("the gateway of Discord: a frame that is not understood is passed over: %s", error)
                continue
            if frame.op == _DISPATCH:
                await waiting.put(frame)
            elif frame.op == _BEAT:
                await link.send({"op": _BEAT, "d": self._seq})
            elif frame.op == _BEAT_ACK:
                self._answered = True
            elif frame.op == _RECONNECT:
                return
            elif frame.op == _INVALID:
                if not msgspec.json.decode(frame.d, type=bool):
                    self._session = ""
                await asyncio.sleep(random.uniform(1.0, 5.0))  # as Discord asks
                return

    async def _take(self, waiting: asyncio.Queue[_Frame]) -> None:
        while True:
            frame = await waiting.get()
            if frame.t == "READY":
                ready = msgspec.json.decode(frame.d, type=_Ready)
                self._session, self._resume_url = ready.session_id, ready.resume_gateway_url
            await self._dispatch(frame.t or "", frame.d)
            self._seq = frame.s if frame.s is not None else self._seq

    async def _beat(self, link: Link, interval: float) -> None:
        """Send heartbeats. Raises `Closed` when one gets no answer."""
        await asyncio.sleep(interval * random.random())
        while self._answered:
            self._answered = False
            await link.send({"op": _BEAT, "d": self._seq})
            await asyncio.sleep(interval)
        raise Closed("the gateway does not answer heartbeats", _UNANSWERED)
