"""Telling the other nodes what was committed: a hint, in few and small notifications of their own transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

EVERYTHING = ""
"""In place of a session: anything may have changed."""
_PACE = 0.005
"""Seconds between notifications. A NOTIFY takes a lock of the whole server when it commits."""
_LEAVE = 0.025
"""Seconds that this journal's own nodes have to take an input before others hear of it."""
_LARGEST = 7900
"""Bytes of a payload; PostgreSQL refuses 8,000."""

_decode: msgspec.json.Decoder[tuple[str, list[str]]] = msgspec.json.Decoder(tuple[str, list[str]])
_encode = msgspec.json.Encoder().encode


class Notices:
    """Gathers the sessions that others should look at. `send` is given payloads and may lose them."""

    def __init__(self, token: str, send: Callable[[list[str]], Coroutine[Any, Any, None]]) -> None:
        self.wanted = False
        """Whether there is anybody else."""
        self._token = token
        self._send = send
        self._due: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def add(self, session: str, *, unless_taken: bool = False) -> None:
        """`unless_taken`: an input that nobody owns; who took it here soon has told enough."""
        if not self.wanted:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + (_LEAVE if unless_taken else _PACE)
        self._due[session] = min(due, self._due.get(session, due))
        if self._timer is None:
            self._timer = loop.call_at(due, self._flush)

    def taken(self, session: str) -> None:
        self._due.pop(session, None)

    def read(self, payload: str) -> list[str]:
        """The sessions that another one's notification names; none for one's own. One that cannot be read may mean
        anything."""
        try:
            token, sessions = _decode.decode(payload)
        except msgspec.MsgspecError:
            return [EVERYTHING]
        return [] if token == self._token else sessions

    def hello(self) -> str:
        return _payload(self._token, [])

    async def close(self) -> None:
        """Send what is left."""
        if self._timer is not None:
            self._timer.cancel()
        self._due = dict.fromkeys(self._due, 0.0)
        if self._sending is not None:
            await self._sending
        if self._due:
            await self._send(list(_split(self._token, list(self._due))))

    def _flush(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        if self._sending is not None and not self._sending.done():
            self._timer = loop.call_later(_PACE, self._flush)
            return
        now = loop.time() + 0.001
        ripe = [session for session, due in self._due.items() if due <= now]
        for session in ripe:
            del self._due[session]
        if ripe:
            self._sending = loop.create_task(self._send(list(_split(self._token, ripe))))
        if self._due:
            self._timer = loop.call_at(min(self._due.values()), self._flush)


def _split(token: str, sessions: list[str]) -> list[str]:
    payloads: list[str] = []
    part: list[str] = []
    size = 100
    for session in sessions:
        length = len(_encode(session)) + 1
        if length > _LARGEST // 2:
            session, length = EVERYTHING, 3
        if size + length > _LARGEST:
            payloads.append(_payload(token, part))
            part, size = [], 100
        part.append(session)
        size += length
    return [*payloads, _payload(token, part)]


def _payload(token: str, sessions: list[str]) -> str:
    return _encode((token, sessions)).decode()
