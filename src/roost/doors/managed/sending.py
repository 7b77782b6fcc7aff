"""Take the events that a client sends into a session."""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta

from roost.doors.managed.agent_tools import tool_names
from roost.doors.managed.content import BlockGiven, FileOf, RequestFiles, TextGiven, blocks, instruction, parts_of
from roost.doors.managed.event_reader import SYSTEM, CallPlace, EventIds, Shown, confirmation_id, said_by_client
from roost.doors.managed.outcomes import OUTCOME, DefineOutcome, defined, goal_of, note_of, outcome_id
from roost.doors.managed.requests import BODY_BYTES, Asking, stamp
from roost.doors.requested import Answered
from roost.errors import Conflict, Invalid, NotFound
from roost.features.client_tools.events import ClientResultInput
from roost.features.delegation.events import ChildWaits
from roost.kernel.turn_watch import window
from roost.log import events as ev
from roost.log.content import ToolCall
from roost.log.inputs import ControlInput, MessageInput
from roost.server.app_state import Api

_AGAIN_SECONDS, _LOOKED = 60.0, 1000
_NOTE = "managed"
_WAITS = b'{"type":"child.waits"'
_INPUTS = (b'{"type":"input.received"', b'{"type":"control.applied"')


class UserMessage(Asking, tag_field="type", tag="user.message"):
    content: Annotated[list[BlockGiven], Meta(min_length=1)]


class UserInterrupt(Asking, tag_field="type", tag="user.interrupt"):
    session_thread_id: str | None = None


class ToolConfirmation(Asking, tag_field="type", tag="user.tool_confirmation"):
    tool_use_id: str
    result: Literal["allow", "deny"]
    deny_message: str | None = None


class CustomToolResult(Asking, tag_field="type", tag="user.custom_tool_result"):
    custom_tool_use_id: str
    content: list[BlockGiven] = []
    is_error: bool | None = None


class UserToolResult(Asking, tag_field="type", tag="user.tool_result"):
    tool_use_id: str
    content: list[Any] = []
    is_error: bool | None = None


class SystemMessage(Asking, tag_field="type", tag="system.message"):
    content: Annotated[list[TextGiven], Meta(min_length=1)]


EventGiven: TypeAlias = (
    UserMessage | UserInterrupt | ToolConfirmation | CustomToolResult | UserToolResult | DefineOutcome | SystemMessage
)


class EventsGiven(Asking):
    events: Annotated[list[EventGiven], Meta(min_length=1, max_length=100)]


def digest_of(*given: object) -> str:
    return hashlib.sha256(msgspec.json.encode(given)).hexdigest()[:40]


class SendOrder(NamedTuple):
    """What sends events. digest: of the request. again: the request may be a repetition. first: they are the first
    events of a session, which count once."""

    digest: str
    again: bool = False
    first: bool = False


class Sent(NamedTuple):
    """The events that a request has sent. since: where the answer to those begins that an earlier attempt of the
    request had sent; None if there is none in the log."""

    events: list[Shown]
    since: int | None


class _Request:
    """A request. file: reads the files that it names. messages: the inputs of its messages that were taken before, by
    their places in it. outcomes: the ids of those that some of them describe. since: the position before the first of
    them. interrupts: all recent ones of the session."""

    def __init__(self, file: FileOf) -> None:
        self.file = RequestFiles(file, BODY_BYTES)
        self.messages: dict[int, int] = {}
        self.outcomes: dict[int, str] = {}
        self.interrupts: list[int] = []
        self.since: int | None = None

    def interrupt(self, at: int) -> int | None:
        """Return the input of an interrupt that stands before a message which was taken: then it was taken, too, and
        another one would end the turn of that message."""
        after = min((number for place, number in self.messages.items() if place > at), default=None)
        if after is None:
            return None
        return max((number for number in self.interrupts if number < after), default=after - 1)


