"""The port of a session to what its node keeps for agents of frameworks."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from roost.agent.definition import AgentSpec
from roost.features.frameworks.warm_programs import WarmPrograms


class Environment(NamedTuple):
    """An environment with an agent's packages. id: digest of its lock, its Python and the platform. python: path of its
    interpreter. packages: how many it has. seconds: how long it took to build; 0 if it was there."""

    id: str
    python: str
    packages: int
    seconds: float = 0.0


class Code(NamedTuple):
    """A copy of an agent's source folder. id: digest of its files. folder: where it is, read-only."""

    id: str
    folder: str


class Installations(Protocol):
    """What the agents of a node need to run."""

    async def environment(self, spec: AgentSpec, known: str = "") -> Environment:
        """Return the environment of an agent, which is built if there is none. known: the id of the one that must be
        used. Raises `InstallFailed`."""
        ...

    async def code(self, spec: AgentSpec, known: str = "") -> Code:
        """Return the copy of an agent's source as it is now, or the one of the id `known`. Raises `InstallFailed`."""
        ...

    @property
    def warm(self) -> WarmPrograms:
        """The programs that wait for the next run of their sessions."""
        ...

    @property
    def runner(self) -> str:
        """The folder of the package that runs in the agent's program."""
        ...


class InstallFailed(Exception):
    """An agent's environment or source cannot be had."""
