"""End a stream with the turn of one accepted input."""

from __future__ import annotations

from roost.kernel.sessions import Sessions
from roost.kernel.turn_watch import TurnWatch
from roost.log.frames import Frame
from roost.server.problems import Problem, session_halted


class TurnStream:
    """Ends the stream after the turn, or when the session halts before."""

    def __init__(self, sessions: Sessions, session: str, item: int) -> None:
        self._session = session
        self._watch = TurnWatch(sessions, session, item)

    async def cut(self, batch: list[Frame]) -> tuple[list[Frame], bool, Problem | None]:
        for place, frame in enumerate(batch):
            end = await self._watch.see(frame.body)
            if end is not None:
                problem = None if end == "completed" else session_halted(self._session, end.state, end.reason)
                return batch[: place + 1], True, problem
        return batch, False, None
