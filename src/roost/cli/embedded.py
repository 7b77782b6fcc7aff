"""The kernel in this process, so that commands work without a daemon."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from roost.agent.definition import Agent
from roost.cli.event_queue import Ended, EventQueue
from roost.cli.logs import mask, quiet_logs
from roost.client.client import AgentRow, Content, Sent
from roost.errors import NotFound, RoostError
from roost.log.content import Message
from roost.log.events import ControlAction, Decision, GrantScope, InputMode, SessionState
from roost.log.protocols import Record, SessionInfo, SessionQuery

if TYPE_CHECKING:
    from roost.cli.configuration import NodeConfiguration
    from roost.cli.memory import NodeMemory
    from roost.cli.schedules import NodeSchedules
    from roost.cli.travel import NodeTravel
    from roost.kernel.compaction_result import Compacted
    from roost.kernel.costs import By, Costs
    from roost.kernel.exchange.conversation_items import Brought, Format, Report
    from roost.kernel.reconcile import Reconciled
    from roost.kernel.runtime import Runtime
    from roost.kernel.session_views import SessionView, WaitingCall
    from roost.log.ledger import LostCall

T = TypeVar("T")


class EmbeddedNode:
    """A `Runtime` on an event loop in a thread of its own. It only processes the sessions given to `work_on`."""

    daemon = False

    def __init__(self, home: Path, agents: Sequence[Agent], *, store: str | None = None) -> None:
        from roost.sandbox.environment import hide_secrets

        quiet_logs()
        hide_secrets()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="roost-node", daemon=True)
        self._thread.start()
        self._mine: set[str] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        try:
            self._runtime = self._do(self._start(home, agents, store))
        except BaseException:
            self._end_loop()
            raise
        self._sessions = self._runtime.sessions

    async def _start(self, home: Path, agents: Sequence[Agent], store: str | None) -> Runtime:
        from roost.kernel.config import KernelConfig
        from roost.kernel.runtime import Runtime

        runtime = Runtime(home, agents=agents, store=store, config=KernelConfig(only=self._mine))
        await runtime.start()
        mask(runtime.vault.scrub)
        return runtime

    def agents(self) -> list[AgentRow]:
        return [row_of(agent) for agent in self._runtime.agents.all()]

    def create(
        self, agent: str, *, workspace: str | None = None, title: str | None = None, model: str | None = None
    ) -> SessionInfo:
        chosen = self._sessions.variant(agent, model=model)
        return self._do(self._sessions.create(chosen, workspace=workspace, title=title))

    def create_as(self, agent: Agent, *, workspace: str | None = None, title: str | None = None) -> SessionInfo:
        self._runtime.agents.add(agent)
        return self.create(agent.spec.name, workspace=workspace, title=title)

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
        query = SessionQuery(agent=agent, state=state, parent=parent, before=before, limit=limit)
        return self._do(self._sessions.find(query, turns=turns))

    def get(self, session: str) -> SessionInfo:
        return self._do(self._sessions.get(session))

    def inspect(self, session: str) -> SessionView:
        return self._do(self._sessions.inspect(session))

    def tree(self, session: str) -> list[SessionInfo]:
        return self._do(self._sessions.tree(session))

    def approvals(self, session: str) -> list[WaitingCall]:
        return self._do(self._sessions.approvals(session))

    def messages(self, session: str) -> list[Message]:
        return self._do(self._sessions.transcript(session))

    def events(self, session: str, *, after: int = 0, limit: int = 500) -> list[Record]:
        return self._do(self._sessions.history(session, after=after, limit=limit))

    def work_on(self, session: str) -> None:
        """Process this session and its descendants."""
        self._mine.update(info.id for info in self.tree(session))
        self._loop.call_soon_threadsafe(self._runtime.node.scan)

    def _take_up(self, session: str) -> bool:
        """Process the session if that starts no turn. Returns whether it does."""
        info = self.get(session)
        if idle := not info.pending and info.phase == "idle":
            self.work_on(session)
        return idle

    def send(self, session: str, content: Content, *, mode: InputMode = "follow_up", source: str | None = None) -> Sent:
        head = self.get(session).head
        accepted = self._do(self._sessions.send(session, content, mode=mode, source=source))
        return Sent(accepted.id, accepted.duplicate, head, self._do(self._sessions.waits_for(session)))

    def control(self, session: str, action: ControlAction) -> SessionInfo:
        """Apply a control action. A start is left to the node that owns the session. An end is done here when no other
        node does it, unless this process does not know the checks of the session's agent."""
        left = action in ("start", "resume") or self.inspect(session).unknown
        if left and session not in self._mine:
            return self._do(self._sessions.control(session, action, wait=0.5))
        self.work_on(session)
        return self._do(self._sessions.control(session, action))

    def compact(self, session: str) -> Compacted:
        self.work_on(session)
        return self._do(self._sessions.compact(session))

    def order(self, session: str, action: ControlAction) -> None:
        asyncio.run_coroutine_threadsafe(self._sessions.control(session, action, wait=0), self._loop)

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
        self._do(
            self._sessions.approve(
                session,
                call,
                decision,
                note=note,
                source="cli",
                arguments=arguments,
                always=always,
                scope=scope,
                asked=asked,
            )
        )

    def delete(self, session: str) -> None:
        self._do(self._sessions.delete(session))

    def costs(self, *, by: By | None = None, month: str | None = None) -> Costs:
        return self._do(self._runtime.costs(by=by, month=month))

    def settle_lost(self, call: str, cost: int) -> LostCall:
        return self._do(self._runtime.settle_lost(call, cost))

    def reconcile_costs(self, *, month: str | None = None, ours: bool = False) -> Reconciled:
        return self._do(self._runtime.reconcile_costs(month=month, ours=ours))

    @property
    def configuration(self) -> NodeConfiguration:
        from roost.cli.configuration import EmbeddedConfiguration

        return EmbeddedConfiguration(self._runtime, self._do, self._take_up)

    @property
    def memory(self) -> NodeMemory:
        from roost.cli.memory import EmbeddedMemory

        return EmbeddedMemory(self._runtime.memories, self._do)

    @property
    def travel(self) -> NodeTravel:
        from roost.cli.travel import EmbeddedTravel

        return EmbeddedTravel(self._sessions, self._do, self.work_on, self._mine)

    @property
    def schedules(self) -> NodeSchedules:
        from roost.cli.schedules import EmbeddedSchedules

        return EmbeddedSchedules(self._runtime.schedules, self._do, self._take_up)

    def export_session(self, session: str, out: IO[bytes], format: Format) -> Report:
        return self._taken(out, lambda path: self._runtime.export_session(session, path, format=format))

    def export_files(self, session: str, out: IO[bytes]) -> int:
        from roost.kernel.exchange.files_archive import take_files

        return self._taken(out, lambda path: take_files(self._runtime.node, session, path))

    def _taken(self, out: IO[bytes], take: Callable[[Path], Coroutine[Any, Any, T]]) -> T:
        with tempfile.TemporaryDirectory(prefix="roost-export-") as folder:
            path = Path(folder) / "taken"
            taken = self._do(take(path))
            with path.open("rb") as file:
                shutil.copyfileobj(file, out)
        return taken

    def import_session(self, path: Path, **options: Any) -> Brought:
        return self._do(self._runtime.import_session(path, **options))

    def subscribe(self, session: str, feed: EventQueue, *, after: int, deltas: bool = True) -> Callable[[], None]:
        task = self._do(self._begin_pump(session, feed, after, deltas))

        def stop() -> None:
            self._loop.call_soon_threadsafe(task.cancel)

        return stop

    def close(self, *, grace: float = 5.0) -> None:
        try:
            self._do(self._stop(grace))
        finally:
            self._end_loop()

    async def _stop(self, grace: float) -> None:
        for task in self._pumps:
            task.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await self._runtime.stop(grace=grace)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._loop.close()

    async def _begin_pump(self, session: str, feed: EventQueue, after: int, deltas: bool) -> asyncio.Task[None]:
        task = asyncio.create_task(self._pump(session, feed, after, deltas))
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)
        return task

    async def _pump(self, session: str, feed: EventQueue, after: int, deltas: bool) -> None:
        try:
            async for batch in self._sessions.stream(session, after=after, deltas=deltas):
                for frame in batch:
                    feed.put(frame)
                if feed.full:
                    await asyncio.to_thread(feed.wait_for_room)
            feed.put(Ended())
        except NotFound:
            feed.put(Ended())
        except RoostError as error:
            feed.put(error)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def row_of(agent: Agent) -> AgentRow:
    spec = agent.spec
    return AgentRow(spec.name, spec.description, spec.model, spec.tools, spec.permissions, spec.version, agent.checks)
