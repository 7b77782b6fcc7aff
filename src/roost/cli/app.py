"""The state that every command shares: the home, the daemon, the agents of this folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from roost.errors import ConfigError

if TYPE_CHECKING:
    from roost.agent.agent_file_watch import AgentFiles
    from roost.agent.definition import Agent
    from roost.cli.node import Node
    from roost.client.daemon_address import Endpoint


class App:
    """The global options and their consequences. Nothing is opened before it is needed."""

    def __init__(self) -> None:
        self._home: Path | None = None
        self.home_variables: frozenset[str] = frozenset()
        """Variables that the home's file `env` has set."""
        self._read = False
        self.url = os.environ.get("ROOST_URL") or None
        self.token = os.environ.get("ROOST_TOKEN") or None
        self.store = os.environ.get("ROOST_STORE") or None
        self.store_meant = False

    def set_home(self, home: Path) -> None:
        """Set the home, for child processes too."""
        self._home = home.expanduser().absolute()
        os.environ["ROOST_HOME"] = str(self._home)

    def set_store(self, address: str) -> None:
        """Set the store given on the command line: it is used whatever store the home's daemon works on. Also set for
        child processes."""
        self.store, self.store_meant = address, True
        os.environ["ROOST_STORE"] = address

    @property
    def home_store(self) -> Path:
        """The home's own store."""
        return self.home / "roost.db"

    @property
    def home(self) -> Path:
        if self._home is None:
            own = os.environ.get("ROOST_HOME")
            self._home = (Path(own).expanduser() if own else Path.home() / ".roost").absolute()
        if not self._read:
            self._read = True
            if (self._home / "env").exists():
                from roost.cli.home_environment import apply

                self.home_variables = apply(self._home, os.environ)
        return self._home

    def locate(self) -> Endpoint:
        """Return the daemon's endpoint. Raises `Unreachable` when no daemon is known."""
        from roost.client.daemon_address import at_url, of_home, token_of

        return at_url(self.url, self.token or token_of(self.home)) if self.url else of_home(self.home, self.token)

    def daemon(self) -> Node | None:
        """Return the daemon, if one answers. Raises `Unreachable` when one was named with --url and does not."""
        from roost.client.daemon_address import Unreachable

        try:
            self.locate()
        except Unreachable:  # found out without importing the client
            return None

        from roost.cli.node import Node

        node = Node.remote(self.locate)
        try:
            node.node.health()
        except Unreachable:
            node.close()
            if self.url:
                raise
            return None
        return node

    def node(self, agents: tuple[Agent, ...] | None = None) -> Node:
        """Return the daemon if one runs, else the application in this process on the same store, with these agents or
        those of the folder."""
        found = None if self.store_meant and not self.url else self.daemon()
        if found is not None:
            return found
        from roost.cli.embedded import EmbeddedNode

        known = agents if agents is not None else self.agents(())
        return EmbeddedNode(self.home, known, store=self.store)

    def agent_files(self, extra: tuple[Path, ...]) -> AgentFiles:
        """Read agent files: of `extra`, of this folder (its code is run only if `extra` names it), of the home. Report
        skipped files, and why. Raise `ConfigError` when a file that `extra` itself names is wrong."""
        from roost.agent.agent_file_watch import AgentFiles
        from roost.agent.default_agent import default_agent
        from roost.cli.output import note

        files = AgentFiles(self.home, cwd=Path.cwd(), extra=extra, base=(default_agent(),))
        files.first()
        for fault in files.faults.values():
            note(f"! skipped: {fault}", "yellow")
        return files

    def agents(self, extra: tuple[Path, ...]) -> tuple[Agent, ...]:
        """Return the agents of `agent_files`, the built-in one included. Raises `ConfigError`."""
        return tuple(self.agent_files(extra).agents)


def folder(path: str) -> str:
    """Return an existing folder as an absolute path for a session. Raises `ConfigError`."""
    place = Path(path).expanduser()
    if not place.is_dir():
        raise ConfigError(f"the workspace {path!r} is not a folder that exists")
    return str(place.resolve())
