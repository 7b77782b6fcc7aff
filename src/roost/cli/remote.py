"""The daemon as a node."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from roost.agent.definition import Agent
from roost.cli.feed import Ended, Feed, Gap
from roost.client.client import Client
from roost.client.endpoint import Locate
from roost.errors import ConfigError, RoostError
from roost.log.events import ControlAction
from roost.log.journal import SessionInfo

_PATIENCE = 24 * 3600.0


class RemoteNode(Client):
    """`home` is the daemon's home when it is on this machine."""

    daemon = True

    def __init__(self, locate: Locate, *, home: Path | None) -> None:
        super().__init__(locate)
        self._home = home

    def create_as(self, agent: Agent, *, workspace: str | None = None, title: str | None = None) -> SessionInfo:
        """A session pins its definition, so it is written into the store that the daemon works from."""
        if agent.own_tools or agent.own_model:
            return self.create(agent.spec.name, workspace=workspace, title=title)
        if self._home is None:
            raise ConfigError(
                "a daemon that is reached by --url runs only the agents that it knows: leave out --model and --agents, "
                "and put the agent's file into the daemon's own agents folder"
            )
        from roost.cli.embedded import EmbeddedNode

        node = EmbeddedNode(self._home, [agent])
        try:
            return node.create(agent.spec.name, workspace=workspace, title=title)
        finally:
            node.close()

    def work_on(self, session: str) -> None:
        pass

    def order(self, session: str, action: ControlAction) -> None:
        client = Client(self._locate)

        def send() -> None:
            with contextlib.suppress(RoostError):  # the stream shows whether it took effect
                client.control(session, action)
            client.close()

        threading.Thread(target=send, name="roost-order", daemon=True).start()

    def subscribe(self, session: str, feed: Feed, *, after: int, deltas: bool = True) -> Callable[[], None]:
        stream = self.stream(
            session, after=after, deltas=deltas, patience=_PATIENCE, on_gap=lambda lost: feed.put(Gap(lost)), known=True
        )

        def pump() -> None:
            try:
                for frame in stream:
                    feed.put_patiently(frame)
                feed.put(Ended())
            except RoostError as error:
                feed.put(error)

        threading.Thread(target=pump, name="roost-stream", daemon=True).start()
        return stream.close

    def close(self, *, grace: float = 5.0) -> None:
        super().close()
