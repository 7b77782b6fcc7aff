"""What clients send to a session: messages, results of functions, answers to questions, cancellations."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import msgspec

from roost.doors.media import image_part
from roost.doors.openai_agents.context import Context, digest
from roost.doors.openai_agents.log_reader import turn_id
from roost.doors.openai_agents.session_view import Now, Question, now, question_of
from roost.errors import Conflict, Invalid, NotFound
from roost.features.client_tools.events import ClientResultInput
from roost.features.client_tools.state import ClientToolsTurn
from roost.kernel.turn_watch import window
from roost.log import events as ev
from roost.log.content import Image, ResultPart, Text, UserPart
from roost.log.inputs import MessageInput

_MESSAGES, _EVENTS = 100, 100
_LOOKED, _AGAIN = 500, 60.0
"""Events at the end of a log, and seconds, that are searched for a message that is sent again without a key."""
_PREFIX = "agent.session.input."
_RECEIVED = ev.beginning_of(ev.InputReceived)


class Message(msgspec.Struct, frozen=True):
    """Messages of the user, sent together. sizes: parts of each."""

    parts: tuple[UserPart, ...]
    sizes: tuple[int, ...]

    @property
    def note(self) -> dict[str, Any]:
        return {"messages": list(self.sizes), "digest": self.digest}

    @property
    def digest(self) -> str:
        return digest(msgspec.json.encode(self.parts).decode())


def message_of(given: Any, where: str) -> Message | None:
    """Return the messages of a request; None for none. Raises `Invalid`."""
    if given is None:
        return None
    if isinstance(given, str):
        if not given.strip():
            raise Invalid(f"{where}: the message is empty")
        return Message((Text(given),), (1,))
    if not isinstance(given, list) or not 1 <= len(cast("list[Any]", given)) <= _MESSAGES:
        raise Invalid(f"{where}: a text, or a list of 1 to {_MESSAGES} messages")
    messages = [_message(one, f"{where}[{at}]") for at, one in enumerate(cast("list[Any]", given))]
    return Message(tuple(part for one in messages for part in one), tuple(len(one) for one in messages))


def _message(given: Any, where: str) -> list[Text | Image]:
    one: dict[str, Any] = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    if one.get("role") != "user" or one.get("type", "message") != "message":
        raise Invalid(f"{where}: a message has the role user")
    content: Any = one.get("content")
    if isinstance(content, str):
        content = [{"type": "input_text", "text": content}]
    parts = contents(content, f"{where}.content")
    if not parts:
        raise Invalid(f"{where}.content: the message is empty")
    return parts


def contents(given: Any, where: str) -> list[Text | Image]:
    """Return texts and images of a request. Raises `Invalid`."""
    if not isinstance(given, list):
        raise Invalid(f"{where}: a list of parts")
    found: list[Text | Image] = []
    for at, part in enumerate(cast("list[Any]", given)):
        one: dict[str, Any] = cast("dict[str, Any]", part) if isinstance(part, dict) else {}
        text, url = one.get("text"), one.get("image_url")
        if one.get("type") == "input_text" and isinstance(text, str):
            found.append(Text(text))
        elif one.get("type") == "input_image" and isinstance(url, str):
            found.append(image_part(url, f"{where}[{at}].image_url"))
        else:
            raise Invalid(f"{where}[{at}]: a part is an input_text with text, or an input_image with image_url")
    return found


class _Noted(NamedTuple):
    """What a message notes of its request. node: that took it. at: wall time."""

    digest: str
    node: str
    at: float


class SessionInputs:
    """Puts inputs into a session's inbox, each once."""

    def __init__(self, context: Context) -> None:
        self._context, self._sessions = context, context.sessions

    async def submit(self, session: str, given: Sequence[Any], key: str | None, *, repeated: bool) -> list[str]:
        """Accept events, all of them checked before the first is. Return what `Context.answered` calls the messages. Of
        a repeated request without a key, messages that were taken are not sent again, and cancellations before them
        mean a turn that is over. Raises `Invalid`, `Conflict`, `Busy`."""
        if not 1 <= len(given) <= _EVENTS:
            raise Invalid(f"events: a list of 1 to {_EVENTS}")
        events = [_read(one, f"events[{at}]") for at, one in enumerate(given)]
        taken = await self._taken(session, events) if key is None and repeated else {}
        sent = list(taken.values())
        for at, event in enumerate(events):
            own = None if key is None else f"{self._context.name}:{digest(key)}:{at}"
            match event:
                case Message():
                    sent += [] if at in taken else [await self.say(session, event, own)]
                case _Cancel() if at < max(taken, default=-1):
                    pass
                case _Result():
                    await self._result(session, event, own)
                case _Answer():
                    await self._answer(session, event, own)
                case _:
                    await self._sessions.control(session, "cancel", key=own)
        return sent

    async def say(self, session: str, message: Message, key: str | None) -> str:
        """Send messages."""
        name = self._context.name
        note = message.note if key is not None else {**message.note, "node": self._context.node}
        accepted = await self._sessions.send(session, message.parts, key=key, source=name, note=note)
        return _sent(session, accepted.id)

    async def _taken(self, session: str, events: Sequence[_Event]) -> dict[int, str]:
        """Return which of a request's messages were taken a moment ago by one whose answer may be lost, with what was
        sent for each."""
        messages = [(at, one.digest) for at, one in enumerate(events) if isinstance(one, Message)]
        wanted = Counter(digest for _, digest in messages)
        found: dict[str, list[str]] = {one: [] for one in wanted}
        for input, one in reversed(await self._lately_said(session)):
            waits = len(found.get(one.digest, ())) < wanted[one.digest]
            if waits and await self._context.may_be_lost(_sent(session, input), one.node, one.at):
                found[one.digest].insert(0, _sent(session, input))
        return {at: found[one].pop(0) for at, one in messages if found[one]}

    async def _lately_said(self, session: str) -> list[tuple[int, _Noted]]:
        """Return the messages of a moment ago, each with its input."""
        pending = await self._context.runtime.node.tenants.inboxes.pending(session)
        since, head = time.time() - _AGAIN, (await self._sessions.get(session)).head
        said: dict[int, _Noted] = {}
        for record in await window(self._sessions, session, max(0, head - _LOOKED), head):
            event = record.event if record.body.startswith(_RECEIVED) else None
            if isinstance(event, ev.InputReceived) and event.note and event.at > since:
                said[event.input] = _noted(event.note, event.at)
        for item in pending:  # read before the log, which has what left it
            if isinstance(item.input, MessageInput) and item.input.note and item.accepted_at > since:
                said[item.id] = _noted(item.input.note, item.accepted_at)
        return sorted(said.items())

    async def _result(self, session: str, result: _Result, key: str | None) -> None:
        waits = _waits(session, await now(self._context, session), result)
        unknown = Invalid(f"Unknown pending tool call: {result.call}", code="invalid_request_error")
        if not waits and key is None:
            raise unknown
        given = ClientResultInput(result.call, result.parts, result.error)
        accepted = await self._sessions.put(session, given, key=key)  # dropped when nothing waits for it
        if not waits and not accepted.duplicate:
            raise unknown

    async def _answer(self, session: str, answer: _Answer, key: str | None) -> None:
        found = question_of(answer.request)
        unknown = Invalid(f"Unknown pending approval request: {answer.request[:200]}", code="invalid_request_error")
        if found is None or not await self._asks(session, found):
            raise unknown
        call, asked, subagent = found
        session = subagent or session
        source = self._context.name if key is None else key
        decision = "approve" if answer.decision == "approve" else "reject"
        note = "the request was dismissed" if answer.decision == "cancel" else None
        try:
            await self._context.runtime.approvals.answer(session, call, decision, asked=asked, source=source, note=note)
        except Conflict as error:
            if error.code != "not_waiting":
                raise
            if key is None or not await self._answered(session, call, asked, source):
                raise unknown from None

    async def _asks(self, session: str, question: Question) -> bool:
        """Whether a question is of this session, or of a subagent of it at any depth."""
        below = question.subagent
        try:
            while below is not None and below != session:
                below = (await self._sessions.get(below)).parent
        except NotFound:
            return False
        return question.subagent is None or below == session

    async def _answered(self, session: str, call: str, asked: int, source: str) -> bool:
        """Whether a question has this source's answer, in the log or in the inbox."""
        head = (await self._sessions.get(session)).head
        for record in await window(self._sessions, session, asked, min(head, asked + _LOOKED)):
            event = record.event
            if isinstance(event, ev.ApprovalResolved) and event.call == call:
                return event.source == source
        pending = await self._context.runtime.node.tenants.inboxes.pending(session)
        return any(getattr(item.input, "source", None) == source for item in pending)


