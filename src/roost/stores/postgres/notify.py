"""Telling the other nodes what was committed: a hint, in few and small notifications of their own transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import msgspec

from roost.log.protocols import Change

ANYTHING = Change("", None, None)
LOG, INBOX, WORK = 1, 2, 4
"""What is to be told of a session, as `Change` has it: events, an input for its owner, or work that nobody has."""
_PACE = 0.005
"""Seconds between notifications. A NOTIFY takes a lock of the whole server when it commits."""
_LEAVE = 0.025
"""Seconds that this journal's own nodes have to take an input before others hear of it."""
_LARGEST = 7900
"""Bytes of a payload; PostgreSQL refuses 8,000."""

_decode = msgspec.json.Decoder(tuple[str, list[tuple[int, list[str]]]])
_encode = msgspec.json.Encoder().encode


class Notices:
    """Gathers the sessions that others should look at. `send` is given payloads and may lose them."""

    def __init__(self, token: str, send: Callable[[list[str]], Coroutine[Any, Any, None]]) -> None:
        self.wanted = False
        """Whether there is anybody else."""
        self._token = token
        self._send = send
        self._due: dict[str, tuple[float, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def add(self, session: str, kind: int, *, unless_taken: bool = False) -> None:
        """An empty session is any. `unless_taken`: an input that nobody owns; who takes it here soon need not tell."""
        if not self.wanted:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + (_LEAVE if unless_taken else _PACE)
        first, kinds = self._due.get(session, (due, 0))
        self._due[session] = (min(due, first), kinds | kind)
        self._flush_at(due)

    def taken(self, session: str) -> None:
        """It runs here. Its readers elsewhere are still told."""
        due, kinds = self._due.pop(session, (0.0, 0))
        if kinds & LOG:
            self._due[session] = (due, LOG)

    def read(self, payload: str) -> list[Change]:
        """What another one's notification tells; nothing for one's own. One that cannot be read may mean anything."""
        try:
            token, told = _decode.decode(payload)
        except msgspec.MsgspecError:
            return [ANYTHING]
        if token == self._token:
            return []
        return [change for kinds, sessions in told for session in sessions for change in changes(session, kinds)]

    def hello(self) -> str:
        return _payload(self._token, {})

    async def close(self) -> None:
        """Send what is left."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sending is not None:
            await self._sending
        if self._due:
            await self._send(_split(self._token, [(session, kind) for session, (_, kind) in self._due.items()]))
            self._due.clear()

    def _flush(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        if self._sending is not None and not self._sending.done():
            self._flush_at(loop.time() + _PACE)
            return
        now = loop.time() + 0.001
        ripe = [(session, kind) for session, (due, kind) in self._due.items() if due <= now]
        for session, _ in ripe:
            del self._due[session]
        if ripe:
            self._sending = loop.create_task(self._send(_split(self._token, ripe)))
        if self._due:
            self._flush_at(min(due for due, _ in self._due.values()))

    def _flush_at(self, due: float) -> None:
        """Or before."""
        if self._timer is not None:
            if self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(due, self._flush)


def changes(session: str, kinds: int) -> Iterator[Change]:
    if kinds & WORK:
        yield Change(session, None, None)
        return
    if kinds & LOG:
        yield Change(session, None, ())
    if kinds & INBOX:
        yield Change(session, (), None)


def _split(token: str, news: list[tuple[str, int]]) -> list[str]:
    payloads: list[str] = []
    part: dict[int, list[str]] = {}
    size = 100
    for session, kind in news:
        length = len(_encode(session)) + 1
        if length > _LARGEST // 2:
            session, kind, length = ANYTHING.session, WORK, 3
        if size + length > _LARGEST:
            payloads.append(_payload(token, part))
            part, size = {}, 100
        part.setdefault(kind, []).append(session)
        size += length
    return [*payloads, _payload(token, part)]


def _payload(token: str, part: dict[int, list[str]]) -> str:
    return _encode((token, list(part.items()))).decode()
