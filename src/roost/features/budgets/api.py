"""The costs of model calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Protocol

from msgspec import Meta

from roost.api.shapes import MonthName
from roost.operation import GET, POST

if TYPE_CHECKING:
    from roost.features.budgets.cost_report import By, Costs
    from roost.features.budgets.reconcile import Reconciled
    from roost.log.ledger import LostCall

LATER = {
    "By": "roost.features.budgets.cost_report",
    "Costs": "roost.features.budgets.cost_report",
    "LostCall": "roost.log.ledger",
    "Reconciled": "roost.features.budgets.reconcile",
}


class CostsApi(Protocol):
    @GET("/costs", right="read")
    async def get(self, *, by: By | None = None, month: MonthName | None = None) -> Costs:
        """What was spent in a month, its limits, and what for.

        `month`: as in `2026-11`; by default this one. `by`: reads the logs of the month, which is slow.
        """
        ...

    @POST("/costs/settle", body="SettleBody", errors=(404,), repeatable=True, right="operate")
    async def settle(self, call: Annotated[str, Meta(max_length=1024)], cost: Annotated[int, Meta(ge=0)]) -> LostCall:
        """Say what a call that a crash cut off has cost.

        `call`: the id of a lost call. `cost`: its cost in nano-dollars.
        """
        ...

    @POST("/costs/reconcile", body="ReconcileBody", errors=(400, 502), repeatable=True, right="operate")
    async def reconcile(self, *, month: MonthName | None = None, ours: bool = False) -> Reconciled:
        """Settle calls that a crash cut off by the usage reports of their providers.

        `month`: as in `2026-11`; by default all lost calls. `ours`: all usage in the accounts' reports is Roost's.
        """
        ...
