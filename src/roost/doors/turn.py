"""The turn of one accepted message, to be sent to its client. A client that goes away stops nothing."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import cast

from roost.doors.conversations import Conversations
from roost.doors.failures import of_turn
from roost.doors.talk import Entered
from roost.doors.turn_reader import CallsWait, Piece, Read, TurnEnd, TurnReader
from roost.doors.whole_reply import WholeReply
from roost.kernel.turn_watch import Halted
from roost.log.frames import Frame
from roost.server.app_state import Api
from roost.server.problems import Problem, session_gone, session_halted, shutting_down
from roost.server.responses import Header, Reply
from roost.server.stream import PING_SECONDS


class Turn:
    """The turn of one accepted message. model: the name by which the client asked."""

    def __init__(self, api: Api, conversations: Conversations, entered: Entered, model: str) -> None:
        self.api, self.entered, self.model = api, entered, model
        self._conversations = conversations
        self.headers: list[Header] = [(b"roost-session", entered.session.encode())]

    async def read(self, *, deltas: bool, separator: str = "\n\n") -> AsyncIterator[list[Read]]:
        """Yield what the turn says, until its end. An empty batch is a sign of life. separator: what stands between the
        texts of several model calls. Raises `RoostError`."""
        sessions, entered = self.api.sessions, self.entered
        resumed = entered.said is not None
        reader = TurnReader(
            sessions, entered.session, entered.item, resumed=resumed, separator=separator, tail=entered.tail
        )
        stream = sessions.stream(entered.session, after=entered.follower, deltas=deltas, idle=PING_SECONDS)
        async with contextlib.aclosing(cast("AsyncGenerator[list[Frame], None]", stream)) as batches:
            async for frames in batches:
                found = await reader.read(frames)
                yield found
                if found and not isinstance(last := found[-1], Piece):
                    if isinstance(last, TurnEnd):
                        failed = last.outcome == "failed"
                        self._conversations.ended(entered, last.answer, last.end, failed=failed)
                    return

    def problem(self, end: TurnEnd | CallsWait | Halted | None) -> Problem | None:
        """Return why there is no answer. None for `end`: the log ended."""
        if end is None:
            return shutting_down() if self.api.stopping else session_gone(self.entered.session)
        if isinstance(end, Halted):
            return session_halted(self.entered.session, end.state, end.reason)
        if isinstance(end, CallsWait):
            return None
        said = end.outcome == "answered" or (end.outcome == "limit" and end.answer)
        return None if said else of_turn(end.outcome, end.reason)

    def delivered(self) -> None:
        """Note that the client has got the whole answer."""
        self._conversations.delivered(self.entered)

    def whole(
        self, reply: Callable[[TurnEnd | CallsWait], Reply], refusal: Callable[[Problem, list[Header]], Reply]
    ) -> WholeReply:
        """Return the turn as one response, sent when it has ended."""

        def done(sent: bool) -> None:
            self.entered.follower.close()
            if sent:
                self.delivered()

        async def work() -> Reply:
            end = None
            async for batch in self.read(deltas=False):
                if batch and not isinstance(batch[-1], Piece):
                    end = batch[-1]
            if (problem := self.problem(end)) is not None or not isinstance(end, TurnEnd | CallsWait):
                return refusal(problem or shutting_down(), self.headers)
            return reply(end)

        return WholeReply(self.api, work, lambda problem: refusal(problem, self.headers), done)
