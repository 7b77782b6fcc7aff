"""Fold what a session knows of MCP servers into its state."""

from __future__ import annotations

from typing import Any

import msgspec

from roost.agent.state import State
from roost.agent.state_parts import StatePart, TurnPart
from roost.features.mcp.events import McpAccepted, McpAsked, McpChanged, McpFailed, McpOffered, McpServerAdded
from roost.log import events as ev


class Pin(msgspec.Struct, omit_defaults=True):
    """The tools of a server as the session was offered them. accepted: by tool, the catalog with the definition that a
    person accepted later. failed: why the server could not be used, as the log said last."""

    digest: str = ""
    catalog: str = ""
    accepted: dict[str, str] = {}
    failed: str = ""


class Question(msgspec.Struct, omit_defaults=True):
    """What a server asked in a call."""

    wants: dict[str, dict[str, Any]]
    arguments: str
    state: str | None = None


class McpState(StatePart):
    """mcp_pins: by server. mcp_added: servers that a person added to this session; None: removed. A fork keeps all of
    it."""

    mcp_pins: dict[str, Pin] = {}
    mcp_added: dict[str, dict[str, Any] | None] = {}


class McpTurn(TurnPart):
    """mcp_changed: by call, the definition about which it asks. mcp_asked: by call, what its server wants to know."""

    mcp_changed: dict[str, str] = {}
    mcp_asked: dict[str, Question] = {}


def _pin(state: State, server: str) -> Pin:
    return state.part(McpState).mcp_pins.setdefault(server, Pin())


def _offered(state: State, event: McpOffered) -> None:
    state.part(McpState).mcp_pins[event.server] = Pin(event.digest, event.catalog)


def _failed(state: State, event: McpFailed) -> None:
    _pin(state, event.server).failed = event.reason


def _changed(state: State, event: McpChanged) -> None:
    if state.turn is not None:
        state.turn.part(McpTurn).mcp_changed[event.call] = event.definition


def _accepted(state: State, event: McpAccepted) -> None:
    _pin(state, event.server).accepted[event.tool] = event.catalog


def _asked(state: State, event: McpAsked) -> None:
    if state.turn is not None:
        state.turn.part(McpTurn).mcp_asked[event.call] = Question(event.wants, event.arguments, event.state)


def _added(state: State, event: McpServerAdded) -> None:
    state.part(McpState).mcp_added[event.name] = event.server


def _left(state: State, event: ev.SessionImported) -> None:
    part = state.part(McpState)
    part.mcp_pins, part.mcp_added = {}, {}


PART = McpState
TURN_PART = McpTurn
FOLDS = {
    McpOffered: _offered,
    McpFailed: _failed,
    McpChanged: _changed,
    McpAccepted: _accepted,
    McpAsked: _asked,
    McpServerAdded: _added,
}
WATCHES = {ev.SessionImported: _left}
