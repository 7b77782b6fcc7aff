"""The node that a command talks to: the daemon, or the kernel in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from roost.agent.definition import Agent
from roost.cli.configuration import NodeConfiguration
from roost.cli.event_queue import EventQueue
from roost.cli.memory import NodeMemory
from roost.cli.schedules import NodeSchedules
from roost.cli.travel import NodeTravel
from roost.client.client import AgentRow, Content, Sent
from roost.kernel.compaction_result import Compacted
from roost.kernel.costs import By, Costs
from roost.kernel.exchange.conversation_items import Brought, Format, Report, Source
from roost.kernel.reconcile import Reconciled
from roost.kernel.session_views import SessionView, WaitingCall
from roost.log.content import Message
from roost.log.events import ControlAction, Decision, GrantScope, InputMode, SessionState
from roost.log.ledger import LostCall
from roost.log.protocols import Record, SessionInfo


class Node(Protocol):
    """A node with blocking methods, for the main thread. They raise `RoostError`."""

    @property
    def daemon(self) -> bool:
        """True when work continues after this process ends."""
        ...

    @property
    def memory(self) -> NodeMemory: ...

    @property
    def configuration(self) -> NodeConfiguration: ...

    @property
    def travel(self) -> NodeTravel: ...

    @property
    def schedules(self) -> NodeSchedules: ...

    def agents(self) -> list[AgentRow]: ...

    def create(
        self, agent: str, *, workspace: str | None = None, title: str | None = None, model: str | None = None
    ) -> SessionInfo: ...

    def create_as(self, agent: Agent, *, workspace: str | None = None, title: str | None = None) -> SessionInfo:
        """Create a session with exactly this definition, even if the node knows another one by its name."""
        ...

    def find(
        self,
        *,
        agent: str | None = None,
        state: SessionState | None = None,
        parent: str | None = None,
        before: str | None = None,
        limit: int = 50,
        turns: bool = False,
    ) -> list[SessionInfo]:
        """Find sessions. `turns`: include how the last turn of each ended."""
        ...

    def get(self, session: str) -> SessionInfo: ...

    def inspect(self, session: str) -> SessionView: ...

    def tree(self, session: str) -> list[SessionInfo]:
        """Return the session and all of its descendants, parents before children."""
        ...

    def approvals(self, session: str) -> list[WaitingCall]:
        """Return the calls that wait for a person, in the session and all of its descendants."""
        ...

    def messages(self, session: str) -> list[Message]: ...

    def events(self, session: str, *, after: int = 0, limit: int = 500) -> list[Record]: ...

    def work_on(self, session: str) -> None:
        """Process this session here if no other node does. Does nothing for a daemon, which processes all."""
        ...

    def send(
        self, session: str, content: Content, *, mode: InputMode = "follow_up", source: str | None = None
    ) -> Sent: ...

    def control(self, session: str, action: ControlAction) -> SessionInfo: ...

    def compact(self, session: str) -> Compacted:
        """Compact the session. Returns the result, or that it waits."""
        ...

    def order(self, session: str, action: ControlAction) -> None:
        """Send a control action without waiting for its effect."""
        ...

    def approve(
        self,
        session: str,
        call: str,
        decision: Decision,
        *,
        note: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        always: Sequence[str] = (),
        scope: GrantScope | None = None,
        asked: int | None = None,
    ) -> None:
        """Answer a waiting call, as `Sessions.approve` does."""
        ...

    def delete(self, session: str) -> None: ...

    def costs(self, *, by: By | None = None, month: str | None = None) -> Costs:
        """Return the costs of a month. `by` reads logs."""
        ...

    def settle_lost(self, call: str, cost: int) -> LostCall:
        """Set the cost of a lost call, in nano-dollars. Raises `NotFound`."""
        ...

    def reconcile_costs(self, *, month: str | None = None, ours: bool = False) -> Reconciled:
        """Reconcile lost calls with usage reports, as `Runtime.reconcile_costs` does."""
        ...

    def subscribe(self, session: str, feed: EventQueue, *, after: int, deltas: bool = True) -> Callable[[], None]:
        """Put the session's frames into `feed`, then `Ended` or an error. Returns a function that stops it."""
        ...

    def export_session(self, session: str, out: IO[bytes], format: Format) -> Report:
        """Write the session to `out`, as `roost.kernel.exchange.export_session.take` does."""
        ...

    def export_files(self, session: str, out: IO[bytes]) -> int:
        """Write the session's files to `out`, as `roost.kernel.exchange.files_archive.take_files` does."""
        ...

    def import_session(
        self,
        path: Path,
        *,
        format: Source | None = None,
        id: str | None = None,
        agent: str | None = None,
        title: str | None = None,
        workspace: str | None = None,
        user: str | None = None,
        key: str | None = None,
    ) -> Brought:
        """Import a session, as `roost.kernel.exchange.import_session.bring` does."""
        ...

    def close(self, *, grace: float = 5.0) -> None: ...
