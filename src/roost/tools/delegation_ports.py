"""The port through which an agent's tools reach other agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Known(NamedTuple):
    """An agent as others see it."""

    name: str
    description: str


class OwnAgents(Protocol):
    """The other agents, for one call. All methods raise `ToolError`, in words for the model."""

    def callable(self) -> Sequence[Known]:
        """Return the agents that this agent may call."""
        ...

    async def begin(self, agent: str, prompt: str, *, background: bool, deadline: float | None) -> str:
        """Delegate a task to a new session of `agent`, when the call's outcome is committed. Returns the session's id.
        The call ends with the task, or at once with `background`. The task is cancelled after `deadline` seconds."""
        ...

    def running(self) -> Sequence[Known]:
        """Return the sessions that run a task of this one, each with its agent."""
        ...

    def cancel(self, child: str) -> None:
        """Cancel one of these tasks, once the call has succeeded."""
        ...

    async def tell(self, to: str, text: str) -> str:
        """Send a message to a session, to the newest session of an agent, or to `parent`, once the call has succeeded.
        Returns the id of the receiving session."""
        ...
