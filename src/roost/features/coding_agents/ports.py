"""The port of a session to the gateway of its node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from roost.agent.session import Session
from roost.features.coding_agents.program import Program
from roost.models.request import Model, ToolSpec
from roost.sandbox.proxy_request import Request


class Caller(Protocol):
    """One run of a program. key: what it must show."""

    key: str

    def of(self, request: Request) -> Model:
        """Return the model that answers one HTTP request of the program."""
        ...


@runtime_checkable
class ToolCaller(Protocol):
    """The program of one request, which may call tools of Roost."""

    def offered(self) -> Sequence[ToolSpec]:
        """Return the tools that it may call."""
        ...

    async def call(self, name: str, arguments: Mapping[str, Any]) -> tuple[str, bool]:
        """Let the session run a tool, as if its model had asked for it. Returns the text of its outcome, once that is
        committed, and whether it failed."""
        ...


class Gateway(Protocol):
    """Where the programs of sessions reach their models."""

    async def address(self, session: Session) -> str:
        """Return the base URL of the gateway as a program of this session reaches it. Raises `ProgramFailed`."""
        ...

    def open(self, session: str, bridge: Caller) -> None:
        """Serve a session's program by `bridge` from now on."""
        ...

    def shut(self, session: str) -> None:
        """Serve a session's program no more."""
        ...

    def executable(self, program: Program) -> str:
        """Return the real path of a program; empty if this machine has none. Blocks."""
        ...
