"""Read a session's log as it counts now: without what rollbacks took back."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal, NamedTuple

from roost.api.session_contents import event_of
from roost.client.async_client import Client
from roost.errors import UnknownEvent
from roost.log import events as ev

_PAGE = 500


class Span(NamedTuple):
    """Events after one position, up to and including another."""

    after: int
    until: int


async def read(client: Client, session: str, span: Span) -> AsyncGenerator[tuple[int, ev.Event]]:
    """Yield the events of a span with their numbers, except those that only a newer Roost knows."""
    after = span.after
    while after < span.until:
        page = await client.sessions.events(session, after=after, limit=min(_PAGE, span.until - after))
        if not page.events:
            return
        for entry in page.events:
            try:
                yield entry.seq, event_of(entry)
            except UnknownEvent:
                continue
        after = page.events[-1].seq


async def spans(client: Client, session: str, head: int) -> list[Span]:
    """Return the parts of the log that count at `head`, in order."""
    back: dict[int, int] = {}
    async for seq, event in read(client, session, Span(0, head)):
        if isinstance(event, ev.SessionRolledBack):
            back[seq] = event.to
    found: list[Span] = []
    while head > 0:
        newest = max((seq for seq in back if seq <= head), default=0)
        found.append(Span(max(0, newest - 1), head))
        head = back.get(newest, 0)
    return found[::-1]


async def last_turn(client: Client, session: str, head: int) -> int | None:
    """Return the position before the message that began the last turn that counts; None when there is no turn."""
    found = None
    for span in await spans(client, session, head):
        async for seq, event in read(client, session, span):
            if isinstance(event, ev.TurnStarted):
                found = max(0, seq - 2)  # the message stands before it, in the same commit
    return found


class Taken(NamedTuple):
    """What the log says of an accepted message. end: of the turn that took it in. stop: why its last answer ended."""

    state: Literal["pending", "open", "ended"]
    end: ev.TurnCompleted | None = None
    stop: str = "end"


async def find_input(client: Client, session: str, number: int, head: int) -> Taken:
    """Look for a message's turn from the end of the log backward: a prompt that is repeated comes soon."""
    while head > 0:
        start = max(0, head - _PAGE)
        taken = await _taken(client, session, number, start)
        if taken is not None:
            return taken
        head = start
    return Taken("pending")


async def _taken(client: Client, session: str, number: int, start: int) -> Taken | None:
    """Return what follows the message after `start`, or None if the next `_PAGE` events have none."""
    found, stop = False, "end"
    head = (await client.sessions.inspect(session)).info.head
    async for seq, event in read(client, session, Span(start, head)):
        match event:
            case ev.InputReceived(input=one):
                found = found or one == number
            case ev.ModelCompleted():
                stop = event.stop
            case ev.TurnCompleted() if found:
                return Taken("ended", event, stop)
            case _:
                pass
        if not found and seq > start + _PAGE:
            return None
    return Taken("open") if found else None
