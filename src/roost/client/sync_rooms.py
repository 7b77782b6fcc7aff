"""The interfaces of the API, for a client that blocks.

Made by `python -m tools.sync_client`; do not edit.
"""

# ruff: noqa: B006 - the defaults of the rows, never changed

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import msgspec

    from roost.agent.definition import AgentSpec
    from roost.api.configuration import Configuration, History
    from roost.api.models import ModelList
    from roost.api.node import AgentList, Draining, Health, Life, NodeList, Stopping
    from roost.api.policy import Decided
    from roost.api.session_contents import EventPage, Transcript
    from roost.api.sessions import SessionPage
    from roost.api.shapes import AcceptedInput
    from roost.authority import Role
    from roost.features.accounts.api import (
        AccountList,
        AccountView,
        AuditPage,
        Caller,
        IssuerList,
        IssuerView,
        MadeToken,
        TokenList,
        TokenView,
    )
    from roost.features.accounts.records import Globs
    from roost.features.approvals.api import WaitingCalls
    from roost.features.bots.api import (
        BotList,
        ChatList,
        Forgotten,
        LetterList,
        LetterView,
        MessageFile,
        SenderList,
        SenderView,
    )
    from roost.features.budgets.cost_report import By, Costs
    from roost.features.budgets.reconcile import Reconciled
    from roost.features.checkpoints.api import Checkpoints, FilesDiff, Travelled
    from roost.features.checkpoints.file_versions import FileHistory
    from roost.features.compaction.api import Compacted
    from roost.features.console.api import SignInCode
    from roost.features.definitions.api import Checked, DefinitionList, DefinitionView
    from roost.features.delegation.api import SessionTree
    from roost.features.exchange.conversation_items import Brought, Format, Source
    from roost.features.files.api import (
        FileChanged,
        FileDigest,
        FileEntries,
        FileShare,
        FileShares,
        FileSpace,
        FileSpaces,
    )
    from roost.features.files.protocols import FoundFiles, How, IndexStatus
    from roost.features.mcp.api import Removed, ServerEntry, ServerList, ServerTools, SignIn
    from roost.features.memory.api import FactPage, SpaceList, Undone
    from roost.features.openapi.api import ApiViews
    from roost.features.outcomes.api import OutcomeView
    from roost.features.outcomes.goal import Goal
    from roost.features.packages.api import PackageList, PackageView
    from roost.features.replay.api import Replayed
    from roost.features.replay.modes import Compare, Tools
    from roost.features.rules.api import RuleList, RuleView
    from roost.features.sandboxes.api import SandboxOrder, SandboxView
    from roost.features.schedules.api import Ordered, Outbox, ScheduleList, ScheduleView
    from roost.features.skills.api import AcceptedSkill, AcceptedSkills, SkillList
    from roost.features.system_calls.api import CallView
    from roost.features.terminals.api import TerminalList, TerminalRecording, TerminalScreen, TerminalView
    from roost.kernel.settings import Reloaded, Revision, Value
    from roost.log.content import ResultPart, UserPart
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

    class SyncAccounts(Protocol):
        """`roost.features.accounts.api.AccountsApi`."""

        def me(self) -> Caller: ...

        def list(self, *, after: str = "", limit: int = 100) -> AccountList: ...

        def get(self, account: str) -> AccountView: ...

        def put(
            self,
            account: str,
            *,
            role: Role | None = None,
            agents: Globs | None = None,
            enabled: bool | None = None,
            rate: int | None = None,
            concurrent: int | None = None,
            sessions: int | None = None,
            budget: float | None = None,
            subject: str | None = None,
            note: str | None = None,
            unlimited: list[str] = [],
            new: bool = False,
        ) -> AccountView: ...

        def remove(self, account: str) -> None: ...

        def make_token(
            self,
            account: str,
            *,
            name: str = "",
            role: Role | None = None,
            agents: Globs = ("*",),
            days: float | None = None,
        ) -> MadeToken: ...

        def tokens(self, *, account: str | None = None, after: str = "", limit: int = 100) -> TokenList: ...

        def revoke(self, token: str) -> TokenView: ...

        def issuers(self) -> IssuerList: ...

        def trust(
            self,
            name: str,
            issuer: str,
            audience: str,
            *,
            algorithms: tuple[str, ...] = ("RS256", "ES256"),
            keys: str | None = None,
        ) -> IssuerView: ...

        def distrust(self, name: str) -> None: ...

        def audit(self, *, account: str | None = None, before: str | None = None, limit: int = 100) -> AuditPage: ...

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

    class SyncBots(Protocol):
        """`roost.features.bots.api.BotsApi`."""

        def list(self) -> BotList: ...

        def chats(self, bot: str) -> ChatList: ...

        def senders(self, bot: str) -> SenderList: ...

        def pair(self, bot: str, code: str) -> SenderView: ...

        def unpair(self, bot: str, sender: str) -> Forgotten: ...

        def send(
            self,
            bot: str,
            text: str = "",
            *,
            to: str = "",
            files: list[MessageFile] | None = None,
            key: str | None = None,
        ) -> LetterView: ...

        def letters(self, bot: str) -> LetterList: ...

        def retry(self, bot: str, letter: str) -> LetterView: ...

        def discard(self, bot: str, letter: str) -> Forgotten: ...

    class SyncCalls(Protocol):
        """`roost.features.system_calls.api.CallsApi`."""

        def call(
            self,
            session: str,
            tool: str,
            arguments: dict[str, Any] | None = None,
            *,
            caller: str = "",
            key: str | None = None,
            wait: float | None = None,
        ) -> CallView: ...

        def get(self, session: str, input: str) -> CallView: ...

    class SyncCheckpoints(Protocol):
        """`roost.features.checkpoints.api.CheckpointsApi`."""

        def make(self, session: str, label: str | None = None, *, key: str | None = None) -> Travelled: ...

        def list(self, session: str) -> Checkpoints: ...

        def drop(self, session: str, checkpoint: int | str) -> Travelled: ...

        def diff(
            self, session: str, *, since: str | None = None, until: str | None = None, path: str | None = None
        ) -> FilesDiff: ...

        def history(self, session: str, path: str, *, before: int | None = None, limit: int = 50) -> FileHistory: ...

        def file(self, session: str, path: str, *, at: str | None = None) -> Download[Iterator[bytes]]: ...

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

    class SyncConsole(Protocol):
        """`roost.features.console.api.ConsoleApi`."""

        def code(self) -> SignInCode: ...

    class SyncCosts(Protocol):
        """`roost.features.budgets.api.CostsApi`."""

        def get(self, *, by: By | None = None, month: str | None = None) -> Costs: ...

        def settle(self, call: str, cost: int) -> LostCall: ...

        def reconcile(self, *, month: str | None = None, ours: bool = False) -> Reconciled: ...

    class SyncDefinitions(Protocol):
        """`roost.features.definitions.api.DefinitionsApi`."""

        def list(self, *, after: str = "", limit: int = 100) -> DefinitionList: ...

        def get(self, name: str) -> DefinitionView: ...

        def check(self, definition: dict[str, Any]) -> Checked: ...

        def put(self, name: str, definition: dict[str, Any], *, kept: int | None = None) -> DefinitionView: ...

    class SyncDelegation(Protocol):
        """`roost.features.delegation.api.DelegationApi`."""

        def tree(self, session: str) -> SessionTree: ...

    class SyncEditor(Protocol):
        """`roost.features.editor.api.EditorApi`."""

        def attach(
            self, session: str, editor: str, *, reads: bool = False, writes: bool = False, terminals: bool = False
        ) -> AcceptedInput: ...

        def detach(self, session: str, editor: str) -> AcceptedInput: ...

        def take(self, session: str, editor: str, call: str) -> AcceptedInput: ...

        def result(
            self,
            session: str,
            editor: str,
            call: str,
            *,
            parts: list[ResultPart] = [],
            error: bool = False,
            passed: str | None = None,
            seen: dict[str, str] = {},
            exit: int | None = None,
        ) -> AcceptedInput: ...

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

    class SyncFiles(Protocol):
        """`roost.features.files.api.FilesApi`."""

        def search(
            self, where: str, query: str, *, path: str = "", how: How = "hybrid", limit: int = 10
        ) -> FoundFiles: ...

        def list(self, where: str, *, path: str = "", after: str = "", limit: int = 500) -> FileEntries: ...

        def read(self, where: str, path: str) -> Download[Iterator[bytes]]: ...

        def write(
            self, where: str, path: str, content: Iterable[bytes], *, digest: str | None = None
        ) -> FileChanged: ...

        def digest(self, where: str, path: str) -> FileDigest: ...

        def restore(self, session: str, path: str, to: int | str, *, key: str | None = None) -> FileChanged: ...

        def index(self, where: str) -> IndexStatus: ...

        def rebuild(self, where: str) -> IndexStatus: ...

        def share(self, where: str, path: str, *, seconds: float = 86400.0, key: str | None = None) -> FileShare: ...

        def shares(self, *, after: str = "", limit: int = 100) -> FileShares: ...

        def unshare(self, share: str) -> FileShare: ...

        def add_space(self, name: str, folder: str, *, account: str = "", writable: bool = False) -> FileSpace: ...

        def spaces(self) -> FileSpaces: ...

        def remove_space(self, name: str) -> FileSpace: ...

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

    class SyncMcp(Protocol):
        """`roost.features.mcp.api.McpApi`."""

        def list(self, *, folder: str | None = None) -> ServerList: ...

        def add(self, name: str, server: dict[str, Any]) -> ServerEntry: ...

        def remove(self, name: str) -> Removed: ...

        def tools(self, name: str) -> ServerTools: ...

        def accept(self, name: str, folder: str) -> ServerEntry: ...

        def login(self, name: str, redirect: str) -> SignIn: ...

        def finish_login(self, name: str, returned: str) -> ServerEntry: ...

        def add_to_session(self, session: str, name: str, server: dict[str, Any]) -> AcceptedInput: ...

        def remove_from_session(self, session: str, name: str) -> AcceptedInput: ...

        def accept_tools(self, session: str, name: str) -> AcceptedInput: ...

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

    class SyncOpenapi(Protocol):
        """`roost.features.openapi.api.OpenapiApi`."""

        def list(self, session: str) -> ApiViews: ...

        def accept(self, session: str, api: str, digest: str, *, by: str = "HTTP") -> AcceptedInput: ...

    class SyncOutcomes(Protocol):
        """`roost.features.outcomes.api.OutcomesApi`."""

        def define(self, session: str, goal: Goal, *, key: str | None = None) -> OutcomeView: ...

        def get(self, session: str) -> OutcomeView: ...

        def withdraw(self, session: str) -> OutcomeView: ...

    class SyncPackages(Protocol):
        """`roost.features.packages.api.PackagesApi`."""

        def list(self) -> PackageList: ...

        def get(self, name: str) -> PackageView: ...

        def install(self, content: Iterable[bytes], *, source: str = "", named: str = "") -> PackageView: ...

        def accept(self, name: str, digest: str) -> PackageView: ...

        def reject(self, name: str) -> None: ...

        def uninstall(self, name: str) -> None: ...

    class SyncPolicy(Protocol):
        """`roost.api.policy.PolicyApi`."""

        def check(
            self,
            *,
            agent: str = "assistant",
            command: str | None = None,
            path: str | None = None,
            tool: str | None = None,
            workspace: str | None = None,
            walled: bool = False,
        ) -> Decided: ...

    class SyncReplays(Protocol):
        """`roost.features.replay.api.ReplaysApi`."""

        def run(
            self,
            session: str,
            *,
            tools: Tools = "recorded",
            model: str | None = None,
            agent: str | None = None,
            prompt: str | None = None,
            compare: Compare | None = None,
            network: bool = False,
            folder: str | None = None,
            files: list[str] | None = None,
        ) -> Replayed: ...

        def log(
            self,
            log: str,
            *,
            tools: Tools = "recorded",
            model: str | None = None,
            agent: str | None = None,
            prompt: str | None = None,
            compare: Compare | None = None,
            network: bool = False,
            folder: str | None = None,
            files: list[str] | None = None,
        ) -> Replayed: ...

    class SyncRules(Protocol):
        """`roost.features.rules.api.RulesApi`."""

        def list(self, *, revoked: bool = False, after: str = "", limit: int = 100) -> RuleList: ...

        def of(self, session: str) -> RuleList: ...

        def revoke(self, rule: str) -> RuleView: ...

        def revoke_in(self, session: str, rule: str, *, wait: float | None = None) -> RuleView: ...

    class SyncSandbox(Protocol):
        """`roost.features.sandboxes.api.SandboxApi`."""

        def status(self, session: str) -> SandboxView: ...

        def exec(
            self,
            session: str,
            command: list[str],
            *,
            seconds: float = 60.0,
            key: str | None = None,
            wait: float | None = None,
        ) -> SandboxOrder: ...

        def control(
            self,
            session: str,
            action: Literal["start", "stop", "suspend", "resume"],
            *,
            key: str | None = None,
            wait: float | None = None,
        ) -> SandboxOrder: ...

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

        def control(
            self,
            session: str,
            action: ControlAction,
            *,
            input: int | None = None,
            key: str | None = None,
            wait: float | None = None,
        ) -> SessionInfo: ...

    class SyncSkills(Protocol):
        """`roost.features.skills.api.SkillsApi`."""

        def list(self, session: str) -> SkillList: ...

        def choose(self, session: str, names: list[str] | None) -> AcceptedInput: ...

        def accepted(self) -> AcceptedSkills: ...

        def accept(self, session: str, name: str, digest: str) -> AcceptedSkill: ...

        def withdraw(self, digest: str) -> None: ...

    class SyncTerminals(Protocol):
        """`roost.features.terminals.api.TerminalsApi`."""

        def list(self, session: str) -> TerminalList: ...

        def open(
            self,
            session: str,
            *,
            command: list[str] | None = None,
            columns: int = 80,
            rows: int = 24,
            name: str | None = None,
            idle: float = 3600.0,
            key: str | None = None,
        ) -> TerminalView: ...

        def get(self, session: str, terminal: str) -> TerminalView: ...

        def screen(self, session: str, terminal: str, *, scrollback: int = 0) -> TerminalScreen: ...

        def recording(self, session: str, terminal: str) -> TerminalRecording: ...

        def type(
            self,
            session: str,
            terminal: str,
            *,
            text: str | None = None,
            base64: str | None = None,
            name: str | None = None,
        ) -> TerminalView: ...

        def resize(self, session: str, terminal: str, columns: int, rows: int) -> TerminalView: ...

        def keyboard(
            self,
            session: str,
            terminal: str,
            action: Literal["take", "release"],
            *,
            force: bool = False,
            name: str | None = None,
        ) -> TerminalView: ...

        def end(self, session: str, terminal: str) -> None: ...

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


