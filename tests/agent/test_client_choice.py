"""A demand of a client that its tool be called ends with the next answer, or with the turn."""

from __future__ import annotations

import pytest

from roost.agent.fold import apply
from roost.agent.state import State
from roost.features.client_tools.events import ClientOffered, OfferedTool
from roost.features.client_tools.state import ClientToolsState
from roost.log import events as ev


@pytest.mark.parametrize(
    "end", [ev.ModelCompleted(at=1.0, step=1, parts=()), ev.TurnCompleted(at=1.0, turn=1, outcome="failed")]
)
def test_the_choice_ends_with_the_answer_or_the_turn(end: ev.Event) -> None:
    state = State()
    apply(state, ClientOffered(at=0.0, tools=(OfferedTool("weather"),), choice=("weather",)))
    assert state.part(ClientToolsState).choice == ("weather",)
    apply(state, end)
    part = state.part(ClientToolsState)
    assert (part.choice, [tool.name for tool in part.tools]) == ((), ["weather"])
