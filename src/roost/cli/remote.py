"""A daemon as the node of a command."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from roost.client.client import Client
from roost.errors import Invalid, RoostError
from roost.log.events import ControlAction
from roost.log.protocols import SessionInfo

if TYPE_CHECKING:
    from roost.agent.definition import Agent
    from roost.cli.event_queue import EventQueue
    from roost.kernel.exchange.conversation_items import Brought, Format, Report

_PATIENCE = 24 * 3600.0


class RemoteNode(Client):
    daemon = True

    def create_as(self, agent: Agent, *, workspace: str | None = None, title: str | None = None) -> SessionInfo:
        """Create a session. An agent with Python parts must be known to the daemon; raises `Invalid` otherwise."""
        name = agent.spec.name
        if agent.is_python:
            self._must_know(agent)
            model = None if agent.own_model else agent.spec.model
            return self.create(name, workspace=workspace, title=title, model=model)
        return self.create(name, workspace=workspace, title=title, definition=agent.spec)

    def _must_know(self, agent: Agent) -> None:
        name = agent.spec.name
        known = next((row for row in self.agents() if row.name == name), None)
        checks, tools = ((), ()) if known is None else (known.checks, known.tools)
        missing = [
            *(one for one in agent.checks if one not in checks),
            *(one for one in agent.own_tools if one not in tools),
        ]
        if known is None or missing:
            parts = f"its {', '.join(missing)}" if missing else "it"
            raise Invalid(
                f"agent {name!r} is written in Python and the daemon does not know {parts}: start the daemon again with"
                " the agent's file (roost down, then roost up -d --agents FILE)",
                code="agent_parts_unknown",
            )

    def work_on(self, session: str) -> None:
        pass

    def order(self, session: str, action: ControlAction) -> None:
        client = Client(self._locate)

        def send() -> None:
            with contextlib.suppress(RoostError):  # the stream shows whether it took effect
                client.control(session, action)
            client.close()

        threading.Thread(target=send, name="roost-order", daemon=True).start()

    def subscribe(self, session: str, feed: EventQueue, *, after: int, deltas: bool = True) -> Callable[[], None]:
        from roost.cli.event_queue import Ended, Gap

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

    def export_session(self, session: str, out: IO[bytes], format: Format) -> Report:
        from roost.client.exchange import export_session

        return export_session(self._locate, session, out, format)

    def export_files(self, session: str, out: IO[bytes]) -> int:
        from roost.client.exchange import export_files

        return export_files(self._locate, session, out)

    def import_session(self, path: Path, **options: Any) -> Brought:
        from roost.client.exchange import import_session

        return import_session(self._locate, path, **options)

    def close(self, *, grace: float = 5.0) -> None:
        super().close()
