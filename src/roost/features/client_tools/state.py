"""Fold the offers and calls of a client into a session's state."""

from __future__ import annotations

from typing import Any, cast

from roost.agent.state import State
from roost.agent.state_parts import StatePart, TurnPart
from roost.features.client_tools.events import ClientCalled, ClientOffered, OfferedTool
from roost.log import events as ev

ANSWER = "answer_schema"
"""Key of a message's note: the JSON Schema that the answer to this message fits, and no later one."""


class ClientToolsState(StatePart):
    """What the client offers, as in `ClientOffered`; `choice` until the next answer. A rollback keeps it. In a fork and
    after an import no client is there, until one offers tools. wanted: the schema of the message whose turn begins."""

    tools: tuple[OfferedTool, ...] = ()
    answer: dict[str, Any] | None = None
    choice: tuple[str, ...] = ()
    wanted: dict[str, Any] | None = None


class ClientToolsTurn(TurnPart):
    """called: ids of the calls that were handed to the client. answer: the schema of the turn's message, before what
    the client offers."""

    called: list[str] = []
    answer: dict[str, Any] | None = None


def _received(state: State, event: ev.InputReceived) -> None:
    schema = None if event.note is None else event.note.get(ANSWER)
    if not isinstance(schema, dict):
        return
    found = cast("dict[str, Any]", schema)
    if state.turn is None:
        state.part(ClientToolsState).wanted = found
    else:
        state.turn.part(ClientToolsTurn).answer = found


def _started(state: State, event: ev.TurnStarted) -> None:
    part = state.part(ClientToolsState)
    if part.wanted is not None and state.turn is not None:
        state.turn.part(ClientToolsTurn).answer, part.wanted = part.wanted, None


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
    part.tools, part.answer, part.choice, part.wanted = (), None, (), None


PART = ClientToolsState
TURN_PART = ClientToolsTurn
WATCHES = {
    ev.InputReceived: _received,
    ev.TurnStarted: _started,
    ev.ModelCompleted: _answered,
    ev.TurnCompleted: _answered,
    ev.SessionForked: _left,
    ev.SessionImported: _left,
}
FOLDS = {ClientOffered: _offered, ClientCalled: _called}
