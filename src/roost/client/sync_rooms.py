"""The interfaces of the API, for a client that blocks.

Made by `python -m tools.sync_client`; do not edit.
"""

# ruff: noqa: B006 - the defaults of the rows, never changed

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import msgspec

    from roost.agent.definition import AgentSpec
    from roost.api.configuration import Configuration, History
    from roost.api.models import ModelList
    from roost.api.node import AgentList, Draining, Health, Life, NodeList, Stopping
    from roost.api.session_contents import EventPage, Transcript
    from roost.api.sessions import SessionPage, SessionTree
    from roost.api.shapes import AcceptedInput
    from roost.features.approvals.api import WaitingCalls
    from roost.features.budgets.cost_report import By, Costs
    from roost.features.budgets.reconcile import Reconciled
    from roost.features.checkpoints.api import Checkpoints, FilesDiff, Travelled
    from roost.features.compaction.api import Compacted
    from roost.features.exchange.conversation_items import Brought, Format, Source
    from roost.features.memory.api import FactPage, SpaceList, Undone
    from roost.features.schedules.api import Ordered, Outbox, ScheduleList, ScheduleView
    from roost.kernel.settings import Reloaded, Revision, Value
    from roost.log.content import UserPart
    from roost.log.facts import Category, Fact, Purged
    from roost.log.ledger import LostCall
    from roost.log.schedule_events import ScheduleSpec
    from roost.log.session_info import ControlAction, Decision, GrantScope, InputMode, SessionInfo, SessionState
    from roost.log.session_views import SessionView
    from roost.memory.dedup import Learned
    from roost.memory.fact_history import FactStory
    from roost.memory.search import Found
    from roost.operation import Download
    from roost.policy.gate import Permissions

    class SyncApprovals(Protocol):
        """`roost.features.approvals.api.ApprovalsApi`."""

        def waiting(self, session: str) -> WaitingCalls: ...

        def answer(
            self,
            session: str,
            call: str,
            decision: Decision,
            *,
            note: str | None = None,
            arguments: dict[str, Any] | None = None,
            always: list[str] = [],
            scope: GrantScope | None = None,
            asked: int | None = None,
            source: str | None = None,
        ) -> AcceptedInput: ...

    class SyncCheckpoints(Protocol):
        """`roost.features.checkpoints.api.CheckpointsApi`."""

        def make(self, session: str, label: str | None = None, *, key: str | None = None) -> Travelled: ...

        def list(self, session: str) -> Checkpoints: ...

        def drop(self, session: str, checkpoint: int | str) -> Travelled: ...

        def diff(self, session: str, *, since: str | None = None, until: str | None = None) -> FilesDiff: ...

        def rollback(
            self,
            session: str,
            to: int | str | None = None,
            *,
            undo: bool = False,
            resume: bool = False,
            key: str | None = None,
        ) -> Travelled: ...

        def fork(
            self,
            session: str,
            at: int | str | None = None,
            *,
            id: str | None = None,
            title: str | None = None,
            labels: dict[str, str] | None = None,
            key: str | None = None,
        ) -> SessionInfo: ...

    class SyncCompaction(Protocol):
        """`roost.features.compaction.api.CompactionApi`."""

        def compact(self, session: str, *, key: str | None = None, wait: float | None = None) -> Compacted: ...

        def pin(self, session: str, key: str, text: str) -> AcceptedInput: ...

        def unpin(self, session: str, key: str) -> AcceptedInput: ...

    class SyncConfiguration(Protocol):
        """`roost.api.configuration.ConfigurationApi`."""

        def get(self) -> Configuration: ...

        def patch(self, values: dict[str, Value | None], *, by: str = "HTTP") -> Revision: ...

        def history(self, *, before: int | None = None, limit: int = 50) -> History: ...

        def reload(self) -> Reloaded: ...

    class SyncCosts(Protocol):
        """`roost.features.budgets.api.CostsApi`."""

        def get(self, *, by: By | None = None, month: str | None = None) -> Costs: ...

        def settle(self, call: str, cost: int) -> LostCall: ...

        def reconcile(self, *, month: str | None = None, ours: bool = False) -> Reconciled: ...

    class SyncExchange(Protocol):
        """`roost.features.exchange.api.ExchangeApi`."""

        def export(self, session: str, *, format: Format = "roost") -> Download[Iterator[bytes]]: ...

        def files(self, session: str) -> Download[Iterator[bytes]]: ...

        def load(
            self,
            content: Iterable[bytes],
            *,
            format: Source | None = None,
            id: str | None = None,
            agent: str | None = None,
            title: str | None = None,
            workspace: str | None = None,
            user: str | None = None,
            key: str | None = None,
        ) -> Brought: ...

    class SyncInputs(Protocol):
        """`roost.api.inputs.InputsApi`."""

        def send(
            self,
            session: str,
            text: str | None = None,
            *,
            parts: list[UserPart] | None = None,
            mode: InputMode = "follow_up",
            source: str | None = None,
            key: str | None = None,
        ) -> AcceptedInput: ...

        def emit(self, session: str, name: str, data: Any = None, *, key: str | None = None) -> AcceptedInput: ...

        def set_timer(
            self,
            session: str,
            timer: str,
            text: str,
            *,
            due: float | None = None,
            in_: float | None = None,
            key: str | None = None,
        ) -> AcceptedInput: ...

        def clear_timer(self, session: str, timer: str) -> AcceptedInput: ...

    class SyncMemory(Protocol):
        """`roost.features.memory.api.MemoryApi`."""

        def add(
            self,
            space: str,
            text: str,
            *,
            category: Category = "fact",
            key: str | None = None,
            confidence: float = 1.0,
            request_key: str | None = None,
        ) -> Learned: ...

        def list(
            self,
            *,
            space: str = "*",
            category: Category | None = None,
            key: str | None = None,
            at: int | None = None,
            ended: bool = False,
            proposed: bool = False,
            before: str | None = None,
            limit: int = 100,
        ) -> FactPage: ...

        def get(self, fact: str) -> FactStory: ...

        def update(
            self, fact: str, text: str, *, category: Category | None = None, confidence: float | None = None
        ) -> Fact: ...

        def remove(self, fact: str) -> Fact: ...

        def accept(self, fact: str, *, text: str | None = None) -> Fact: ...

        def reject(self, fact: str) -> Fact: ...

        def retrieve(self, query: str, *, space: str = "*", limit: int = 10) -> Found: ...

        def spaces(self, *, space: str = "*") -> SpaceList: ...

        def undo(self, session: str, since: int, until: int | None = None) -> Undone: ...

        def purge(self, facts: list[str] = [], *, space: str = "*") -> Purged: ...

    class SyncModels(Protocol):
        """`roost.api.models.ModelsApi`."""

        def list(self) -> ModelList: ...

        def use_profile(self, profile: str) -> None: ...

    class SyncNode(Protocol):
        """`roost.api.node.NodeApi`."""

        def live(self) -> Life: ...

        def nodes(self) -> NodeList: ...

        def drain(self, *, grace: float = 30.0) -> Draining: ...

        def health(self) -> Health: ...

        def agents(self) -> AgentList: ...

        def shutdown(self) -> Stopping: ...

    class SyncSchedules(Protocol):
        """`roost.features.schedules.api.SchedulesApi`."""

        def list(self, *, after: str = "", limit: int = 100) -> ScheduleList: ...

        def of(self, session: str) -> ScheduleList: ...

        def get(self, session: str, name: str) -> ScheduleView: ...

        def set(
            self, session: str, name: str, spec: ScheduleSpec, *, key: str | None = None, wait: float | None = None
        ) -> ScheduleView | Ordered: ...

        def delete(self, session: str, name: str, *, wait: float | None = None) -> Ordered: ...

        def pause(
            self, session: str, name: str, *, key: str | None = None, wait: float | None = None
        ) -> ScheduleView | Ordered: ...

        def resume(
            self, session: str, name: str, *, key: str | None = None, wait: float | None = None
        ) -> ScheduleView | Ordered: ...

        def run(self, session: str, name: str, *, key: str | None = None) -> AcceptedInput: ...

        def outbox(self, session: str, *, after: int = 0, limit: int = 100) -> Outbox: ...

    class SyncSessions(Protocol):
        """`roost.api.sessions.SessionsApi`."""

        def create(
            self,
            agent: str,
            *,
            model: str | None = None,
            definition: AgentSpec | None = None,
            id: str | None = None,
            workspace: str | None = None,
            title: str | None = None,
            labels: dict[str, str] | None = None,
            key: str | None = None,
        ) -> SessionInfo: ...

        def find(
            self,
            *,
            agent: str | None = None,
            state: SessionState | None = None,
            parent: str | None = None,
            label: str | None = None,
            before: str | None = None,
            limit: int = 50,
            turns: bool = False,
        ) -> SessionPage: ...

        def inspect(self, session: str) -> SessionView: ...

        def delete(self, session: str) -> None: ...

        def messages(self, session: str) -> Transcript: ...

        def events(self, session: str, *, after: int = 0, limit: int = 500) -> EventPage[msgspec.Raw]: ...

        def tree(self, session: str) -> SessionTree: ...

        def control(
            self, session: str, action: ControlAction, *, key: str | None = None, wait: float | None = None
        ) -> SessionInfo: ...

    class SyncUpgrades(Protocol):
        """`roost.features.upgrades.api.UpgradesApi`."""

        def move(
            self, session: str, *, model: str | None = None, by: str = "HTTP", key: str | None = None
        ) -> SessionInfo: ...

        def adjust(
            self,
            session: str,
            *,
            model: str | None = None,
            permissions: Permissions | None = None,
            by: str = "HTTP",
            key: str | None = None,
        ) -> SessionInfo: ...


