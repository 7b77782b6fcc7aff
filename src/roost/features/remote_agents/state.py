"""Fold the tasks of remote agents into a session's state."""

from __future__ import annotations

from roost.agent.state import State
from roost.agent.state_parts import StatePart, TurnPart
from roost.features.remote_agents.events import RemoteTaskBegan
from roost.log import events as ev


class RemoteAgentState(StatePart):
    """contexts: by the name of a remote agent, its newest conversation with this session. A fork begins new ones: two
    sessions in one conversation would confuse the remote agent."""

    restored = ("contexts",)
    contexts: dict[str, str] = {}


class RemoteAgentTurn(TurnPart):
    """tasks: by the key of the call that began it, so that an interrupted call goes on with its task."""

    tasks: dict[str, str] = {}


def _began(state: State, event: RemoteTaskBegan) -> None:
    if event.context:
        state.part(RemoteAgentState).contexts[event.agent] = event.context
    if state.turn is not None:
        state.turn.part(RemoteAgentTurn).tasks[event.key] = event.task


def _forked(state: State, event: ev.SessionForked) -> None:
    state.part(RemoteAgentState).contexts = {}


PART = RemoteAgentState
TURN_PART = RemoteAgentTurn
FOLDS = {RemoteTaskBegan: _began}
WATCHES = {ev.SessionForked: _forked}