class _Result(msgspec.Struct, frozen=True):
    call: str
    turn: str
    parts: tuple[ResultPart, ...]
    error: bool


class _Answer(msgspec.Struct, frozen=True):
    request: str
    decision: str


class _Cancel(msgspec.Struct, frozen=True):
    pass


_Event: TypeAlias = Message | _Result | _Answer | _Cancel


def _noted(note: Mapping[str, Any], at: float) -> _Noted:
    return _Noted(str(note.get("digest")), str(note.get("node", "")), at)


def _sent(session: str, input: int) -> str:
    return f"{session}/{input}"


def _waits(session: str, now: Now, result: _Result) -> bool:
    turn, call = now.state.turn, now.state.call(result.call)
    if turn is None or call is None or result.turn != turn_id(session, turn.number):
        return False
    return call.status == "awaiting" and result.call in turn.part(ClientToolsTurn).called


def _read(given: Any, where: str) -> _Event:
    one: dict[str, Any] = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    match str(one.get("type", "")).removeprefix(_PREFIX):
        case "message":
            found = message_of(one.get("input"), f"{where}.input")
            if found is None:
                raise Invalid(f"{where}.input: the message is empty")
            return found
        case "cancel":
            return _Cancel()
        case "tool_result":
            return _result(one, where)
        case "mcp_approval_request_result":
            response: Any = one.get("response")
            decision: Any = cast("dict[str, Any]", response).get("decision") if isinstance(response, dict) else None
            request = one.get("request_id")
            if decision not in ("approve", "deny", "cancel") or not isinstance(request, str):
                raise Invalid(f"{where}: a request_id, and a response whose decision is approve, deny or cancel")
            return _Answer(request, decision)
        case "computer_use_approval_request_result":
            raise Invalid(f"{where}: no browser is here, so none asks", code="unsupported")
        case kind:
            raise Invalid(f"{where}.type: {kind[:100]!r} is no kind of input")


def _result(one: dict[str, Any], where: str) -> _Result:
    call, turn, success = one.get("call_id"), one.get("turn_id"), one.get("success")
    if not isinstance(call, str) or not isinstance(turn, str) or not isinstance(success, bool):
        raise Invalid(f"{where}: a result has a call_id, a turn_id, and success, true or false")
    if not success:
        error = one.get("error")
        return _Result(call, turn, (Text(error if isinstance(error, str) else "the function failed"),), True)
    output = one.get("output")
    if isinstance(output, str | None):
        return _Result(call, turn, (Text(output or ""),), False)
    return _Result(call, turn, tuple(contents(output, f"{where}.output")), False)
