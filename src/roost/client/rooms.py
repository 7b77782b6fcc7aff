"""The interfaces of the API as attributes of `Client`.

Made by `python -m tools.sync_client`; do not edit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roost.api.configuration import ConfigurationApi
    from roost.api.inputs import InputsApi
    from roost.api.models import ModelsApi
    from roost.api.node import NodeApi
    from roost.api.policy import PolicyApi
    from roost.api.sessions import SessionsApi
    from roost.features.accounts.api import AccountsApi
    from roost.features.approvals.api import ApprovalsApi
    from roost.features.bots.api import BotsApi
    from roost.features.budgets.api import CostsApi
    from roost.features.checkpoints.api import CheckpointsApi
    from roost.features.compaction.api import CompactionApi
    from roost.features.console.api import ConsoleApi
    from roost.features.definitions.api import DefinitionsApi
    from roost.features.delegation.api import DelegationApi
    from roost.features.editor.api import EditorApi
    from roost.features.exchange.api import ExchangeApi
    from roost.features.files.api import FilesApi
    from roost.features.mcp.api import McpApi
    from roost.features.memory.api import MemoryApi
    from roost.features.openapi.api import OpenapiApi
    from roost.features.outcomes.api import OutcomesApi
    from roost.features.packages.api import PackagesApi
    from roost.features.replay.api import ReplaysApi
    from roost.features.rules.api import RulesApi
    from roost.features.sandboxes.api import SandboxApi
    from roost.features.schedules.api import SchedulesApi
    from roost.features.skills.api import SkillsApi
    from roost.features.system_calls.api import CallsApi
    from roost.features.terminals.api import TerminalsApi
    from roost.features.upgrades.api import UpgradesApi


class Rooms(ABC):
    """An attribute for each interface. `_room` makes its object."""

    @abstractmethod
    def _room(self, module: str, name: str) -> Any: ...

    @cached_property
    def accounts(self) -> AccountsApi:
        return self._room("roost.features.accounts.api", "AccountsApi")

    @cached_property
    def approvals(self) -> ApprovalsApi:
        return self._room("roost.features.approvals.api", "ApprovalsApi")

    @cached_property
    def bots(self) -> BotsApi:
        return self._room("roost.features.bots.api", "BotsApi")

    @cached_property
    def calls(self) -> CallsApi:
        return self._room("roost.features.system_calls.api", "CallsApi")

    @cached_property
    def checkpoints(self) -> CheckpointsApi:
        return self._room("roost.features.checkpoints.api", "CheckpointsApi")

    @cached_property
    def compaction(self) -> CompactionApi:
        return self._room("roost.features.compaction.api", "CompactionApi")

    @cached_property
    def configuration(self) -> ConfigurationApi:
        return self._room("roost.api.configuration", "ConfigurationApi")

    @cached_property
    def console(self) -> ConsoleApi:
        return self._room("roost.features.console.api", "ConsoleApi")

    @cached_property
    def costs(self) -> CostsApi:
        return self._room("roost.features.budgets.api", "CostsApi")

    @cached_property
    def definitions(self) -> DefinitionsApi:
        return self._room("roost.features.definitions.api", "DefinitionsApi")

    @cached_property
    def delegation(self) -> DelegationApi:
        return self._room("roost.features.delegation.api", "DelegationApi")

    @cached_property
    def editor(self) -> EditorApi:
        return self._room("roost.features.editor.api", "EditorApi")

    @cached_property
    def exchange(self) -> ExchangeApi:
        return self._room("roost.features.exchange.api", "ExchangeApi")

    @cached_property
    def files(self) -> FilesApi:
        return self._room("roost.features.files.api", "FilesApi")

    @cached_property
    def inputs(self) -> InputsApi:
        return self._room("roost.api.inputs", "InputsApi")

    @cached_property
    def mcp(self) -> McpApi:
        return self._room("roost.features.mcp.api", "McpApi")

    @cached_property
    def memory(self) -> MemoryApi:
        return self._room("roost.features.memory.api", "MemoryApi")

    @cached_property
    def models(self) -> ModelsApi:
        return self._room("roost.api.models", "ModelsApi")

    @cached_property
    def node(self) -> NodeApi:
        return self._room("roost.api.node", "NodeApi")

    @cached_property
    def openapi(self) -> OpenapiApi:
        return self._room("roost.features.openapi.api", "OpenapiApi")

    @cached_property
    def outcomes(self) -> OutcomesApi:
        return self._room("roost.features.outcomes.api", "OutcomesApi")

    @cached_property
    def packages(self) -> PackagesApi:
        return self._room("roost.features.packages.api", "PackagesApi")

    @cached_property
    def policy(self) -> PolicyApi:
        return self._room("roost.api.policy", "PolicyApi")

    @cached_property
    def replays(self) -> ReplaysApi:
        return self._room("roost.features.replay.api", "ReplaysApi")

    @cached_property
    def rules(self) -> RulesApi:
        return self._room("roost.features.rules.api", "RulesApi")

    @cached_property
    def sandbox(self) -> SandboxApi:
        return self._room("roost.features.sandboxes.api", "SandboxApi")

    @cached_property
    def schedules(self) -> SchedulesApi:
        return self._room("roost.features.schedules.api", "SchedulesApi")

    @cached_property
    def sessions(self) -> SessionsApi:
        return self._room("roost.api.sessions", "SessionsApi")

    @cached_property
    def skills(self) -> SkillsApi:
        return self._room("roost.features.skills.api", "SkillsApi")

    @cached_property
    def terminals(self) -> TerminalsApi:
        return self._room("roost.features.terminals.api", "TerminalsApi")

    @cached_property
    def upgrades(self) -> UpgradesApi:
        return self._room("roost.features.upgrades.api", "UpgradesApi")
