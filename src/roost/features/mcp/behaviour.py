"""MCP servers, at the seams of the loop."""

from __future__ import annotations

import time

import msgspec

from roost.agent.feature import Feature, TurnEnd
from roost.agent.session import Session
from roost.agent.state import Call
from roost.features.mcp.events import McpAcceptInput, McpServerAdded, McpServerInput
from roost.features.mcp.ports import CallPort, SessionServers
from roost.features.mcp.state import McpState
from roost.log.protocols import InboxItem
from roost.policy.gate import GateCall, Verdict
from roost.tools.base import ToolContext


def _add(session: Session, item: InboxItem) -> None:
    order = item.input
    assert isinstance(order, McpServerInput)
    known = session.state.part(McpState).mcp_added.get(order.name)
    if known is not None and msgspec.json.encode(known) == msgspec.json.encode(order.server):
        session.log.drop(item)  # a client names it again
        return
    session.log.note(McpServerAdded(at=time.time(), name=order.name, server=order.server), consume=item.id)
    session.outdated = True  # the feature may not have been used before


def _accept(session: Session, item: InboxItem) -> None:
    if not MCP.used(session):
        session.log.drop(item)


class Mcp(Feature):
    """Offer the tools of MCP servers, and run their calls."""

    takes = {McpServerInput: _add, McpAcceptInput: _accept}

    def used(self, session: Session) -> bool:
        port = session.means.find(SessionServers)
        return port is not None and bool(session.spec.servers or session.state.part(McpState).mcp_added)

    async def between_turns(self, session: Session) -> None:
        for item in list(session.inbox):
            if isinstance(item.input, McpAcceptInput):
                from roost.features.mcp.accepting import accept

                await accept(session, item)

    async def enter_turn(self, session: Session) -> None:
        from roost.features.mcp.offering import offer

        await offer(session)

    async def before_model(self, session: Session) -> TurnEnd | None:
        from roost.features.mcp.accepting import decline_closed

        await decline_closed(session)
        return None

    async def after_gate(self, session: Session, call: GateCall, verdict: Verdict) -> Verdict:
        from roost.features.mcp.offering import Offers, asks_person

        offered = session.own(Offers).tools.get(call.tool)
        if offered is None or not asks_person(offered):
            return verdict
        what = f"tool {offered.tool.name!r} of the MCP server {offered.server.name!r}"
        return Verdict("ask", f"its definition asks a person about the {what}", "config", "asks")

    def equip(self, session: Session, call: Call, context: ToolContext) -> None:
        from roost.features.mcp.calling import McpCall
        from roost.features.mcp.offering import Offers

        port = session.means.find(SessionServers)
        if port is not None and call.call.name in session.own(Offers).tools:
            context.give(McpCall(session, call, port), CallPort)

    def stays_awake(self, session: Session) -> bool:
        from roost.features.mcp.accepting import waits_for_person

        return waits_for_person(session)

    async def before_sleep(self, session: Session) -> None:
        from roost.features.mcp.accepting import close_own

        await close_own(session)

    async def evicted(self, session: Session) -> None:
        from roost.features.mcp.accepting import close_own

        await close_own(session)


FEATURE = MCP = Mcp()
