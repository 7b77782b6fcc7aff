"""The costs of model calls."""

from __future__ import annotations

from roost.api.costs import CostsApi
from roost.kernel.costs import By, Costs
from roost.kernel.reconcile import Reconciled
from roost.log.ledger import LostCall
from roost.runtime import Runtime


class CostService(CostsApi):
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def get(self, *, by: By | None = None, month: str | None = None) -> Costs:
        return await self._runtime.costs(by=by, month=month)

    async def settle(self, call: str, cost: int) -> LostCall:
        return await self._runtime.settle_lost(call, cost)

    async def reconcile(self, *, month: str | None = None, ours: bool = False) -> Reconciled:
        return await self._runtime.reconcile_costs(month=month, ours=ours)
