"""End a stream with the turn of one accepted input."""

from __future__ import annotations

from roost.kernel.sessions import Sessions
from roost.kernel.turn_watch import Halted, TurnWatch
from roost.log.frames import Frame
from roost.server.problems import Problem, session_halted


class TurnStream:
    """Ends the stream after the turn, or when the session halts before."""

    def __init__(self, sessions: Sessions, session: str, item: int) -> None:
        self._session = session
        self._watch = TurnWatch(sessions, session, item)

    async def cut(self, batch: list[Frame]) -> tuple[list[Frame], bool, Problem | None]:
        for place, frame in enumerate(batch):
            if end := await self._watch.see(frame.body):
                return batch[: place + 1], True, None if end == "completed" else self._halted(end)
        halted = None if batch else await self._watch.look()
        return batch, halted is not None, None if halted is None else self._halted(halted)

    def _halted(self, end: Halted) -> Problem:
        return session_halted(self._session, end.state, end.reason)
