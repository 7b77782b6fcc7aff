"""Agent mode: `model` names an agent. The conversation is a session, and each answer one turn of it. The agent's tools
run here, the client's where it is."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec
from starlette.types import Receive, Scope, Send

from roost.agent.definition import Agent
from roost.doors.anthropic.client_identity import Client
from roost.doors.anthropic.conversation import Entry, Result, Said, conversation
from roost.doors.anthropic.errors import error_of, refusal, request_id
from roost.doors.anthropic.message_events import PING, STOPS, Ending, MessageEvents, blocks_of, failure, message
from roost.doors.anthropic.message_request import MessageRequest
from roost.doors.conversations import Conversations
from roost.doors.digests import Exchange, call_id
from roost.doors.gateway import STREAM_HEADERS
from roost.doors.talk import Entered, Talk
from roost.doors.turn import Turn
from roost.doors.turn_reader import CallsWait, Piece, TurnEnd
from roost.doors.whole_reply import WholeReply
from roost.errors import Invalid
from roost.features.client_tools.events import ClientOfferInput, ClientResultInput, OfferedTool
from roost.log.content import AssistantPart, Text, Thinking, ToolCall, UserPart
from roost.server.app_state import Api
from roost.server.problems import Problem
from roost.server.request_body import header
from roost.server.responses import Header, Reply, json
from roost.server.stream import Stream

_CALL = "toolu_"
_REFUSED = {"refusal", "refused"}


def talk_of(agent: Agent, request: MessageRequest, client: Client, scope: Scope) -> Talk:
    """Return what the request says to the agent. Raises `Invalid`."""
    tools = request.specs()
    if both := [tool.name for tool in tools if tool.name in agent.tools]:
        raise Invalid(f"tools: the agent has tools of these names itself: {', '.join(both)}")
    before, last = dialogue(conversation(request.messages))
    chosen, mode = request.called(tools)
    offered = tuple(OfferedTool(tool.name, tool.description, tool.schema) for tool in tools if mode != "none")
    choice = tuple(tool.name for tool in chosen) if mode == "required" else ()
    return Talk(
        agent=agent.name,
        user=client.user,
        thread=client.thread,
        before=before,
        parts=() if last.results else last.parts,
        instructions=request.instructions,
        session=header(scope, b"roost-session"),
        key=header(scope, b"idempotency-key"),
        offer=ClientOfferInput(offered, request.answer_schema, choice),
        results=_results(last),
        repeated=(header(scope, b"x-stainless-retry-count") or "0") != "0",
    )


def interrupted(talk: Talk, request: MessageRequest) -> Talk | None:
    """Return the request as a new message to the session of its results, which have been accepted before: the client
    stopped listening to the turn, and the user said something else. None if there is nothing besides the results."""
    last = conversation(request.messages)[-1]
    if not (isinstance(last, Said) and last.results and last.parts):
        return None
    session = talk.session or talk.results[0].call.partition("/")[0]
    return msgspec.structs.replace(talk, results=(), parts=last.parts, session=session)


def dialogue(entries: Sequence[Entry]) -> tuple[list[Exchange], Said]:
    """Divide what was said into exchanges and the last entry, which is the user's. Earlier results of calls, and what
    the user said beside them, are no part of an exchange. Raises `Invalid`."""
    before: list[Exchange] = []
    parts: tuple[UserPart, ...] = ()
    for entry in entries[:-1]:
        if isinstance(entry, Said):
            parts = () if entry.results else entry.parts
            continue
        text = "".join(part.text for part in entry.parts if isinstance(part, Text))
        calls = tuple(_own_id(call.id) for call in entry.calls)
        if parts or not before:
            before.append(Exchange(parts, text, calls))
        else:
            last = before[-1]
            before[-1] = Exchange(last.parts, last.answer + "\n" + text, (*last.calls, *calls))
        parts = ()
    last = entries[-1] if entries else None
    if not isinstance(last, Said) or not (last.parts or last.results) or (last.results and not before):
        raise Invalid("messages: the last message must be the user's, and must not be empty; no answer is begun here")
    return before, last


def _results(said: Said) -> tuple[ClientResultInput, ...]:
    """Return the results of calls. What the user said beside them comes with the last one."""
    found = {result.call: result for result in said.results}
    if said.results and said.parts:
        last = said.results[-1]
        found[last.call] = Result(last.call, (*last.parts, *said.parts), last.error)
    return tuple(ClientResultInput(_own_id(one.call), one.parts, one.error) for one in found.values())


def client_id(call: str) -> str:
    """Return the id of a call in letters that the protocol allows."""
    return _CALL + base64.urlsafe_b64encode(call.encode()).decode().rstrip("=")


def _own_id(id: str) -> str:
    """Return what `client_id` was given; an id that it did not make stays as it is."""
    body = id.removeprefix(_CALL)
    try:
        own = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        return id
    return own if id.startswith(_CALL) and own.count("/") >= 2 else id


class MessageTurn(Turn):
    """A turn as a message."""

    def __init__(self, api: Api, conversations: Conversations, entered: Entered, model: str) -> None:
        super().__init__(api, conversations, entered, model)
        # Clients join messages of one id, so each part of a turn has its own; sent again, it has the same.
        part = f"-{len(entered.calls)}" if entered.calls else ""
        self.id = f"msg_{entered.session}-{entered.item}{part}"
        self.headers: list[Header] = [*self.headers, request_id()]

    def calls(self, end: TurnEnd | CallsWait) -> list[ToolCall]:
        """Return the calls that the client is to run. Their ids name the session, so that the results find it."""
        calls = end.calls if isinstance(end, CallsWait) else ()
        session, item = self.entered.session, self.entered.item
        return [ToolCall(client_id(call_id(session, item, one.call)), one.name, one.arguments) for one in calls]


def _ending(end: TurnEnd | CallsWait) -> Ending:
    if isinstance(end, CallsWait):
        return Ending("tool_use", end.usage)
    return Ending("max_tokens" if end.outcome == "limit" else STOPS.get(end.stop, "end_turn"), end.usage)


class TurnStream(Stream):
    """A turn as the events of a message: a block for the text, and one for the reasoning, of each model call."""

    def __init__(self, turn: MessageTurn) -> None:
        super().__init__(turn.api, turn.entered.session, turn.api.streams)
        self.headers = [*STREAM_HEADERS, *turn.headers]
        self._turn = turn
        self._events = MessageEvents(turn.id, turn.model)
        self._step = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._turn.entered.follower.close()

    async def pump(self, send: Send) -> Problem | None:
        turn, end = self._turn, None
        await self.give(send, self._events.first)
        async for batch in turn.read(deltas=True, separator=""):
            chunks = [self._said(one) for one in batch if isinstance(one, Piece)]
            if batch and not isinstance(batch[-1], Piece):
                end = batch[-1]
                problem = turn.problem(end)
                if isinstance(end, TurnEnd | CallsWait) and problem is None:
                    chunks += [self._events.call(call) for call in turn.calls(end)]
                    chunks.append(self._events.end(_ending(end)))
                elif problem is not None and problem.code in _REFUSED:
                    chunks.append(self._events.end(Ending("refusal", refused=problem.detail)))
                    await self.give(send, b"".join(chunks))
                    return None
            await self.give(send, b"".join(chunks) or PING)
        turn.delivered()
        return turn.problem(end)

    def _said(self, piece: Piece) -> bytes:
        before = self._events.close() if piece.step != self._step else b""
        self._step = piece.step
        say = self._events.text if piece.kind == "text" else self._events.thinking
        return before + say(piece.text)

    def last(self, problem: Problem | None) -> bytes:
        return b"" if problem is None else failure(error_of(problem))


def whole_turn(turn: MessageTurn) -> WholeReply:
    """Return a turn as one response, sent when it has ended."""

    def reply(end: TurnEnd | CallsWait) -> Reply:
        thought = [Thinking(end.thinking)] if end.thinking else []
        said = [Text(end.answer)] if end.answer else []
        parts: list[AssistantPart] = [*thought, *said, *turn.calls(end)]
        return json(200, message(turn.id, turn.model, blocks_of(parts), _ending(end)), headers=turn.headers)

    def refused(problem: Problem, headers: list[Header]) -> Reply:
        if problem.code not in _REFUSED:
            return refusal(problem, turn.headers[:1])
        end = Ending("refusal", refused=problem.detail)
        return json(200, message(turn.id, turn.model, [], end), headers=headers)

    return turn.whole(reply, refused)
