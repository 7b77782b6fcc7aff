"""Agents and sessions as tools."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from roost.agent.definition import Agent
from roost.doors.mcp.catalog import Offer, Task, TaskBegun, Tool, ToolFailed, ToolResult, text
from roost.doors.mcp.exchange import Exchange, InputNeeded
from roost.doors.mcp.turn_call import OUTPUT, TurnCall
from roost.doors.mcp.turn_task import TurnTask
from roost.doors.mcp.typed_tool import Arguments, TypedTool
from roost.doors.talk import Recent
from roost.errors import Invalid
from roost.kernel.sessions import check_message
from roost.kernel.turn_watch import find_turn
from roost.log.content import Message, Text, ToolCall, ToolMessage, UserMessage
from roost.log.protocols import Accepted
from roost.log.session_info import InputMode, SessionInfo, SessionState
from roost.server.app_state import Api
from roost.server.sessions import SessionService

_NAME = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST = 64
_QUICK = 1.0
"""Seconds after which a call becomes a task, for a client that takes tasks."""
_READ = 20_000
"""Most characters of one message in session_read."""

_Key = Annotated[
    str | None,
    Meta(description="Any text that is unique to this message: sent again with it, the message is not doubled."),
]
_Session = Annotated[str, Meta(description="A session's id.", max_length=128)]
_Message = Annotated[str, Meta(description="What to say.", min_length=1)]


class AskArguments(Arguments):
    message: _Message
    session: Annotated[
        str | None, Meta(description="Goes on with this conversation. Without it another one begins.")
    ] = None
    key: _Key = None


class ListArguments(Arguments):
    agent: Annotated[str | None, Meta(description="Only sessions of this agent.")] = None
    state: Annotated[SessionState | None, Meta(description="Only sessions in this state.")] = None
    before: Annotated[str | None, Meta(description="`next` of the former page.")] = None
    limit: Annotated[int, Meta(ge=1, le=200)] = 20


class StartArguments(Arguments):
    agent: Annotated[str, Meta(description="An agent's name.")]
    message: Annotated[str | None, Meta(description="What to say first.")] = None
    title: Annotated[str, Meta(max_length=1024)] | None = None
    key: _Key = None


class SendArguments(Arguments):
    session: _Session
    message: _Message
    mode: Annotated[InputMode, Meta(description="steer: into the running turn. follow_up: when it has ended.")] = (
        "follow_up"
    )
    key: _Key = None


class ReadArguments(Arguments):
    session: _Session
    last: Annotated[int, Meta(ge=1, le=1000, description="How many messages, from the end.")] = 20


class WaitArguments(Arguments):
    session: _Session
    input: Annotated[int, Meta(ge=1, description="The message, as session_send and session_start return it.")]
    seconds: Annotated[float, Meta(ge=0, le=86400, description="Longest wait.")] = 60.0


class CancelArguments(Arguments):
    session: _Session


class AgentTools(Offer):
    """Each agent as a tool: its call is a message, and its result the answer of the turn."""

    def __init__(self, api: Api) -> None:
        self._api, self._sessions = api, api.sessions
        self._made: dict[str, tuple[Agent, Tool]] = {}
        self._known = Recent[str, str]()

    async def tools(self) -> Sequence[Tool]:
        found: dict[str, tuple[Agent, Tool]] = {}
        for agent in self._api.runtime.agents.all():
            name = ("ask_" + _NAME.sub("_", agent.name))[:_LONGEST]
            while name in found:
                name = f"{name[: _LONGEST - 9]}_{hashlib.sha256(agent.name.encode()).hexdigest()[:8]}"
            known = self._made.get(name)
            found[name] = known if known is not None and known[0] is agent else (agent, self._tool(name, agent))
        self._made = found
        return [tool for _, tool in found.values()]

    async def tool(self, name: str) -> Tool | None:
        known = self._made.get(name)
        if known is not None and self._api.runtime.agents.find(known[0].name) is known[0]:
            return known[1]
        return await super().tool(name)

    def _tool(self, name: str, agent: Agent) -> Tool:
        about = agent.spec.description.strip()

        async def run(arguments: AskArguments, exchange: Exchange) -> ToolResult:
            return await self._ask(agent.name, arguments, exchange)

        return TypedTool(
            name,
            f"Ask the agent {agent.name}: a message, and its answer." + (f" {about}" if about else ""),
            AskArguments,
            run,
            self._resume,
            title=agent.name,
            output=OUTPUT,
        )

    async def _ask(self, agent: str, arguments: AskArguments, exchange: Exchange) -> ToolResult:
        check_message([Text(arguments.message)])  # before a session is made for it
        key = exchange.key = arguments.key or exchange.key
        session = arguments.session
        if session is None:
            info = await self._sessions.create(agent, key=_keyed(key), labels={"mcp": "ask"})
            session = info.id
        elif (found := await self._agent_of(session)) != agent:
            raise ToolFailed(f"session {session!r} is of the agent {found!r}: ask that one")
        accepted = await self._sessions.send(session, arguments.message, key=_keyed(key), source="mcp")
        call = TurnCall(self._api, session, accepted.id, exchange, cancels=True)  # from here on a cancel ends the turn
        after = await before_turn(self._api, session, accepted)
        await exchange.keep(session=session, input=accepted.id, after=after, keyed=key is not None)
        if not exchange.tasks:
            return await call.result(after=after)
        with contextlib.suppress(TimeoutError, InputNeeded):
            async with asyncio.timeout(_QUICK):
                return await call.result(after=after)
        raise TaskBegun(await TurnTask(self._api, exchange, session, accepted.id).read())

    async def task(self, id: str, exchange: Exchange) -> Task | None:
        return TurnTask.of(self._api, exchange, id)

    async def _agent_of(self, session: str) -> str:
        """Return whose session it is, which never changes. Raises `NotFound`."""
        if (agent := self._known.get(session)) is None:
            self._known[session] = agent = (await self._sessions.get(session)).agent
        return agent

    async def _resume(self, exchange: Exchange) -> ToolResult:
        kept = exchange.kept
        call = TurnCall(self._api, kept["session"], kept["input"], exchange, cancels=not kept["keyed"])
        return await call.result(after=kept["after"])


class SessionTools(Offer):
    """Operations on sessions as tools."""

    def __init__(self, api: Api) -> None:
        self._api, self._sessions = api, api.sessions
        self._service = SessionService(api)
        self._tools: tuple[Tool, ...] = (
            TypedTool("sessions_list", "List sessions, the newest first.", ListArguments, self._list, reads=True),
            TypedTool(
                "session_start",
                "Begin a session with an agent, and send it a first message if you like. It works on by itself: get the"
                " answer with session_wait.",
                StartArguments,
                self._start,
            ),
            TypedTool(
                "session_send",
                "Send a message to a session. It works on by itself: get the answer with session_wait.",
                SendArguments,
                self._send,
            ),
            TypedTool("session_read", "Read the newest messages of a session.", ReadArguments, self._read, reads=True),
            TypedTool(
                "session_wait",
                "Wait for the answer to a message of a session.",
                WaitArguments,
                self._wait,
                self._wait_on,
                output=OUTPUT,
                reads=True,
            ),
            TypedTool(
                "session_cancel",
                "End the running turn of a session without an answer.",
                CancelArguments,
                self._cancel,
                repeatable=True,
            ),
        )

    async def tools(self) -> Sequence[Tool]:
        return self._tools

    async def _list(self, given: ListArguments, exchange: Exchange) -> ToolResult:
        page = await self._service.find(
            agent=given.agent, state=given.state, before=given.before, limit=given.limit, turns=True
        )
        return told({"sessions": [_row(info) for info in page.sessions], "next": page.next})

    async def _start(self, given: StartArguments, exchange: Exchange) -> ToolResult:
        if given.message is not None:
            check_message([Text(given.message)])
        key = _keyed(given.key or exchange.key)
        info = await self._sessions.create(given.agent, key=key, title=given.title, labels={"mcp": "start"})
        if given.message is None:
            return told({"session": info.id})
        accepted = await self._sessions.send(info.id, given.message, key=key, source="mcp")
        return told({"session": info.id, "input": accepted.id})

    async def _send(self, given: SendArguments, exchange: Exchange) -> ToolResult:
        key = _keyed(given.key or exchange.key)
        accepted = await self._sessions.send(given.session, given.message, mode=given.mode, key=key, source="mcp")
        return told({"session": given.session, "input": accepted.id, "duplicate": accepted.duplicate})

    async def _read(self, given: ReadArguments, exchange: Exchange) -> ToolResult:
        view = await self._sessions.inspect(given.session)
        messages = (await self._sessions.transcript(given.session))[-given.last :]
        shown = [{"role": _role(one), "text": _shown(one)[:_READ]} for one in messages]
        waiting = [{"call": one.call, "tool": one.tool, "reason": one.reason} for one in view.approvals]
        return told({**_row(view.info), "waiting": waiting, "messages": shown})

    async def _wait(self, given: WaitArguments, exchange: Exchange) -> ToolResult:
        head = (await self._sessions.get(given.session)).head
        found = await find_turn(self._sessions, given.session, given.input)
        after = head if found is None else found
        if found is None and not await self._pending(given.session, given.input):
            raise Invalid(f"session {given.session!r} has no message {given.input}")
        await exchange.keep(session=given.session, input=given.input, after=after, seconds=given.seconds)
        return await self._wait_on(exchange)

    async def _wait_on(self, exchange: Exchange) -> ToolResult:
        kept = exchange.kept
        call = TurnCall(self._api, kept["session"], kept["input"], exchange, cancels=False)
        return await call.result(after=kept["after"], seconds=kept["seconds"])

    async def _pending(self, session: str, item: int) -> bool:
        """Return whether the message waits in the inbox, or has just been taken from it."""
        waiting = await self._api.runtime.node.tenants.inboxes.pending(session)
        if any(one.id == item for one in waiting):
            return True
        return await find_turn(self._sessions, session, item) is not None

    async def _cancel(self, given: CancelArguments, exchange: Exchange) -> ToolResult:
        info = await self._sessions.control(given.session, "cancel")
        return told(_row(info))


async def before_turn(api: Api, session: str, accepted: Accepted) -> int:
    """Return a position of the log before the turn of an accepted message."""
    if not accepted.duplicate:
        return accepted.head
    found = await find_turn(api.sessions, session, accepted.id)
    return accepted.head if found is None else found


def told(facts: Any) -> ToolResult:
    """Return facts for programs, and as text for models."""
    return ToolResult([text(msgspec.json.format(msgspec.json.encode(facts), indent=1).decode())], facts)


def _keyed(key: str | None) -> str | None:
    """Return the key in the store for a client's. Long ones become a digest."""
    if key is None:
        return None
    return f"mcp:{key}" if len(key) < 200 else f"mcp:{hashlib.sha256(key.encode()).hexdigest()}"


def _row(info: SessionInfo) -> dict[str, Any]:
    row = {"session": info.id, "agent": info.agent, "state": info.state, "phase": info.phase, "title": info.title}
    if info.last_turn is not None:
        row["last_turn"] = info.last_turn.outcome
    return row


def _role(message: Message) -> str:
    if isinstance(message, UserMessage):
        return "user"
    return "tool" if isinstance(message, ToolMessage) else "assistant"


def _shown(message: Message) -> str:
    """Return the text of a message, with the names of the tools that it calls."""
    texts = [
        part.text if isinstance(part, Text) else f"[{part.name}]"
        for part in message.parts
        if isinstance(part, Text | ToolCall)
    ]
    return "\n".join(texts)
