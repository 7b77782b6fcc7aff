"""The client of a command: of a daemon, or of the application in this process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from roost.client.sync_client import BlockingTransport, SyncClient, SyncTransport
from roost.errors import Invalid, RoostError

if TYPE_CHECKING:
    from roost.agent.definition import Agent
    from roost.api.shapes import AcceptedInput
    from roost.cli.event_queue import EventQueue
    from roost.client.async_client import Client
    from roost.client.daemon_address import Endpoint, Locate
    from roost.log.content import UserPart
    from roost.log.session_info import ControlAction, InputMode, SessionInfo

Content: TypeAlias = "str | list[UserPart]"
"""The content of a message: text, or parts, some of which may be media."""
T = TypeVar("T")
_PATIENCE = 24 * 3600.0


class Node(SyncClient):
    """A `SyncClient` for the main thread, and what commands do beyond the API.

    another: makes a further transport, for a stream or an order in a thread of its own.
    """

    daemon = True
    """Whether work goes on after this process has ended."""
    endpoint: Endpoint
    """The address of a daemon."""
    locate: Locate
    """Finds the daemon again after a lost connection."""

    def __init__(self, another: Callable[[], SyncTransport]) -> None:
        super().__init__(another())
        self._another = another

    @classmethod
    def remote(cls, locate: Locate) -> Node:
        """Return the client of the daemon at an address."""
        node = cls(lambda: BlockingTransport(locate))
        node.endpoint, node.locate = locate(), locate
        return node

    def client(self) -> Client:
        """Return an asynchronous client of the same daemon, for `drive`."""
        from roost.client.async_client import Client, SocketTransport

        return Client(SocketTransport(self.locate))

    def drive(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work` to its end, on an event loop that its asynchronous client may be used on."""
        import asyncio

        return asyncio.run(work())

    def close(self, *, grace: float = 5.0) -> None:
        """Close the client. `grace`: seconds that a runtime in this process gives its steps to end."""
        super().close()

    def info(self, session: str) -> SessionInfo:
        return self.sessions.inspect(session).info

    def send(self, session: str, content: Content, *, mode: InputMode = "follow_up") -> AcceptedInput:
        if isinstance(content, str):
            return self.inputs.send(session, content, mode=mode, source="cli")
        return self.inputs.send(session, parts=content, mode=mode, source="cli")

    def create_as(
        self, agent: Agent, *, workspace: str | None = None, title: str | None = None, id: str | None = None
    ) -> SessionInfo:
        """Create a session with exactly this definition, even if the node knows another one by its name. A daemon must
        know an agent with Python parts; raises `Invalid` otherwise."""
        name = agent.name
        if agent.python:
            self._must_know(agent)
            model = None if agent.python.model else agent.model
            return self.sessions.create(name, workspace=workspace, title=title, id=id, model=model)
        return self.sessions.create(name, workspace=workspace, title=title, id=id, definition=agent.spec)

    def _must_know(self, agent: Agent) -> None:
        name = agent.name
        known = next((row for row in self.node.agents().agents if row.name == name), None)
        checks, tools = ((), ()) if known is None else (known.checks, known.tools)
        missing = [
            *(one for one in agent.python.checks if one not in checks),
            *(one for one in agent.python.tools if one not in tools),
        ]
        if known is None or missing:
            parts = f"its {', '.join(missing)}" if missing else "it"
            raise Invalid(
                f"agent {name!r} is written in Python and the daemon does not know {parts}: start the daemon again with"
                " the agent's file (roost down, then roost up -d --agents FILE)",
                code="agent_parts_unknown",
            )

    def work_on(self, session: str) -> None:
        """Process this session here if no other node does. A daemon processes all."""

    def order(self, session: str, action: ControlAction) -> None:
        """Send a control action without waiting for its effect."""

        def send() -> None:
            with contextlib.suppress(RoostError), SyncClient(self._another()) as client:  # the stream shows its effect
                client.sessions.control(session, action, wait=0)

        threading.Thread(target=send, name="roost-order", daemon=True).start()

    def subscribe(self, session: str, feed: EventQueue, *, after: int, deltas: bool = True) -> Callable[[], None]:
        """Put the session's frames into `feed`, then `Ended` or an error. Returns a function that stops it."""
        from roost.cli.event_queue import Ended, Gap

        client = SyncClient(self._another())
        frames = client.frames(
            session, after=after, deltas=deltas, patience=_PATIENCE, on_gap=lambda lost: feed.put(Gap(lost)), known=True
        )

        def pump() -> None:
            try:
                for frame in frames:
                    feed.put_patiently(frame)
                feed.put(Ended())
            except RoostError as error:
                feed.put(error)

        threading.Thread(target=pump, name="roost-stream", daemon=True).start()
        return client.close