class SyncRooms:
    """An attribute for each interface. `_room` makes its object."""

    def _room(self, module: str, name: str) -> Any:
        raise NotImplementedError

    @cached_property
    def approvals(self) -> SyncApprovals:
        return self._room("roost.features.approvals.api", "ApprovalsApi")

    @cached_property
    def checkpoints(self) -> SyncCheckpoints:
        return self._room("roost.features.checkpoints.api", "CheckpointsApi")

    @cached_property
    def compaction(self) -> SyncCompaction:
        return self._room("roost.features.compaction.api", "CompactionApi")

    @cached_property
    def configuration(self) -> SyncConfiguration:
        return self._room("roost.api.configuration", "ConfigurationApi")

    @cached_property
    def costs(self) -> SyncCosts:
        return self._room("roost.features.budgets.api", "CostsApi")

    @cached_property
    def exchange(self) -> SyncExchange:
        return self._room("roost.features.exchange.api", "ExchangeApi")

    @cached_property
    def inputs(self) -> SyncInputs:
        return self._room("roost.api.inputs", "InputsApi")

    @cached_property
    def memory(self) -> SyncMemory:
        return self._room("roost.features.memory.api", "MemoryApi")

    @cached_property
    def models(self) -> SyncModels:
        return self._room("roost.api.models", "ModelsApi")

    @cached_property
    def node(self) -> SyncNode:
        return self._room("roost.api.node", "NodeApi")

    @cached_property
    def schedules(self) -> SyncSchedules:
        return self._room("roost.features.schedules.api", "SchedulesApi")

    @cached_property
    def sessions(self) -> SyncSessions:
        return self._room("roost.api.sessions", "SessionsApi")

    @cached_property
    def upgrades(self) -> SyncUpgrades:
        return self._room("roost.features.upgrades.api", "UpgradesApi")
