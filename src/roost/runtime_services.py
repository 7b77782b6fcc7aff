"""The services of features as attributes of `Runtime`.

Made by `python -m tools.sync_client`; do not edit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roost.features.accounts.service import AccountService
    from roost.features.approvals.service import ApprovalService
    from roost.features.bots.service import BotService
    from roost.features.budgets.service import CostService
    from roost.features.checkpoints.service import CheckpointService
    from roost.features.compaction.service import CompactionService
    from roost.features.console.service import ConsoleService
    from roost.features.definitions.service import DefinitionService
    from roost.features.delegation.service import DelegationService
    from roost.features.editor.service import EditorService
    from roost.features.exchange.service import ExchangeService
    from roost.features.files.service import FilesService
    from roost.features.mcp.service import Mcp
    from roost.features.memory.service import Memory
    from roost.features.openapi.service import OpenapiService
    from roost.features.outcomes.service import OutcomeService
    from roost.features.packages.service import Packages
    from roost.features.replay.service import ReplayService
    from roost.features.rules.service import RulesService
    from roost.features.sandboxes.service import Sandbox
    from roost.features.schedules.service import Schedules
    from roost.features.skills.service import Skills
    from roost.features.system_calls.service import SystemCallsService
    from roost.features.terminals.service import Terminals
    from roost.features.upgrades.service import UpgradesService


class RuntimeServices(ABC):
    """An attribute for each service. `_service` makes its object."""

    @abstractmethod
    def _service(self, module: str) -> Any: ...

    @property
    def accounts(self) -> AccountService:
        return self._service("roost.features.accounts.service")

    @property
    def approvals(self) -> ApprovalService:
        return self._service("roost.features.approvals.service")

    @property
    def bots(self) -> BotService:
        return self._service("roost.features.bots.service")

    @property
    def calls(self) -> SystemCallsService:
        return self._service("roost.features.system_calls.service")

    @property
    def checkpoints(self) -> CheckpointService:
        return self._service("roost.features.checkpoints.service")

    @property
    def compaction(self) -> CompactionService:
        return self._service("roost.features.compaction.service")

    @property
    def console(self) -> ConsoleService:
        return self._service("roost.features.console.service")

    @property
    def costs(self) -> CostService:
        return self._service("roost.features.budgets.service")

    @property
    def definitions(self) -> DefinitionService:
        return self._service("roost.features.definitions.service")

    @property
    def delegation(self) -> DelegationService:
        return self._service("roost.features.delegation.service")

    @property
    def editor(self) -> EditorService:
        return self._service("roost.features.editor.service")

    @property
    def exchange(self) -> ExchangeService:
        return self._service("roost.features.exchange.service")

    @property
    def files(self) -> FilesService:
        return self._service("roost.features.files.service")

    @property
    def mcp(self) -> Mcp:
        return self._service("roost.features.mcp.service")

    @property
    def memory(self) -> Memory:
        return self._service("roost.features.memory.service")

    @property
    def openapi(self) -> OpenapiService:
        return self._service("roost.features.openapi.service")

    @property
    def outcomes(self) -> OutcomeService:
        return self._service("roost.features.outcomes.service")

    @property
    def packages(self) -> Packages:
        return self._service("roost.features.packages.service")

    @property
    def replays(self) -> ReplayService:
        return self._service("roost.features.replay.service")

    @property
    def rules(self) -> RulesService:
        return self._service("roost.features.rules.service")

    @property
    def sandbox(self) -> Sandbox:
        return self._service("roost.features.sandboxes.service")

    @property
    def schedules(self) -> Schedules:
        return self._service("roost.features.schedules.service")

    @property
    def skills(self) -> Skills:
        return self._service("roost.features.skills.service")

    @property
    def terminals(self) -> Terminals:
        return self._service("roost.features.terminals.service")

    @property
    def upgrades(self) -> UpgradesService:
        return self._service("roost.features.upgrades.service")
