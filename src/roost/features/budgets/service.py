"""The costs of model calls, from a running node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from roost.authority import current
from roost.errors import RoostError
from roost.features.budgets.api import CostsApi
from roost.features.budgets.cost_report import By, Costs, costs, own_costs
from roost.kernel.service_host import ServiceHost
from roost.log.ledger import LostCall
from roost.models.profile import Price

if TYPE_CHECKING:
    from roost.features.budgets.reconcile import Reconciled


class CostService(CostsApi):
    def __init__(self, host: ServiceHost) -> None:
        self._node = host.node

    async def get(self, *, by: By | None = None, month: str | None = None) -> Costs:
        """Return the costs of a month (`2026-11`; None: the current one), with `by` grouped by purpose."""
        await self._node.duties.charge_dead()
        pool = self._node.model_pool
        found = await costs(self._node.tenants, pool.ledger, self._price, by=by, month=month)
        if (who := current()).confined:
            found = own_costs(found, who, await pool.ledger.account_limit(who.account or ""))
        unit = msgspec.structs.replace(found.month.unit, of=pool.rate_of())
        return msgspec.structs.replace(found, month=msgspec.structs.replace(found.month, unit=unit))

    async def settle(self, call: str, cost: int) -> LostCall:
        """Set the cost of a call that a crash cut off, in nano-dollars. Raises `NotFound`."""
        return await self._node.model_pool.ledger.correct(call, cost)

    async def reconcile(self, *, month: str | None = None, ours: bool = False) -> Reconciled:
        """Settle lost calls of a month (`2026-11`), or all, by their providers' usage reports. `ours`: Roost alone uses
        the account. Raises `ReportFailed` and `ConfigError`."""
        from roost.features.budgets.reconcile import Reconciler

        await self._node.duties.charge_dead()
        pool = self._node.model_pool
        return await Reconciler(self._node.store, pool.ledger, self._node.models, pool.rate, ours=ours).run(month)

    def _price(self, model: str) -> Price | None:
        try:
            return self._node.models.card(model).profile.price
        except RoostError:  # a model that is no longer configured
            return None


SERVICE = CostService
