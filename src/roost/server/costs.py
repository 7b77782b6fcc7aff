"""What model calls have cost."""

from __future__ import annotations

from roost.kernel.costs import Costs
from roost.server.endpoint import Call, Endpoint, Nothing
from roost.server.replies import Reply, json
from roost.server.shapes import CostsQuery


async def costs(call: Call[Nothing, CostsQuery]) -> Reply:
    return json(200, await call.api.runtime.costs(by=call.query.by, month=call.query.month))


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
]
