"""What a session does about its servers besides calls: take a person's acceptance, and release what is held."""

from __future__ import annotations

import asyncio
import time

from roost.agent.session import Session
from roost.features.mcp.calling import decline
from roost.features.mcp.events import McpAcceptInput, McpOffered
from roost.features.mcp.messages import ServerError, ServerFailed
from roost.features.mcp.offering import failed, is_named
from roost.features.mcp.ports import SessionServers
from roost.features.mcp.state import McpState
from roost.log.protocols import InboxItem

_WAITS = 900.0
"""Seconds for which a session stays awake because a program in its sandbox waits for a person."""


async def accept(session: Session, item: InboxItem) -> None:
    """Pin the tools of a server as they are now. Raises `StoreFailed`, `Interrupted`."""
    order, port = item.input, session.means.find(SessionServers)
    assert isinstance(order, McpAcceptInput)
    assert port is not None
    node, added = port.node, session.state.part(McpState).mcp_added
    found = await node.directory.of_session(session.spec, session.means.workspace, added)
    server = found.servers.get(order.server)
    if server is None:
        session.log.drop(item)
        return
    named = is_named(session, server)
    try:
        catalog = await node.open(server, port.where, named=named).catalog()
        digest = await node.catalogs.save(catalog, server=server.digest if server.is_shared(named=named) else None)
    except (ServerFailed, ServerError, TimeoutError) as error:
        failed(session, server.name, node.masked(server, port.where, str(error), named=named))
        session.log.drop(item)
        return
    event = McpOffered(
        at=time.time(),
        server=server.name,
        digest=server.digest,
        catalog=digest,
        tools=len(catalog.tools),
        accepted=True,
    )
    session.log.note(event, consume=item.id)


async def decline_closed(session: Session) -> None:
    """Decline the questions of servers whose calls a person rejected, or that ended otherwise."""
    port = session.means.find(SessionServers)
    assert port is not None
    open_calls = {f"{session.id}/{call.call.id}" for call in session.state.calls if call.status != "done"}
    for opened in port.node.pool.all():
        for key in [one for one in opened.held if one.startswith(f"{session.id}/") and one not in open_calls]:
            await decline(opened, key)


def waits_for_person(session: Session) -> bool:
    """Whether a server that belongs to the session waits for a person; it is closed when the session sleeps."""
    port = session.means.find(SessionServers)
    if port is None:
        return False
    servers = [port.node.pool.find(key) for key in port.node.pool.of_session(session.id)]
    return any(one is not None and one.held and time.monotonic() - one.used < _WAITS for one in servers)


async def close_own(session: Session) -> None:
    """Close the servers that belong to the session: in its sandbox, or called with its credentials."""
    port = session.means.find(SessionServers)
    if port is not None and (tasks := port.node.close_own(session.id)):
        await asyncio.wait(tasks)
