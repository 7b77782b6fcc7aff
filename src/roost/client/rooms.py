"""The interfaces of the API as attributes of `Client`.

Made by `python -m tools.sync_client`; do not edit.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roost.api.configuration import ConfigurationApi
    from roost.api.inputs import InputsApi
    from roost.api.models import ModelsApi
    from roost.api.node import NodeApi
    from roost.api.sessions import SessionsApi
    from roost.features.approvals.api import ApprovalsApi
    from roost.features.budgets.api import CostsApi
    from roost.features.checkpoints.api import CheckpointsApi
    from roost.features.compaction.api import CompactionApi
    from roost.features.exchange.api import ExchangeApi
    from roost.features.memory.api import MemoryApi
    from roost.features.schedules.api import SchedulesApi
    from roost.features.upgrades.api import UpgradesApi


class Rooms:
    """An attribute for each interface. `_room` makes its object."""

    def _room(self, module: str, name: str) -> Any:
        raise NotImplementedError

    @cached_property
    def approvals(self) -> ApprovalsApi:
        return self._room("roost.features.approvals.api", "ApprovalsApi")

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
    def costs(self) -> CostsApi:
        return self._room("roost.features.budgets.api", "CostsApi")

    @cached_property
    def exchange(self) -> ExchangeApi:
        return self._room("roost.features.exchange.api", "ExchangeApi")

    @cached_property
    def inputs(self) -> InputsApi:
        return self._room("roost.api.inputs", "InputsApi")

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
    def schedules(self) -> SchedulesApi:
        return self._room("roost.features.schedules.api", "SchedulesApi")

    @cached_property
    def sessions(self) -> SessionsApi:
        return self._room("roost.api.sessions", "SessionsApi")

    @cached_property
    def upgrades(self) -> UpgradesApi:
        return self._room("roost.features.upgrades.api", "UpgradesApi")
