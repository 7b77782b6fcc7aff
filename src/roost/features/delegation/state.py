"""Fold events of children into a session's state."""

from __future__ import annotations

from typing import TypeAlias, assert_never

from roost.agent.state import Child, State
from roost.features.delegation.events import ChildEnded, ChildHeld, ChildStarted, ChildWaits

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
            if (child := state.children.get(event.child)) is not None:
                child.waits = True
        case ChildEnded():
            if state.children.pop(event.child, None) is not None:
                _free(state)
        case _:
            assert_never(event)


def _begun(state: State, event: ChildStarted) -> None:
    state.children[event.child] = Child(event.agent, event.call, event.background, event.due)
    if state.turn is not None:
        state.turn.children += 1
    call = state.call(event.call)
    if call is not None and call.status != "done":
        call.status, call.held = "awaiting", False


def _free(state: State) -> None:
    """Release the first deferred call: a slot for a child is free."""
    for call in state.calls:
        if call.held:
            call.held = False
            return


FOLDS = {ChildStarted: take_child, ChildHeld: take_child, ChildWaits: take_child, ChildEnded: take_child}
