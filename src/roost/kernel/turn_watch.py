"""Find the part of a session's log that belongs to one accepted input."""

from __future__ import annotations

from typing import Literal, NamedTuple

from roost.errors import NotFound
from roost.kernel.sessions import Sessions
from roost.log import events as ev
from roost.log.protocols import Record
from roost.log.session_info import SessionState

_FEW, _PAGE = 50, 500
_RECEIVED = b'{"type":"input.received"'
_STARTED = b'{"type":"turn.started"'
_COMPLETED = b'{"type":"turn.completed"'
_FORKED = b'{"type":"session.forked"'
_STATE = b'{"type":"session.state"'
_HALTED = ("stopped", "error")


class Halted(NamedTuple):
    """The session was stopped, or failed, before the turn's end."""

    state: SessionState
    reason: str | None


class TurnWatch:
    """Find the end of the turn that takes `item` in: the first `turn.completed` after its `input.received`, whether the
    input began the turn or was delivered into it. The caller calls `see` for each event, and `look` after a silence.
    received: `input.received` came before the first event that it is shown."""

    def __init__(self, sessions: Sessions, session: str, item: int, *, received: bool = False) -> None:
        self._sessions = sessions
        self._session = session
        self._item = item
        self._received = received
        self.taken: ev.InputReceived | None = None
        """The event that took the item in, once `see` was given it."""

    async def see(self, body: bytes) -> Literal["completed"] | Halted | None:
        """Check whether the log's next event ends the turn, or the session with it. Decodes only the few events that
        may."""
        if body.startswith(_RECEIVED):
            if not self._received and (taken := _taken(body, self._item)) is not None:
                self._received, self.taken = True, taken
        elif body.startswith(_COMPLETED):
            return "completed" if self._received else None
        elif body.startswith(_STATE) and isinstance(event := ev.decode_event(body), ev.StateChanged):
            halted = await self.look() if event.state in _HALTED else None  # the event may be an old one
            return halted and Halted(halted.state, event.reason if event.state == halted.state else None)
        return None

    async def look(self) -> Halted | None:
        """Check the session itself, after a silence: one with damaged rows is set aside without an event."""
        try:
            state = (await self._sessions.get(self._session)).state
        except NotFound:  # the end of its log tells the caller
            return None
        return Halted(state, None) if state in _HALTED else None


async def find_turn(sessions: Sessions, session: str, item: int) -> int | None:
    """Return the position before the turn that took `item` in; None when no turn has. Reads backward: a repeated
    request comes soon."""
    before = (await sessions.get(session)).head
    start: int | None = None
    size = _FEW
    while before > 0:
        after = max(0, before - size)
        size = _PAGE
        for record in reversed(await window(sessions, session, after, before)):
            if record.body.startswith(_FORKED):  # earlier inputs are another session's
                return start
            if start is None:
                if record.body.startswith(_RECEIVED) and _taken(record.body, item) is not None:
                    start = record.seq - 1
                continue
            if record.body.startswith(_COMPLETED):
                return start
            if record.body.startswith(_STARTED):  # it was delivered into this turn, whose input stands one before
                return max(0, record.seq - 2)
        before = after
    return start


async def begun_by(sessions: Sessions, session: str, item: int) -> int:
    """Return the input that began the turn which took `item` in: a steering message comes into the turn of another. An
    input that no turn has taken yet begins its own."""
    begun = await find_turn(sessions, session, item)
    for record in [] if begun is None else await sessions.history(session, after=begun, limit=_FEW):
        if record.body.startswith(_STARTED) and isinstance(event := record.event, ev.TurnStarted):
            return event.input
    return item


async def window(sessions: Sessions, session: str, after: int, before: int) -> list[Record]:
    """Return the records after one position, up to and including another."""
    found: list[Record] = []
    while after < before and (page := await sessions.history(session, after=after, limit=before - after)):
        found.extend(page)
        after = page[-1].seq
    return found


def _taken(body: bytes, item: int) -> ev.InputReceived | None:
    """Return the event if it took the item in."""
    event = ev.decode_event(body)
    return event if isinstance(event, ev.InputReceived) and event.input == item else None
