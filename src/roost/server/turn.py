"""Which part of a session's log belongs to one accepted input."""

from __future__ import annotations

from roost.kernel.sessions import Sessions
from roost.kernel.stream import Frame
from roost.log import events as ev
from roost.log.journal import Record
from roost.server.problems import Problem, session_halted

_PAGE = 500
_RECEIVED = b'{"type":"input.received"'
_STARTED = b'{"type":"turn.started"'
_COMPLETED = b'{"type":"turn.completed"'
_STATE = b'{"type":"session.state"'


class TurnWatch:
    """Ends a stream with the turn that took the input in: the first `turn.completed` after its `input.received`,
    whether the input began the turn or was delivered into it. Also when the session halts before."""

    def __init__(self, sessions: Sessions, session: str, item: int) -> None:
        self._sessions = sessions
        self._session = session
        self._item = item
        self._received = False

    async def cut(self, batch: list[Frame]) -> tuple[list[Frame], bool, Problem | None]:
        for place, (_, body) in enumerate(batch):
            if body.startswith(_RECEIVED):
                self._received = self._received or _takes(body, self._item)
            elif body.startswith(_COMPLETED) and self._received:
                return batch[: place + 1], True, None
            elif body.startswith(_STATE) and (problem := await self._halted()) is not None:
                return batch[: place + 1], True, problem
        return batch, False, None

    async def _halted(self) -> Problem | None:
        """By what the session is now: the event may be an old one."""
        info = await self._sessions.get(self._session)
        if info.state not in ("stopped", "error"):
            return None
        view = await self._sessions.inspect(self._session)
        return session_halted(self._session, info.state, view.reason)


async def find_turn(sessions: Sessions, session: str, item: int) -> int | None:
    """The position before the turn that took `item` in; None when nothing has taken it yet. Reads backward: who asks
    again does so soon."""
    before = (await sessions.get(session)).head
    start: int | None = None
    while before > 0:
        after = max(0, before - _PAGE)
        for record in reversed(await _window(sessions, session, after, before)):
            if start is None:
                if record.body.startswith(_RECEIVED) and _takes(record.body, item):
                    start = record.seq - 1
                continue
            if record.body.startswith(_COMPLETED):
                return start
            if record.body.startswith(_STARTED):  # it was delivered into this turn, whose input stands one before
                return max(0, record.seq - 2)
        before = after
    return start


async def _window(sessions: Sessions, session: str, after: int, before: int) -> list[Record]:
    """The records after one position, up to and with another."""
    found: list[Record] = []
    while after < before and (page := await sessions.history(session, after=after, limit=before - after)):
        found.extend(page)
        after = page[-1].seq
    return found


def _takes(body: bytes, item: int) -> bool:
    event = ev.decode_event(body)
    return isinstance(event, ev.InputReceived) and event.input == item
