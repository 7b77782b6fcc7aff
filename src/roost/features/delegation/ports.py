"""The port through which the sessions of an agent reach other agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from roost.log import events as ev
from roost.log.session_info import SessionInfo


class Known(NamedTuple):
    """An agent as others see it."""

    name: str
    description: str


class ChildOrder(NamedTuple):
    """Order to create a child session. key: idempotency key; a repeated order returns the session made first."""

    key: str
    agent: str
    title: str
    family: ev.Family
    user: str | None
    workspace: str | None


class Family(Protocol):
    """Delegation for the sessions of one agent: other agents and their sessions."""

    def refusal(self, agent: str) -> str | None:
        """Return why this agent may not call `agent`, or None."""
        ...

    def callable(self) -> list[Known]:
        """Return the agents that it may call."""
        ...

    async def make(self, order: ChildOrder) -> str:
        """Create the session and return its id. Raises `Invalid`, `IsolationUnavailable`, `StoreFailed`."""
        ...

    async def reach(self, to: str, user: str | None) -> SessionInfo:
        """Return the session with id `to`, or the newest session of the agent `to`, if it belongs to `user`. Raises
        `NotFound`."""
        ...

    async def made(self, session: str) -> Sequence[SessionInfo]:
        """Return all sessions that `session` has created, in any state. Raises `StoreFailed`."""
        ...

    async def look_after(self, session: str, children: Sequence[str]) -> None:
        """Reconcile children: put the end of each one that is deleted, stopped or failed into the inbox of `session`,
        once."""
        ...
