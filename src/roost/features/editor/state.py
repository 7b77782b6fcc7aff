"""Fold the editor of a session, and the calls that wait for it, into the state."""

from __future__ import annotations

import msgspec

from roost.agent.state import State
from roost.agent.state_parts import StatePart, TurnPart
from roost.features.editor.events import EditorAsked, EditorAttached, EditorDetached, EditorPassed, EditorTook
from roost.log import events as ev


class Asked(msgspec.Struct, omit_defaults=True):
    """A call that waits for an editor. took: the editor has begun."""

    editor: str
    took: bool = False


class EditorState(StatePart):
    """The attached editor, as in `EditorAttached`; empty without one. A fork and an import have none."""

    editor: str = ""
    reads: bool = False
    writes: bool = False
    terminals: bool = False


class EditorTurn(TurnPart):
    """asked: by call. passed: calls that the session runs itself, which the editor did not."""

    asked: dict[str, Asked] = {}
    passed: list[str] = []


def _attached(state: State, event: EditorAttached) -> None:
    part = state.part(EditorState)
    part.editor, part.reads, part.writes, part.terminals = event.editor, event.reads, event.writes, event.terminals


def _detached(state: State, event: EditorDetached) -> None:
    _left(state)


def _left(state: State, event: ev.Event | None = None) -> None:
    part = state.part(EditorState)
    part.editor, part.reads, part.writes, part.terminals = "", False, False, False


def _asked(state: State, event: EditorAsked) -> None:
    call = state.call(event.call)
    if call is not None and call.status != "done" and state.turn is not None:
        call.status = "awaiting"
        state.turn.part(EditorTurn).asked[event.call] = Asked(event.editor)


def _took(state: State, event: EditorTook) -> None:
    if state.turn is not None and (asked := state.turn.part(EditorTurn).asked.get(event.call)) is not None:
        asked.took = True


def _passed(state: State, event: EditorPassed) -> None:
    call = state.call(event.call)
    if call is not None and call.status == "awaiting" and state.turn is not None:
        call.status = "running"  # its replay policy lets it run again, as after a crash
        part = state.turn.part(EditorTurn)
        part.asked.pop(event.call, None)
        part.passed.append(event.call)


def _done(state: State, event: ev.ToolCompleted) -> None:
    if state.turn is not None:
        state.turn.part(EditorTurn).asked.pop(event.call, None)


PART = EditorState
TURN_PART = EditorTurn
WATCHES = {ev.ToolCompleted: _done, ev.SessionForked: _left, ev.SessionImported: _left}
FOLDS = {
    EditorAttached: _attached,
    EditorDetached: _detached,
    EditorAsked: _asked,
    EditorTook: _took,
    EditorPassed: _passed,
}
