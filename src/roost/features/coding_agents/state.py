"""Fold the conversations of coding agents into a session's state."""

from __future__ import annotations

from roost.agent.state import State
from roost.agent.state_parts import StatePart, TurnPart
from roost.features.coding_agents.events import ProgramPrompted, ProgramThread
from roost.log import events as ev


class CodingAgentState(StatePart):
    """threads: by the name of a program, its newest conversation in this session. A fork keeps it if the files of the
    conversation are forked with the workspace. stale: conversations with what a rollback took back, since their files
    stayed as they were. folder: of the session in `.roost-agent` of the workspace; its name is random, so that nothing
    is there that the session did not put there."""

    restored = ("threads",)
    threads: dict[str, str] = {}
    stale: list[str] = []
    folder: str = ""

    def thread(self, program: str) -> str:
        """Return the conversation that a program may resume; empty if there is none."""
        found = self.threads.get(program, "")
        return found if self.folder and found not in self.stale else ""


class CodingAgentTurn(TurnPart):
    """told: messages of this turn that the program has been told; 0 until it was started. messages: of the user in this
    turn since then, those that it was told included. begun: how often it was started for them."""

    told: int = 0
    begun: int = 0
    messages: int = 0


def _prompted(state: State, event: ProgramPrompted) -> None:
    if event.thread:
        state.part(CodingAgentState).threads[event.program] = event.thread
    state.part(CodingAgentState).folder = event.folder
    if state.turn is not None:
        part = state.turn.part(CodingAgentTurn)
        part.told = part.messages = event.told
        part.begun += 1


def _named(state: State, event: ProgramThread) -> None:
    state.part(CodingAgentState).threads[event.program] = event.thread


def _received(state: State, event: ev.InputReceived) -> None:
    turn = state.turn
    if turn is not None and turn.part(CodingAgentTurn).told:
        turn.part(CodingAgentTurn).messages += 1


def _rolled_back(state: State, event: ev.SessionRolledBack) -> None:
    """The threads are still those of before."""
    part = state.part(CodingAgentState)
    if not event.files:
        part.stale += [one for one in part.threads.values() if one not in part.stale]


def _forked(state: State, event: ev.SessionForked) -> None:
    if not event.files:
        _imported(state, event)


def _imported(state: State, event: ev.SessionForked | ev.SessionImported) -> None:
    """The files of the conversations are elsewhere."""
    part = state.part(CodingAgentState)
    part.threads, part.folder = {}, ""


PART = CodingAgentState
TURN_PART = CodingAgentTurn
FOLDS = {ProgramPrompted: _prompted, ProgramThread: _named}
WATCHES = {
    ev.InputReceived: _received,
    ev.SessionForked: _forked,
    ev.SessionImported: _imported,
    ev.SessionRolledBack: _rolled_back,
}
