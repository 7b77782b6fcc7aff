"""Fold the tools that a search has found into a session's state."""

from __future__ import annotations

from roost.agent.state import State
from roost.agent.state_parts import StatePart
from roost.features.tool_search.events import ToolsFound

MOST = 32
"""Most tools that are offered because they were found. The one found longest ago leaves first."""


class ToolSearchState(StatePart):
    """found: names of the tools that searches have found, the newest last. A fork keeps them, since its conversation
    knows them."""

    restored = ("found",)
    found: tuple[str, ...] = ()


def _found(state: State, event: ToolsFound) -> None:
    part = state.part(ToolSearchState)
    kept = [name for name in part.found if name not in event.names]
    part.found = (*kept, *reversed(event.names))[-MOST:]


PART = ToolSearchState
FOLDS = {ToolsFound: _found}
