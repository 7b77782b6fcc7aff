"""Responses in agent mode: `model` names an agent, and a response is a turn of a session, or the part of one up to
calls of the client's tools. The agent's tools run here. A client that goes away stops nothing."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from roost.doors.conversations import Conversations
from roost.doors.gateway import STREAM_HEADERS
from roost.doors.openai.agent_mode import PING
from roost.doors.openai.errors import refusal
from roost.doors.openai.response_log import Place, write
from roost.doors.openai.response_writer import End, ResponseWriter
from roost.doors.talk import Entered
from roost.doors.turn import Turn
from roost.doors.turn_reader import Piece
from roost.doors.whole_reply import WholeReply
from roost.server.app_state import Api
from roost.server.problems import Problem, shutting_down
from roost.server.responses import Reply, ReplyCall, json
from roost.server.stream import Stream


def place_in(entered: Entered) -> Place:
    return Place(entered.session, entered.item, entered.step)


class ResponseStream(Stream):
    """A response as a stream of events."""

    def __init__(self, turn: Turn, writer: ResponseWriter) -> None:
        super().__init__(turn.api, turn.entered.session, turn.api.streams)
        self.headers = [*STREAM_HEADERS, *turn.headers]
        self._turn, self._writer = turn, writer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._turn.entered.follower.close()

    async def pump(self, send: Send) -> Problem | None:
        turn, writer, end = self._turn, self._writer, None
        place = place_in(turn.entered)
        writer.begin()
        await self.give(send, writer.take() or PING)
        async for batch in turn.read(deltas=True, separator=""):
            end = write(writer, place, batch)
            await self.give(send, writer.take() or PING)
        if end is None:
            return turn.problem(None)
        turn.delivered()
        return None

    def last(self, problem: Problem | None) -> bytes:
        return b"" if problem is None else self._writer.error(problem)


def whole_response(turn: Turn, writer: ResponseWriter) -> WholeReply:
    """Return a response as one document, sent when it has ended."""

    def done(sent: bool) -> None:
        turn.entered.follower.close()
        if sent:
            turn.delivered()

    async def work() -> Reply:
        last, end = None, None
        async for batch in turn.read(deltas=False, separator=""):
            end = write(writer, place_in(turn.entered), batch)
            if batch and not isinstance(batch[-1], Piece):
                last = batch[-1]
        if (problem := turn.problem(last)) is not None or end is None:
            return refusal(problem or shutting_down(), turn.headers)
        return json(200, writer.state(end), headers=turn.headers)

    return WholeReply(turn.api, work, lambda problem: refusal(problem, turn.headers), done)


def begun_response(turn: Turn, writer: ResponseWriter) -> ReplyCall:
    """Return a response that goes on in the background."""
    turn.entered.follower.close()
    return json(200, writer.state(End("queued")), headers=turn.headers)


def turn_at(api: Api, conversations: Conversations, place: Place, model: str, after: int) -> Turn:
    """Return the turn of a response in the log, to be read from a position on."""
    follower = api.sessions.listen(place.session)
    follower.after, follower.behind = after, True
    said = "" if place.step else None
    return Turn(api, conversations, Entered(place.session, place.item, follower, None, said, step=place.step), model)
