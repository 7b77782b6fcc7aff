"""The services of features as attributes of `Runtime`.

Made by `python -m tools.sync_client`; do not edit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roost.features.approvals.service import ApprovalService
    from roost.features.budgets.service import CostService
    from roost.features.checkpoints.service import CheckpointService
    from roost.features.compaction.service import CompactionService
    from roost.features.exchange.service import ExchangeService
    from roost.features.memory.service import Memory
    from roost.features.schedules.service import Schedules
    from roost.features.upgrades.service import UpgradesService


class RuntimeServices:
    """An attribute for each service. `_service` makes its object."""

    def _service(self, module: str) -> Any:
        raise NotImplementedError

    @property
    def approvals(self) -> ApprovalService:
        return self._service("roost.features.approvals.service")

    @property
    def checkpoints(self) -> CheckpointService:
        return self._service("roost.features.checkpoints.service")

    @property
    def compaction(self) -> CompactionService:
        return self._service("roost.features.compaction.service")

    @property
    def costs(self) -> CostService:
        return self._service("roost.features.budgets.service")

    @property
    def exchange(self) -> ExchangeService:
        return self._service("roost.features.exchange.service")

    @property
    def memory(self) -> Memory:
        return self._service("roost.features.memory.service")

    @property
    def schedules(self) -> Schedules:
        return self._service("roost.features.schedules.service")

    @property
    def upgrades(self) -> UpgradesService:
        return self._service("roost.features.upgrades.service")
