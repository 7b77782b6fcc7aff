"""Fold events of children into a session's state."""

from __future__ import annotations

from typing import TypeAlias, assert_never

from roost.agent.state import Child, State
from roost.log import events as ev

OfChildren: TypeAlias = ev.ChildStarted | ev.ChildHeld | ev.ChildWaits | ev.ChildEnded


def take_child(state: State, event: OfChildren) -> None:
    match event:
        case ev.ChildStarted():
            _begun(state, event)
        case ev.ChildHeld():
            call = state.call(event.call)
            if call is not None and call.status in ("planned", "approved"):
                call.held = True
        case ev.ChildWaits():
            if (child := state.children.get(event.child)) is not None:
                child.waits = True
        case ev.ChildEnded():
            if state.children.pop(event.child, None) is not None:
                _free(state)
        case _:
            assert_never(event)


def _begun(state: State, event: ev.ChildStarted) -> None:
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


FOLDS = {ev.ChildStarted: take_child, ev.ChildHeld: take_child, ev.ChildWaits: take_child, ev.ChildEnded: take_child}