class Sending:
    """Puts events into the inbox of a session, in their order. file: reads an uploaded file."""

    def __init__(self, api: Api, file: FileOf, answered: Answered) -> None:
        self._api, self._sessions, self._file, self.answered = api, api.sessions, file, answered

    async def check(self, events: Sequence[EventGiven]) -> None:
        """Refuse events that no session takes, before one of them is taken. Raises `Invalid`."""
        for at, one in enumerate(events):
            match one:
                case SystemMessage() if at != len(events) - 1 or not isinstance(events[at - 1], UserMessage) or not at:
                    raise Invalid(f"events[{at}]: a system.message is the last event, right behind a user.message")
                case UserToolResult():
                    raise Invalid(
                        f"events[{at}]: Roost runs the tools of the toolset itself; results of custom tools are sent as"
                        " user.custom_tool_result"
                    )
                case UserInterrupt(session_thread_id=str()):
                    raise Invalid(f"events[{at}].session_thread_id: interrupt the session; its threads end with it")
                case ToolConfirmation(result="allow", deny_message=str()):
                    raise Invalid(f"events[{at}].deny_message: it belongs to the result 'deny'")
                case _:
                    pass

    async def send(self, session: str, events: Sequence[EventGiven], order: SendOrder) -> Sent:
        """Take events in. Raises `RoostError`; events before the one that is refused are taken."""
        request = _Request(self._file)
        if order.again:
            await self._before(session, order.digest, request)
        shown: list[Shown] = []
        for at, one in enumerate(events):
            match one:
                case UserMessage():
                    beside = events[at + 1] if at + 1 < len(events) else None
                    told = beside if isinstance(beside, SystemMessage) else None
                    shown += await self._message(session, one, told, order, at, request)
                case SystemMessage():  # a part of the message before it
                    pass
                case DefineOutcome():
                    shown.append(await self._define(session, one, order, at, request))
                case _:
                    shown.append(await self._take(session, one, order, at, request))
        return Sent(shown, request.since)

    async def _take(self, session: str, given: EventGiven, order: SendOrder, at: int, request: _Request) -> Shown:
        match given:
            case UserInterrupt():
                number = request.interrupt(at)
                if number is None:
                    number = (await self._sessions.put(session, ControlInput("cancel"))).id
                return {"id": EventIds(session).input(number), "type": "user.interrupt", "processed_at": None}
            case ToolConfirmation():
                return await self._confirm(session, given, order.again, f"events[{at}]")
            case CustomToolResult():
                return await self._result(session, given, order.again, f"events[{at}]", request.file)
            case _:
                raise Invalid(f"events[{at}]: no session takes this")

    async def _message(
        self,
        session: str,
        given: UserMessage,
        told: SystemMessage | None,
        order: SendOrder,
        at: int,
        request: _Request,
    ) -> list[Shown]:
        """Send a message, with the system message that accompanies it as its last part."""
        parts = await parts_of(given.content, f"events[{at}].content", request.file)
        system = [] if told is None else [instruction([one.text for one in told.content])]
        number = request.messages.get(at)
        if number is None:
            key = f"managed:first:{at}" if order.first else None
            note: dict[str, Any] = {_NOTE: f"{order.digest}:{at}"}
            if system:
                note[SYSTEM] = True
            number = (await self._sessions.send(session, [*parts, *system], key=key, source=_NOTE, note=note)).id
        return said_by_client(EventIds(session), number, [*parts, *system], system=bool(system), at=None)

    async def _define(self, session: str, given: DefineOutcome, order: SendOrder, at: int, request: _Request) -> Shown:
        """Give the session a goal, and tell the agent to work towards it."""
        number, known = request.messages.get(at), request.outcomes.get(at)
        key = f"managed:first:{at}" if order.first else None
        name = digest_of(session, key) if key else uuid.uuid4().hex
        goal = await goal_of(given, known or outcome_id(name[:24]), f"events[{at}]", request.file)
        if number is None:
            await self._api.runtime.outcomes.define(session, goal, key=key and f"{key}:goal")
            note: dict[str, Any] = {_NOTE: f"{order.digest}:{at}", **note_of(goal)}
            number = (await self._sessions.send(session, given.description, key=key, source=_NOTE, note=note)).id
        return {
            "id": EventIds(session).input(number),
            "type": "user.define_outcome",
            "processed_at": None,
            **defined(goal),
        }

    async def _before(self, session: str, digest: str, request: _Request) -> None:
        """Find what the same request put in before its answer was lost."""
        since = time.time() - _AGAIN_SECONDS
        for item in await self._api.runtime.node.tenants.inboxes.pending(session):
            match item.input:
                case MessageInput(note=dict() as note):
                    self._note(request, session, digest, note, item.id)
                case ControlInput(action="cancel"):
                    request.interrupts.append(item.id)
                case _:
                    pass
        head = (await self._sessions.get(session)).head
        for record in await window(self._sessions, session, max(0, head - _LOOKED), head):
            if not record.body.startswith(_INPUTS) or record.event.at < since:
                continue
            match record.event:
                case ev.InputReceived(note=dict() as note, input=number):
                    if self._note(request, session, digest, note, number) and request.since is None:
                        request.since = record.seq - 1
                case ev.ControlApplied(action="cancel", input=number):
                    request.interrupts.append(number)
                case _:
                    pass

    def _note(self, request: _Request, session: str, digest: str, note: Mapping[str, Any], number: int) -> bool:
        sent, _, at = str(note.get(_NOTE, "")).partition(":")
        if sent == digest and self.answered.may_be_lost(EventIds(session).input(number)):
            request.messages[int(at)] = number
            if OUTCOME in note:
                request.outcomes[int(at)] = note[OUTCOME]["id"]
            return True
        return False

    async def _confirm(self, session: str, given: ToolConfirmation, again: bool, where: str) -> Shown:
        below = await self._below(session, given.tool_use_id)
        if below is not None:
            return await self._confirm_below(session, below, given, where)
        place = await self._place(session, given.tool_use_id, f"{where}.tool_use_id")
        decision = "approve" if given.result == "allow" else "reject"
        _, state = await self._sessions.state(session)
        waiting = next((one for one in state.asking if one.call.id == place.call.id), None)
        asked = waiting.asked if waiting is not None else await self._asked(session, place) if again else 0
        if not asked:
            raise Invalid(f"{where}.tool_use_id: {given.tool_use_id!r} does not wait for a confirmation")
        with contextlib.suppress(Conflict):  # another answer came first, or this one before
            await self._api.runtime.approvals.answer(
                session, place.call.id, decision, note=given.deny_message, asked=asked, source=_NOTE
            )
        return _confirmation(EventIds(session).answered(asked), given)

    async def _below(self, session: str, id: str) -> ChildWaits | None:
        """Return the question of a thread that an event's id names."""
        named = EventIds(session).place(id)
        records = [] if named is None or named[0] < 1 else await self._read(session, named[0])
        event = records[0].event if records and records[0].body.startswith(_WAITS) else None
        return event if isinstance(event, ChildWaits) else None

    async def _confirm_below(self, session: str, asked: ChildWaits, given: ToolConfirmation, where: str) -> Shown:
        """Answer the question of a thread. One that was answered stays as it is."""
        try:
            _, state = await self._sessions.state(asked.session)
        except NotFound:
            raise Invalid(f"{where}.tool_use_id: the thread {asked.session!r} is gone") from None
        waiting = next((one for one in state.asking if one.call.id == asked.call), None)
        if waiting is not None:
            decision = "approve" if given.result == "allow" else "reject"
            with contextlib.suppress(Conflict):
                await self._api.runtime.approvals.answer(
                    asked.session,
                    asked.call,
                    decision,
                    note=given.deny_message,
                    asked=waiting.asked,
                    source=_NOTE,
                )
        return _confirmation(confirmation_id(given.tool_use_id), given)

    async def _asked(self, session: str, place: CallPlace) -> int:
        """Return the position of the question about a call that was answered; 0 if there was none."""
        for record in await self._sessions.history(session, after=place.seq, limit=_LOOKED):
            if (
                record.body.startswith(b'{"type":"approval.requested"')
                and isinstance(event := record.event, ev.ApprovalRequested)
                and event.call == place.call.id
            ):
                return record.seq
        return 0

    async def _result(self, session: str, given: CustomToolResult, again: bool, where: str, file: FileOf) -> Shown:
        place = await self._place(session, given.custom_tool_use_id, f"{where}.custom_tool_use_id")
        parts = await parts_of(given.content, f"{where}.content", file)
        _, state = await self._sessions.state(session)
        call = state.call(place.call.id)
        waits = call is not None and call.status == "awaiting" and place.call.name not in tool_names()
        if not waits and not again:
            raise Invalid(f"{where}.custom_tool_use_id: {given.custom_tool_use_id!r} does not wait for a result")
        if waits:
            result = ClientResultInput(place.call.id, parts, error=bool(given.is_error))
            await self._sessions.put(session, result, key=f"managed:result:{place.seq}:{place.part}")
        return {
            "id": EventIds(session).result(place),
            "type": "user.custom_tool_result",
            "custom_tool_use_id": given.custom_tool_use_id,
            "content": blocks(parts),
            "is_error": bool(given.is_error),
            "processed_at": stamp(time.time()),
        }

    async def _place(self, session: str, id: str, where: str) -> CallPlace:
        """Return the call that an event's id names. Raises `Invalid`."""
        named = EventIds(session).place(id)
        records = [] if named is None or named[0] < 1 else await self._read(session, named[0])
        if named is not None and records:
            event = records[0].event
            parts = event.parts if isinstance(event, ev.ModelCompleted) else ()
            if named[1] < len(parts) and isinstance(call := parts[named[1]], ToolCall):
                return CallPlace(*named, call)
            if isinstance(event, ev.ApprovalRequested) and named[1] == 0:
                return CallPlace(*named, ToolCall(event.call, event.name, event.arguments))
        raise Invalid(f"{where}: this session has no tool use {id[:80]!r}")

    async def _read(self, session: str, seq: int) -> list[Any]:
        try:
            return await self._sessions.history(session, after=seq - 1, limit=1)
        except NotFound:
            raise NotFound(f"there is no session {session!r}") from None


def _confirmation(id: str, given: ToolConfirmation) -> Shown:
    shown: Shown = {
        "id": id,
        "type": "user.tool_confirmation",
        "tool_use_id": given.tool_use_id,
        "result": given.result,
        "processed_at": None,
    }
    return shown if given.deny_message is None else {**shown, "deny_message": given.deny_message}
