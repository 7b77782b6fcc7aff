"""Offer the tools of a session's servers to the model, as the session was first offered them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from roost.agent.servers import McpServer
from roost.agent.session import Session
from roost.agent.tool_offers import ToolEntry, ToolOffers, ToolSource
from roost.features.mcp.catalog import Catalog, ServerTool, offered_names
from roost.features.mcp.events import McpFailed, McpOffered
from roost.features.mcp.messages import ServerError, ServerFailed
from roost.features.mcp.ports import CallPort, SessionServers
from roost.features.mcp.state import McpState, Pin
from roost.policy.gate import Safety
from roost.policy.rules import Touches
from roost.tools.base import Tool, ToolContext, ToolResult


class Offered(NamedTuple):
    """A tool of a server that is offered to the model. named: a person wrote the server's address."""

    server: McpServer
    tool: ServerTool
    named: bool


class Offers:
    """What a session is offered of its servers, by the names of the tools."""

    def __init__(self, session: Session) -> None:
        self.tools: dict[str, Offered] = {}
        self.shown: tuple[Any, ...] = ()


class _Use(NamedTuple):
    """A server, and its tools as the session may use them. fresh: the session has not used it before."""

    server: McpServer
    pin: Pin
    tools: Mapping[str, ServerTool]
    fresh: Catalog | None


async def offer(session: Session) -> None:
    """List the tools of the session's servers for the model, in the same order each time. A server that cannot be used
    delays the turn once and then is left out until it has recovered. Raises `StoreFailed`, `Interrupted`."""
    port, state = session.means.find(SessionServers), session.state.part(McpState)
    assert port is not None
    found = await port.node.directory.of_session(session.spec, session.means.workspace, state.mcp_added)

    async def look() -> list[_Use | None]:
        return await asyncio.gather(*(_use(session, port, server) for server in found.servers.values()))

    uses = [one for one in await session.interrupts.interruptible(look, steer=False) if one is not None]
    now = time.time()
    for one in uses:
        if one.fresh is not None:
            event = McpOffered(
                at=now,
                server=one.server.name,
                digest=one.server.digest,
                catalog=one.pin.catalog,
                tools=len(one.tools),
            )
            session.log.note(event)
    for problem in found.wrong:
        failed(session, "", problem)
    for one in found.untrusted:
        why = f"{one.path} of the workspace names it; accept it with: roost mcp accept {one.server.name}"
        failed(session, one.server.name, why)
    _list(session, uses)


def failed(session: Session, server: str, reason: str) -> None:
    """Note once that a server cannot be used, and why."""
    pin = session.state.part(McpState).mcp_pins.get(server)
    said = session.means.scrubbed(reason)[:500]
    if pin is None or pin.failed.partition(" (it is tried")[0] != said.partition(" (it is tried")[0]:
        session.log.note(McpFailed(at=time.time(), server=server, reason=said))


async def _use(session: Session, port: SessionServers, server: McpServer) -> _Use | None:
    """Return the server's tools: as the session was offered them, else as they are now."""
    node, pin = port.node, session.state.part(McpState).mcp_pins.get(server.name)
    try:
        if pin is not None and pin.digest == server.digest and (was := await node.catalogs.load(pin.catalog)):
            tools = dict(was.by_name())
            for name, digest in pin.accepted.items():
                newer = await node.catalogs.load(digest)
                if newer is not None and name in newer.by_name():
                    tools[name] = newer.by_name()[name]
            return _Use(server, pin, _chosen(server, tools), None)
        catalog = await _discovered(session, port, server)
        shared = server.digest if server.is_shared(named=is_named(session, server)) else None
        digest = await node.catalogs.save(catalog, server=shared)
        return _Use(server, Pin(server.digest, digest), _chosen(server, catalog.by_name()), catalog)
    except (ServerFailed, ServerError) as error:  # which may repeat the token that it was sent
        failed(session, server.name, node.masked(server, port.where, str(error), named=is_named(session, server)))
    except TimeoutError:
        failed(session, server.name, f"it did not list its tools within {server.start_seconds:g} s")
    return None


