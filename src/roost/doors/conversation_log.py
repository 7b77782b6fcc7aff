"""Read from sessions' logs what a door has said in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

from roost.doors.digests import ConversationReader, Ended, Said, said_in
from roost.doors.log_end import LogEnd
from roost.doors.talk import Talk
from roost.errors import Invalid, NotFound
from roost.features.client_tools.events import ClientOffered, ClientOfferInput
from roost.features.client_tools.state import ClientToolsTurn
from roost.kernel.sessions import Sessions
from roost.kernel.turn_watch import find_turn, window
from roost.log import events as ev
from roost.log.protocols import Record
from roost.log.session_info import SessionInfo

NODE = "roost.node"
"""In the note of a message: the node that took its request, and so answers it."""
_NEAR = (16, 100, 1000)
"""Events of a log's end that are read at a time."""
_PAGE = 1000
_RECEIVED = b'{"type":"input.received"'
_LEFT = (b'{"type":"session.forked"', b'{"type":"session.imported"')
_OFFERED = b'{"type":"client.offered"'
_BACK = b'{"type":"session.rolled_back"'
_COMPLETED = b'{"type":"turn.completed"'
_STEP = (b'{"type":"tool.completed"', b'{"type":"model.completed"')


class Message(NamedTuple):
    """A message that came through a door: its inbox item, and the position of its event."""

    item: int
    seq: int
    said: Said


class TurnClose(NamedTuple):
    """The end of a turn. at: wall time, seconds. node: that took the request; empty where it is not known."""

    seq: int
    at: float
    node: str = ""


class After(NamedTuple):
    """What followed a position of a log. message: the first one of the door. back: the session was rolled back, or
    began, as a fork, only later."""

    message: Message | None
    back: bool


class ConversationLog:
    """Reads what the door `name` has said in sessions."""

    def __init__(self, name: str, sessions: Sessions) -> None:
        self._name, self._sessions = name, sessions

    async def turns(self, session: str, start: bytes) -> dict[bytes, Ended]:
        """Return the ends of the door's turns by digest, in order. `start`: the digest in which nothing was said."""
        reader = ConversationReader(session, start, self._name)
        try:
            async for record in self._records(session, 0):
                reader.follow(record)
        except NotFound:  # deleted under way
            return {}
        return reader.turns()

    async def after(self, session: str, position: int) -> After:
        """Return what followed. What a fork or an import has brought along counts as the session's past. Raises
        `NotFound`."""
        message, back = None, False
        async for record in self._records(session, position):
            if record.body.startswith(_LEFT):
                message, back = None, message is not None
            elif record.body.startswith(_BACK):
                back = True
            elif message is None:
                message = self._message(record)
        return After(message, back)

    async def first(self, session: str) -> Message | None:
        """Return the first message of the door that is not a brought one; None also where the session is gone."""
        try:
            return (await self.after(session, 0)).message
        except NotFound:
            return None

    async def newest(self, end: LogEnd, mark: str | None = None) -> Message | None:
        """Return the newest message of the door, or the newest with this mark, if it is among the last events. Raises
        `NotFound`."""
        for size in (0, *_NEAR):
            records = await end.after(max(0, end.info.head - size)) if size else end.known
            for record in reversed(records):
                if (one := self._message(record)) is not None and mark in (None, one.said.mark):
                    return one
        return None

    async def ended(self, session: str, item: int, after: int) -> TurnClose | None:
        """Return how the turn of a message ended; None if it has not. Raises `NotFound`."""
        node: str | None = None
        async for record in self._records(session, after):
            if record.body.startswith(_RECEIVED):
                event = record.event
                if node is None and isinstance(event, ev.InputReceived) and event.input == item:
                    node = str((event.note or {}).get(NODE, ""))
            elif node is not None and record.body.startswith(_COMPLETED):
                return TurnClose(record.seq, record.event.at, node)
        return None

    async def waiting(self, session: str, talk: Talk) -> tuple[SessionInfo, int] | None:
        """Return the session and its newest model call, if calls wait for these results. Raises `Invalid` when they are
        another agent's or some are missing, and `NotFound`."""
        calls = {one.call.split("/", 2)[2] for one in talk.results}
        info, state = await self._sessions.state(session)
        if info.agent != talk.agent:
            raise Invalid(f"messages: these calls are of the agent {info.agent!r}, not of {talk.agent!r}")
        waiting = {one.call.id for one in state.calls if one.status == "awaiting"}
        handed = set(state.turn.part(ClientToolsTurn).called) if state.turn is not None else set[str]()
        waiting &= handed
        if not waiting & calls:
            return None
        if missing := waiting - calls:
            raise Invalid(f"messages: the results of {', '.join(sorted(missing))} are missing")
        return info, state.steps

    async def results_before(self, session: str, item: int, calls: set[str]) -> tuple[int, int]:
        """Return the position before the outcomes of calls, and the model call that asked for them. Raises `Invalid`
        when there are none."""
        after, step = await find_turn(self._sessions, session, item), 0
        while after is not None and (page := await self._sessions.history(session, after=after, limit=_PAGE)):
            for record in page:
                if not record.body.startswith(_STEP):
                    continue
                event = record.event
                if isinstance(event, ev.ModelCompleted):
                    step = event.step
                elif isinstance(event, ev.ToolCompleted) and event.call in calls:
                    return record.seq - 1, step
            after = page[-1].seq
        raise Invalid("messages: no call waits for these results")

    async def backward(self, end: LogEnd) -> AsyncIterator[Record]:
        """Yield the events of a log, the newest first. Raises `NotFound`."""
        few, many, _ = _NEAR
        known = end.known or await end.after(max(0, end.info.head - few))
        after = end.info.head - len(known)
        for record in reversed(known):
            yield record
        while (before := after) > 0:
            after = max(0, before - many)
            for record in reversed(await window(self._sessions, end.info.id, after, before)):
                yield record

    async def _records(self, session: str, after: int) -> AsyncIterator[Record]:
        while page := await self._sessions.history(session, after=after, limit=_PAGE):
            for record in page:
                yield record
            after = page[-1].seq

    def _message(self, record: Record) -> Message | None:
        if not record.body.startswith(_RECEIVED):
            return None
        event = record.event
        if not isinstance(event, ev.InputReceived) or (said := said_in(event, self._name)) is None:
            return None
        return Message(event.input, record.seq, said)


def offered(records: Iterable[Record]) -> ClientOfferInput | None:
    """Return what these events of a log last offered; None if nothing was."""
    offer = None
    for record in records:
        if record.body.startswith(_LEFT):
            offer = ClientOfferInput()
        elif record.body.startswith(_OFFERED) and isinstance(event := record.event, ClientOffered):
            offer = ClientOfferInput(event.tools, event.answer, event.choice)
    return offer
