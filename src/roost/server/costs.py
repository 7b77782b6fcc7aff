"""Endpoints for the costs of model calls."""

from __future__ import annotations

from roost.kernel.costs import Costs
from roost.kernel.reconcile import Reconciled
from roost.log.shared import LostCall
from roost.server.responses import Reply, json
from roost.server.row_handler import Call, Endpoint, Nothing
from roost.server.shapes import CostsQuery, ReconcileBody, SettleBody


async def costs(call: Call[Nothing, CostsQuery]) -> Reply:
    return json(200, await call.api.runtime.costs(by=call.query.by, month=call.query.month))


async def settle(call: Call[SettleBody, Nothing]) -> Reply:
    return json(200, await call.api.runtime.settle_lost(call.body.call, call.body.cost))


async def reconcile(call: Call[ReconcileBody, Nothing]) -> Reply:
    return json(200, await call.api.runtime.reconcile_costs(month=call.body.month, ours=call.body.ours))


ENDPOINTS = [
    Endpoint(
        method="GET",
        path="/costs",
        summary="What was spent in a month, its limits, and what for",
        handler=costs,
        body=Nothing,
        query=CostsQuery,
        answers={200: Costs},
    ),
    Endpoint(
        method="POST",
        path="/costs/settle",
        summary="Say what a call that a crash cut off has cost",
        handler=settle,
        body=SettleBody,
        query=Nothing,
        answers={200: LostCall},
        errors=(404,),
    ),
    Endpoint(
        method="POST",
        path="/costs/reconcile",
        summary="Settle calls that a crash cut off by the usage reports of their providers",
        handler=reconcile,
        body=ReconcileBody,
        query=Nothing,
        answers={200: Reconciled},
        errors=(400, 502),
    ),
]
