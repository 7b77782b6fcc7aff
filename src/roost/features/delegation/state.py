"""Fold events of children into a session's state."""

from __future__ import annotations

from typing import TypeAlias, assert_never

import msgspec

from roost.agent.state import State
from roost.agent.state_parts import StatePart, TurnPart
from roost.features.delegation.events import ChildEnded, ChildHeld, ChildStarted, ChildWaits
from roost.log import events as ev


class Child(msgspec.Struct):
    """A session with an unfinished task of this one; fields as in `ChildStarted`. waits: for a person."""

    agent: str
    call: str
    background: bool = False
    due: float | None = None
    waits: bool = False


class DelegationState(StatePart):
    """children: by id, those with an unfinished task of this session."""

    children: dict[str, Child] = {}

    @property
    def waits(self) -> bool:
        return bool(self.children)


class DelegationTurn(TurnPart):
    """children: number that the turn has started."""

    children: int = 0


OfChildren: TypeAlias = ChildStarted | ChildHeld | ChildWaits | ChildEnded


def take_child(state: State, event: OfChildren) -> None:
    match event:
        case ChildStarted():
            _begun(state, event)
        case ChildHeld():
            call = state.call(event.call)
            if call is not None and call.status in ("planned", "approved"):
                call.held = True
        case ChildWaits():
            if (child := state.part(DelegationState).children.get(event.child)) is not None:
                child.waits = True
        case ChildEnded():
            if state.part(DelegationState).children.pop(event.child, None) is not None:
                _free(state)
        case _:
            assert_never(event)


def _begun(state: State, event: ChildStarted) -> None:
    state.part(DelegationState).children[event.child] = Child(event.agent, event.call, event.background, event.due)
    if state.turn is not None:
        state.turn.part(DelegationTurn).children += 1
    call = state.call(event.call)
    if call is not None and call.status != "done":
        call.status, call.held = "awaiting", False


def _free(state: State) -> None:
    """Release the first deferred call: a slot for a child is free."""
    for call in state.calls:
        if call.held:
            call.held = False
            return


def _left(state: State, event: ev.SessionForked | ev.SessionImported) -> None:
    state.part(DelegationState).children = {}


PART = DelegationState
TURN_PART = DelegationTurn
WATCHES = {ev.SessionForked: _left, ev.SessionImported: _left}
FOLDS = {ChildStarted: take_child, ChildHeld: take_child, ChildWaits: take_child, ChildEnded: take_child}