class SyncRooms(ABC):
    """An attribute for each interface. `_room` makes its object."""

    @abstractmethod
    def _room(self, module: str, name: str) -> Any: ...

    @cached_property
    def accounts(self) -> SyncAccounts:
        return self._room("roost.features.accounts.api", "AccountsApi")

    @cached_property
    def approvals(self) -> SyncApprovals:
        return self._room("roost.features.approvals.api", "ApprovalsApi")

    @cached_property
    def bots(self) -> SyncBots:
        return self._room("roost.features.bots.api", "BotsApi")

    @cached_property
    def calls(self) -> SyncCalls:
        return self._room("roost.features.system_calls.api", "CallsApi")

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
    def console(self) -> SyncConsole:
        return self._room("roost.features.console.api", "ConsoleApi")

    @cached_property
    def costs(self) -> SyncCosts:
        return self._room("roost.features.budgets.api", "CostsApi")

    @cached_property
    def definitions(self) -> SyncDefinitions:
        return self._room("roost.features.definitions.api", "DefinitionsApi")

    @cached_property
    def delegation(self) -> SyncDelegation:
        return self._room("roost.features.delegation.api", "DelegationApi")

    @cached_property
    def editor(self) -> SyncEditor:
        return self._room("roost.features.editor.api", "EditorApi")

    @cached_property
    def exchange(self) -> SyncExchange:
        return self._room("roost.features.exchange.api", "ExchangeApi")

    @cached_property
    def files(self) -> SyncFiles:
        return self._room("roost.features.files.api", "FilesApi")

    @cached_property
    def inputs(self) -> SyncInputs:
        return self._room("roost.api.inputs", "InputsApi")

    @cached_property
    def mcp(self) -> SyncMcp:
        return self._room("roost.features.mcp.api", "McpApi")

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
    def openapi(self) -> SyncOpenapi:
        return self._room("roost.features.openapi.api", "OpenapiApi")

    @cached_property
    def outcomes(self) -> SyncOutcomes:
        return self._room("roost.features.outcomes.api", "OutcomesApi")

    @cached_property
    def packages(self) -> SyncPackages:
        return self._room("roost.features.packages.api", "PackagesApi")

    @cached_property
    def policy(self) -> SyncPolicy:
        return self._room("roost.api.policy", "PolicyApi")

    @cached_property
    def replays(self) -> SyncReplays:
        return self._room("roost.features.replay.api", "ReplaysApi")

    @cached_property
    def rules(self) -> SyncRules:
        return self._room("roost.features.rules.api", "RulesApi")

    @cached_property
    def sandbox(self) -> SyncSandbox:
        return self._room("roost.features.sandboxes.api", "SandboxApi")

    @cached_property
    def schedules(self) -> SyncSchedules:
        return self._room("roost.features.schedules.api", "SchedulesApi")

    @cached_property
    def sessions(self) -> SyncSessions:
        return self._room("roost.api.sessions", "SessionsApi")

    @cached_property
    def skills(self) -> SyncSkills:
        return self._room("roost.features.skills.api", "SkillsApi")

    @cached_property
    def terminals(self) -> SyncTerminals:
        return self._room("roost.features.terminals.api", "TerminalsApi")

    @cached_property
    def upgrades(self) -> SyncUpgrades:
        return self._room("roost.features.upgrades.api", "UpgradesApi")
