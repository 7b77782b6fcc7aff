"""Notify other nodes of commits: hints, batched into few small notifications, each in its own transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any

import msgspec

from roost.log.protocols import Change

ANYTHING = Change("", None, None)
LOG, INBOX, WORK = 1, 2, 4
"""Kinds of hints about a session, as in `Change`: new events, an input for its owner, or work without owner."""
DOCUMENTS = 8
"""The hint that documents have changed: it names their kinds in place of sessions."""
_PACE = 0.005
"""Seconds between notifications. NOTIFY takes a server-wide lock at commit."""
_LEAVE = 0.025
"""Seconds for which an input without owner is left to this journal's own nodes before others are notified."""
_LARGEST = 7900
"""Limit of a payload in bytes; PostgreSQL refuses 8,000."""

_decode = msgspec.json.Decoder(tuple[str, list[tuple[int, list[str]]]])
_encode = msgspec.json.Encoder().encode


class Notices:
    """Collects the sessions that other nodes should look at. send: gets payloads, and may lose them."""

    def __init__(self, token: str, send: Callable[[list[str]], Coroutine[Any, Any, None]]) -> None:
        self.wanted = False
        """Whether other nodes exist."""
        self._token = token
        self._send = send
        self._due: dict[str, tuple[float, int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def add(self, session: str, kind: int, *, unless_taken: bool = False) -> None:
        """Queue a hint. session: empty means any. unless_taken: the input has no owner yet; if a node here claims the
        session soon, no hint is sent."""
        if not self.wanted:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + (_LEAVE if unless_taken else _PACE)
        first, kinds = self._due.get(session, (due, 0))
        self._due[session] = (min(due, first), kinds | kind)
        self._flush_at(due)

    def taken(self, session: str) -> None:
        """Drop queued hints about work: the session now runs here. Hints for readers of its log elsewhere stay."""
        due, kinds = self._due.pop(session, (0.0, 0))
        if kinds & LOG:
            self._due[session] = (due, LOG)

    def read(self, payload: str) -> list[Change]:
        """Decode another journal's notification; one's own gives nothing. An unreadable one may mean anything."""
        try:
            token, told = _decode.decode(payload)
        except msgspec.MsgspecError:
            return [ANYTHING]
        if token == self._token:
            return []
        return [change for kinds, sessions in told for session in sessions for change in changes(session, kinds)]

    def read_kinds(self, payload: str) -> list[str] | None:
        """Return the kinds of documents that another journal has changed. None: any kind, since it is unreadable."""
        try:
            token, told = _decode.decode(payload)
        except msgspec.MsgspecError:
            return None
        return [] if token == self._token else [kind for hint, kinds in told if hint == DOCUMENTS for kind in kinds]

    def of_documents(self, kinds: Iterable[str]) -> list[str]:
        """Return the payloads that report changed documents. They are sent in the transaction of the change."""
        return _split(self._token, [(kind, DOCUMENTS) for kind in kinds])

    def hello(self) -> str:
        return _payload(self._token, {})

    async def close(self) -> None:
        """Send the queued hints."""
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
        """Flush at `due` or earlier."""
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
