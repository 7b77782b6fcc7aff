"""Fold events of terminals into a session's state."""

from __future__ import annotations

import msgspec

from roost.agent.state import State
from roost.agent.state_parts import StatePart
from roost.features.terminals.events import TerminalEnded, TerminalOpened, TerminalTyped
from roost.log import events as ev

REMEMBERED = 16
"""Ended terminals that the state knows."""


class KnownTerminal(msgspec.Struct):
    """A terminal of the log. ended: wall time; None while it is open. seq: position of its `terminal.ended`."""

    command: tuple[str, ...]
    columns: int
    rows: int
    by: str
    opened: float
    idle: float
    ended: float | None = None
    code: int | None = None
    reason: str | None = None
    seq: int = 0


class TerminalsState(StatePart):
    """terminals: by id, the open ones and the newest that have ended, in the order in which they were opened."""

    terminals: dict[str, KnownTerminal] = {}

    @property
    def open(self) -> list[str]:
        return [key for key, one in self.terminals.items() if one.ended is None]


def _opened(state: State, event: TerminalOpened) -> None:
    known = KnownTerminal(event.command, event.columns, event.rows, event.by, event.at, event.idle)
    state.part(TerminalsState).terminals[event.terminal] = known


def _ended(state: State, event: TerminalEnded) -> None:
    terminals = state.part(TerminalsState).terminals
    if (known := terminals.get(event.terminal)) is not None:
        known.ended, known.code, known.reason, known.seq = event.at, event.code, event.reason, state.seq
    over = [key for key, one in terminals.items() if one.ended is not None]
    for key in over[:-REMEMBERED]:
        del terminals[key]


def _typed(state: State, event: TerminalTyped) -> None:
    """What is typed is for readers of the log."""


def _left(state: State, event: ev.SessionForked | ev.SessionImported) -> None:
    state.part(TerminalsState).terminals = {}


PART = TerminalsState
FOLDS = {TerminalOpened: _opened, TerminalTyped: _typed, TerminalEnded: _ended}
WATCHES = {ev.SessionForked: _left, ev.SessionImported: _left}
