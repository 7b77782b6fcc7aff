"""What an agent's tools can do with other agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Known(NamedTuple):
    """An agent, as another one sees it."""

    name: str
    description: str


class OwnAgents(Protocol):
    """Of one call. All raise `ToolError`, in words for the model."""

    def callable(self) -> Sequence[Known]:
        """Whom this agent may call."""
        ...

    async def begin(self, agent: str, prompt: str, *, background: bool, deadline: float | None) -> str:
        """A session of `agent` gets the task when the call's outcome is committed. Returns the id of the session. The
        call ends with the task, or at once with `background`. After `deadline` seconds the task is over."""
        ...

    def running(self) -> Sequence[Known]:
        """The sessions that have a task of this one now, each with its agent."""
        ...

    def cancel(self, child: str) -> None:
        """One of these is given up when the call has ended well."""
        ...

    async def tell(self, to: str, text: str) -> str:
        """A message to a session, to the newest session of an agent, or to `parent`, when the call has ended well.
        Returns the id of the session that gets it."""
        ...
