"""One call of a tool of a server: a changed definition and a server's question wait for a person first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import msgspec

from roost.agent.session import Session
from roost.agent.state import PERSON, Call
from roost.errors import SandboxError
from roost.features.mcp.catalog import Catalog, ServerTool
from roost.features.mcp.connection import Asked, Connection, Held
from roost.features.mcp.events import McpAccepted, McpAsked, McpChanged
from roost.features.mcp.messages import Json, ServerError, ServerFailed, as_object
from roost.features.mcp.offering import Offered, Offers
from roost.features.mcp.pool import OpenServer
from roost.features.mcp.ports import CallPort, SessionServers
from roost.features.mcp.questions import accepted, missing, shown
from roost.features.mcp.results import result_of_call
from roost.features.mcp.state import McpTurn, Question
from roost.tools.base import ToolResult
from roost.tools.errors import NeedsPerson, ToolError

_UNSURE = "Whether the call took effect is not known"


class McpCall(CallPort):
    """The port of one call."""

    def __init__(self, session: Session, call: Call, port: SessionServers) -> None:
        self._session, self._call, self._port = session, call, port
        self._offered: Offered = session.own(Offers).tools[call.call.name]

    @property
    def _id(self) -> str:
        return self._call.call.id

    async def run(self, arguments: Json) -> ToolResult:
        """Call the tool. Raises `ToolError`, `NeedsPerson`."""
        server, tool, named = self._offered
        what = f"the MCP server {server.name!r}"
        try:
            opened = self._port.node.open(server, self._port.where, named=named)
            opened.busy += 1
            try:
                return await self._on(opened, tool, arguments)
            finally:
                opened.busy -= 1
                opened.used = time.monotonic()
        except ServerFailed as error:
            unsure = f". {_UNSURE}" if error.unsure else ""
            raise ToolError(self._scrub(f"{what} cannot be used: {error}{unsure}")) from None
        except ServerError as error:
            raise ToolError(self._scrub(f"{what} answered with an error: {error.message}")) from None
        except SandboxError as error:
            raise ToolError(f"{what} cannot be started: {error}") from None

    async def _on(self, opened: OpenServer, tool: ServerTool, arguments: Json) -> ToolResult:
        try:
            catalog = await opened.catalog()
        except TimeoutError:
            raise ToolError(f"the MCP server {self._offered.server.name!r} does not list its tools") from None
        now = await self._accepted(catalog, tool)
        connection, question = await opened.connection(), self._question()
        seconds = self._offered.server.seconds
        try:
            async with asyncio.timeout(seconds):
                if question is None:
                    found = await connection.call(now, arguments)
                else:
                    found = await self._answered(opened, connection, now, question)
        except TimeoutError:
            opened.answered(in_time=False)
            raise ToolError(f"the call took longer than {seconds:g} seconds. {_UNSURE}") from None
        opened.answered(in_time=True)
        if isinstance(found, Asked):
            self._ask(opened, found, arguments if question is None else msgspec.json.decode(question.arguments))
        return result_of_call(as_object(found), self._scrub)

    def _scrub(self, text: str) -> str:
        server, _, named = self._offered
        return self._session.means.scrubbed(self._port.node.masked(server, self._port.where, text, named=named))

    # A changed tool

    async def _accepted(self, catalog: Catalog, offered: ServerTool) -> ServerTool:
        """Return the tool as it is now. Raises `NeedsPerson` when it is another than the model was offered."""
        now, server = catalog.by_name().get(offered.name), self._offered.server
        if now is None:
            raise ToolError(f"the MCP server {server.name!r} has no tool {offered.name!r} any more")
        if now.digest == offered.digest:
            return now
        turn = self._session.state.turn
        if turn is not None and turn.part(McpTurn).mcp_changed.get(self._id) == now.digest:
            digest = await self._port.node.catalogs.save(catalog, server=None)
            self._session.log.note(
                McpAccepted(at=time.time(), server=server.name, tool=now.name, definition=now.digest, catalog=digest)
            )
            return now
        event = McpChanged(at=time.time(), server=server.name, tool=now.name, call=self._id, definition=now.digest)
        why = f"the MCP server {server.name!r} has changed its tool {now.name!r}: {changes(offered, now)}"
        raise NeedsPerson(self._scrub(why), event)

    # A question of the server

    def _question(self) -> Question | None:
        turn = self._session.state.turn
        return None if turn is None else turn.part(McpTurn).mcp_asked.get(self._id)

    async def _answered(
        self, opened: OpenServer, connection: Connection, tool: ServerTool, question: Question
    ) -> Json | Asked:
        """Go on with the call, with the answer of the person who approved it."""
        changed = self._call.changed if self._call.changed_by == PERSON else None
        content: Json | None = None if changed is None else as_object(msgspec.json.decode(changed))
        if lacking := missing(question.wants, content):
            again = McpAsked(
                at=time.time(),
                server=self._offered.server.name,
                call=self._id,
                wants=question.wants,
                arguments=question.arguments,
                state=question.state,
            )
            what = f"{shown(again.server, question.wants)}. The answer lacks: {', '.join(lacking)[:300]}"
            raise NeedsPerson(self._scrub(what), again)
        answers = {key: accepted(want, content) for key, want in question.wants.items()}
        if question.state is not None or "" not in answers:
            arguments = as_object(msgspec.json.decode(question.arguments))
            return await connection.call(tool, arguments, answers=answers, state=question.state)
        held = opened.held.pop(self._key, None)
        if held is None:
            raise ToolError(f"the server or this node was restarted while the server waited for an answer. {_UNSURE}")
        return await connection.go_on(held, answers[""])

    def _ask(self, opened: OpenServer, found: Asked, arguments: Mapping[str, object]) -> None:
        """Let the call wait for a person. Raises `NeedsPerson`."""
        if found.held is not None:
            self._hold(opened, found.held)
        event = McpAsked(
            at=time.time(),
            server=self._offered.server.name,
            call=self._id,
            wants=dict(found.wants),
            arguments=msgspec.json.encode(arguments).decode(),
            state=found.state,
        )
        raise NeedsPerson(self._scrub(shown(event.server, event.wants)), event)

    def _hold(self, opened: OpenServer, held: Held) -> None:
        opened.held[self._key] = held

    @property
    def _key(self) -> str:
        return f"{self._session.id}/{self._id}"


def changes(before: ServerTool, now: ServerTool) -> str:
    """Return what differs between two definitions, for a person."""
    found = [
        name
        for name, old, new in (
            ("its description", before.description, now.description),
            ("its arguments", before.schema, now.schema),
            ("its hints", before.hints, now.hints),
        )
        if old != new
    ]
    text = " ".join(now.description.split())[:400]
    said = f"; it now says: {text}" if before.description != now.description else ""
    return f"{' and '.join(found)} ({'approve to accept that'}){said}"


async def decline(opened: OpenServer, key: str) -> None:
    """Tell a server that nobody answers its question, and end the call."""
    held = opened.held.pop(key, None)
    if held is None:
        return
    try:
        async with asyncio.timeout(5.0):
            connection = await opened.connection()
            found = await connection.go_on(held, {"action": "decline"})
            if isinstance(found, Asked) and found.held is not None:
                found.held.call.cancel()
    except (TimeoutError, ServerFailed, ServerError):
        held.call.cancel()
