"""Read from sessions' logs what a door has said in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from roost.doors.digests import ConversationReader, Ended, Said, said_in
from roost.doors.talk import Talk
from roost.errors import Invalid, NotFound
from roost.features.client_tools.events import ClientOffered, ClientOfferInput
from roost.features.client_tools.state import ClientToolsTurn
from roost.kernel.sessions import Sessions
from roost.kernel.turn_watch import find_turn, window
from roost.log import events as ev
from roost.log.protocols import Record

_FEW, _PAGE = 50, 1000
_RECEIVED = b'{"type":"input.received"'
_LEFT = (b'{"type":"session.forked"', b'{"type":"session.imported"')
_OFFERED = b'{"type":"client.offered"'
_BACK = b'{"type":"session.rolled_back"'
_COMPLETED = b'{"type":"turn.completed"'
_NEAR = 50
_STEP = (b'{"type":"tool.completed"', b'{"type":"model.completed"')


class Message(NamedTuple):
    """A message that came through a door: its inbox item, and the position of its event."""

    item: int
    seq: int
    said: Said


class TurnClose(NamedTuple):
    """The end of a turn. at: wall time, seconds."""

    seq: int
    at: float


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

    async def newest(self, session: str, mark: str | None = None) -> Message | None:
        """Return the newest message of the door, or the newest with this mark, if it is among the last events. Raises
        `NotFound`."""
        end = head = (await self._sessions.get(session)).head
        for size in (_FEW, _PAGE):
            start = max(0, head - size)
            page = await self._sessions.history(session, after=start, limit=max(1, end - start))
            found = (one for record in reversed(page) if (one := self._message(record)) is not None)
            if (one := next((one for one in found if mark in (None, one.said.mark)), None)) is not None:
                return one
            end = start
        return None

    async def offered(self, session: str, after: int) -> tuple[int, ClientOfferInput | None]:
        """Return the end of the log, and what was last offered behind a position; None if nothing was. Raises
        `NotFound`."""
        head, offer = after, None
        async for record in self._records(session, after):
            head = record.seq
            if record.body.startswith(_LEFT):
                offer = ClientOfferInput()
            elif record.body.startswith(_OFFERED) and isinstance(event := record.event, ClientOffered):
                offer = ClientOfferInput(event.tools, event.answer, event.choice)
        return head, offer

    async def ended(self, session: str, item: int, after: int) -> TurnClose | None:
        """Return how the turn of a message ended; None if it has not. Raises `NotFound`."""
        received = False
        async for record in self._records(session, after):
            if record.body.startswith(_RECEIVED):
                event = record.event
                received = received or (isinstance(event, ev.InputReceived) and event.input == item)
            elif received and record.body.startswith(_COMPLETED):
                return TurnClose(record.seq, record.event.at)
        return None

    async def waiting(self, session: str, talk: Talk) -> tuple[int, int] | None:
        """Return the head of the session and its newest model call, if calls wait for these results. Raises `Invalid`
        when they are another agent's or some are missing, and `NotFound`."""
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
        return info.head, state.steps

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

    async def backward(self, session: str, before: int) -> AsyncIterator[Record]:
        """Yield the events up to a position, the newest first. Raises `NotFound`."""
        while before > 0:
            after = max(0, before - _NEAR)
            for record in reversed(await window(self._sessions, session, after, before)):
                yield record
            before = after

    async def _records(self, session: str, after: int) -> AsyncIterator[Record]:
        while page := await self._sessions.history(session, after=after, limit=_PAGE):
            for record in page:
                yield record
            after = page[-1].seq

    def _message(self, record: Record) -> Message | None:
        if not record.body.startswith(_RECEIVED):
            return None
        event = record.event
        said = said_in(event, self._name) if isinstance(event, ev.InputReceived) else None
        return (
            None if said is None or not isinstance(event, ev.InputReceived) else Message(event.input, record.seq, said)
        )
