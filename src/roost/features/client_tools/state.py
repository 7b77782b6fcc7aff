"""Fold the offers and calls of a client into a session's state."""

from __future__ import annotations

from typing import Any

from roost.agent.state import State
from roost.agent.state_parts import StatePart, TurnPart
from roost.features.client_tools.events import ClientCalled, ClientOffered, OfferedTool
from roost.log import events as ev


class ClientToolsState(StatePart):
    """What the client offers, as in `ClientOffered`; `choice` until the next answer. A rollback keeps it. In a fork and
    after an import no client is there, until one offers tools."""

    tools: tuple[OfferedTool, ...] = ()
    answer: dict[str, Any] | None = None
    choice: tuple[str, ...] = ()


class ClientToolsTurn(TurnPart):
    """called: ids of the calls that were handed to the client."""

    called: list[str] = []


def _offered(state: State, event: ClientOffered) -> None:
    part = state.part(ClientToolsState)
    part.tools, part.answer, part.choice = event.tools, event.answer, event.choice


def _answered(state: State, event: ev.ModelCompleted | ev.TurnCompleted) -> None:
    state.part(ClientToolsState).choice = ()


def _called(state: State, event: ClientCalled) -> None:
    call = state.call(event.call)
    if call is not None and call.status != "done" and state.turn is not None:
        call.status = "awaiting"
        state.turn.part(ClientToolsTurn).called.append(event.call)


def _left(state: State, event: ev.SessionForked | ev.SessionImported) -> None:
    part = state.part(ClientToolsState)
    part.tools, part.answer, part.choice = (), None, ()


PART = ClientToolsState
TURN_PART = ClientToolsTurn
WATCHES = {
    ev.ModelCompleted: _answered,
    ev.TurnCompleted: _answered,
    ev.SessionForked: _left,
    ev.SessionImported: _left,
}
FOLDS = {ClientOffered: _offered, ClientCalled: _called}
