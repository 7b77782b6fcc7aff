"""A session as a stream of frames: its log from a position, then live, with the deltas of the step in progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from roost.kernel.hub import Hub
from roost.log.journal import Journal
from roost.log.tail import Follower


class Frame(NamedTuple):
    """`seq` is the event's place in the log; None for a delta. `body` is JSON that begins with its type."""

    seq: int | None
    body: bytes


async def frames(
    journal: Journal, hub: Hub, session: str, after: int, *, deltas: bool, idle: float | None = None
) -> AsyncIterator[list[Frame]]:
    """Batches of frames, every event once and in order, for ever. With `idle`, an empty batch after that many seconds
    of silence. A slow reader only ever costs itself. Ends when the session is deleted."""
    woken = asyncio.Event()
    follower = Follower(journal, session, after, woken=woken)
    listener = hub.join(session, woken) if deltas else None
    try:
        while True:
            woken.clear()
            records = await follower.take()
            if records is None:
                return
            batch = [Frame(record.seq, record.body) for record in records]
            if listener is not None and not follower.behind:
                batch = _merge(batch, hub.take(session, listener))
            if batch:
                yield batch
            elif not await _sleep(woken, idle):
                yield []
    finally:
        follower.close()
        if listener is not None:
            hub.part(session, listener)


def _merge(events: list[Frame], deltas: list[tuple[int, bytes]]) -> list[Frame]:
    """Deltas go after the event that began their step, before what came later."""
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
    try:
        async with asyncio.timeout(seconds):
            return await woken.wait()
    except TimeoutError:
        return False