async def _discovered(session: Session, port: SessionServers, server: McpServer) -> Catalog:
    """Return the tools that a server has now: from what this or another node heard last, else by asking."""
    node, named = port.node, is_named(session, server)
    newest = await node.catalogs.newest(server.digest) if server.is_shared(named=named) else None
    known = None if newest is None else await node.catalogs.load(newest)
    if known is not None:
        return known
    opened = node.open(server, port.where, named=named)
    return await opened.catalog()


def is_named(session: Session, server: McpServer) -> bool:
    """Whether a person who may decide for this machine wrote the server's address: in a definition or in the home. What
    an account writes over HTTP is not of that kind."""
    if server.grants == "session" and session.means.account is not None:
        return False
    return server.name not in session.state.part(McpState).mcp_added


def _chosen(server: McpServer, tools: Mapping[str, ServerTool]) -> Mapping[str, ServerTool]:
    if not server.tools and not server.without:
        return tools
    return {name: tool for name, tool in tools.items() if _fits(name, server.tools or ("*",), server.without)}


def _fits(name: str, globs: Sequence[str], but: Sequence[str]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs) and not any(fnmatchcase(name, glob) for glob in but)


def asks_person(offered: Offered) -> bool:
    """Whether the definition of a server says that a person approves each call of a tool."""
    return _fits(offered.tool.name, offered.server.asks, offered.server.unasked)


def _list(session: Session, uses: Sequence[_Use]) -> None:
    """Give the tools to `ToolOffers`, if they are others than before."""
    offers = session.own(Offers)
    shown = tuple((one.server, tuple(tool.digest for tool in one.tools.values())) for one in uses)
    if shown == offers.shown:
        return
    offers.shown = shown
    offers.tools.clear()
    sources: list[ToolSource] = []
    for one in uses:
        names, entries = offered_names(one.server.name, one.tools), list[ToolEntry]()
        for tool in one.tools.values():
            name = names[tool.name]
            offers.tools[name] = Offered(one.server, tool, is_named(session, one.server))
            make = partial(_made, name, one.server, tool, isolated=session.means.sandbox.level > 0)
            entries.append(ToolEntry(name, f"{tool.name}: {tool.description}", make))
        sources.append(ToolSource(one.server.name, "tools of an MCP server", entries))
    session.own(ToolOffers).list("mcp", sources)


def _made(name: str, server: McpServer, tool: ServerTool, *, isolated: bool) -> Tool:
    async def run(context: ToolContext, arguments: dict[str, Any]) -> ToolResult:
        return await context.port(CallPort).run(arguments)

    safety = safety_of(server, tool)
    idempotent = server.trust and tool.hints.get("idempotentHint") is True
    return Tool(
        name=name,
        description=tool.description or f"{tool.name}, of the MCP server {server.name}",
        schema=tool.schema,
        run=run,
        replay="safe" if safety == "read_only" or idempotent else "never",
        safety=safety,
        files=server.sandboxed,
        timeout=server.seconds + server.start_seconds + 5.0,
        taints=True,
        reach=partial(_reach, touches_of(server, isolated=isolated)),
        early=False,
    )


def _reach(touches: Touches, arguments: Mapping[str, Any], root: Path) -> Touches:
    return touches


def touches_of(server: McpServer, *, isolated: bool) -> Touches:
    """Return what a call of a server touches: unknown, but for where its effects are."""
    if server.url is not None:
        return Touches(hosts=(urlsplit(server.url).hostname or "",), outside=True)
    return Touches(unknown=True, outside=not (server.sandboxed and isolated))


def safety_of(server: McpServer, tool: ServerTool) -> Safety:
    """Return how a call is judged. A person's word may loosen; a server's hint only tightens, unless it is trusted."""
    destroys, reads = tool.hints.get("destructiveHint") is True, tool.hints.get("readOnlyHint")
    if destroys and reads is not True:
        return "destructive"
    by_person = any(fnmatchcase(tool.name, glob) for glob in server.reads)
    if not destroys and ((by_person and reads is not False) or (server.trust and reads is True)):
        return "read_only"
    return "high_risk"
