"""Stream a session as frames: its log from a position, then live, with the deltas of the step in progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from roost.kernel.delta_hub import Hub
from roost.log.frames import Frame
from roost.log.store import Store
from roost.log.tail import Follower

_MODEL = b'{"type":"model.'
_NOTICE = b'{"type":"model.notice"'
_RESTART = b'"kind":"restart"'
_START = 64
"""Bytes at the start of a notice that contain its kind."""


async def frames(
    store: Store, hub: Hub, session: str, after: int | Follower, *, deltas: bool, idle: float | None = None
) -> AsyncIterator[list[Frame]]:
    """Yield batches of frames: every event once and in order, until the session is deleted. With `idle`, yield an empty
    batch after that many seconds of silence. A slow reader delays nobody else."""
    follower = after if isinstance(after, Follower) else Follower(store, session, after)
    woken = follower.woken
    pieces = _Pieces(hub, session, woken) if deltas else None
    try:
        while True:
            woken.clear()
            records = await follower.take()
            if records is None:
                return
            batch = [Frame(record.seq, record.body) for record in records]
            if pieces is not None:
                batch = pieces.passed(batch) if follower.behind else pieces.merged(batch, follower)
            if batch:
                yield batch
            elif not await _sleep(woken, idle):
                yield []
    finally:
        follower.close()
        if pieces is not None:
            pieces.close()


class _Pieces:
    """The deltas of one reader, put in order with the events. Deltas from another node take another path: they may
    arrive before the event that began their step, which is then looked for, or after the one that ended it, which
    contains them all."""

    def __init__(self, hub: Hub, session: str, woken: asyncio.Event) -> None:
        self._hub = hub
        self._session = session
        self._listener = hub.join(session, woken)
        self._early: list[tuple[int, bytes]] = []
        self._looked = 0
        self._begun = 0

    def close(self) -> None:
        self._hub.part(self._session, self._listener)

    def merged(self, events: list[Frame], follower: Follower) -> list[Frame]:
        pieces = self._early
        if not pieces or pieces[0][0] <= follower.after:
            pieces = pieces + self._hub.take(self._session, self._listener)
        begun = self._begun
        self.passed(events)
        if not pieces:
            return events
        self._early = [piece for piece in pieces if piece[0] > follower.after]
        if self._early:
            self._look(follower, self._early[-1][0])
        return _merge(events, [piece for piece in pieces if begun <= piece[0] <= follower.after])

    def passed(self, events: list[Frame]) -> list[Frame]:
        """Record the events that the reader gets now: deltas from before the newest answer are too late. Returns the
        events."""
        for frame in events:
            if frame.seq is not None and frame.body.startswith(_MODEL) and _begins(frame.body):
                self._begun = frame.seq
        return events

    def _look(self, follower: Follower, seq: int) -> None:
        """Look for an event once, without waiting for a notification: it is committed, or its deltas would not have
        arrived."""
        if seq > self._looked:
            self._looked = seq
            follower.behind = True
            follower.woken.set()


def _begins(body: bytes) -> bool:
    """Return whether this event of a model call makes earlier deltas obsolete. A notice does not, unless the answer
    begins again."""
    return not body.startswith(_NOTICE) or _RESTART in body[:_START]


def _merge(events: list[Frame], deltas: list[tuple[int, bytes]]) -> list[Frame]:
    """Merge deltas and events: a delta follows the event that began its step, and precedes later ones."""
    merged: list[Frame] = []
    place = 0
    for after, body in deltas:
        while place < len(events) and (events[place].seq or 0) <= after:
            merged.append(events[place])
            place += 1
        merged.append(Frame(None, body))
    merged.extend(events[place:])
    return merged


async def _sleep(woken: asyncio.Event, seconds: float | None) -> bool:
    """Wait at most `seconds`. Returns True when woken in time."""
    if seconds is None:
        return await woken.wait()
    loop = asyncio.get_running_loop()
    over = loop.time() + seconds
    ring = loop.call_at(over, woken.set)  # costs a fifth of `asyncio.timeout`, and hardly ever fires
    try:
        await woken.wait()
    finally:
        ring.cancel()
    return loop.time() < over
