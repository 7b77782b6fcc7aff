"""`plan`: the sub-goals of a long task, and its progress."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from roost.features.planning.plan import OwnPlans
from roost.log.events import Goal
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError
from roost.tools.function import tool

MOST = 30
"""Most sub-goals of a plan."""
_LONGEST = 200
"""Most characters of a sub-goal."""


@tool(replay="safe", safety="read_only", inside=True, files=False, early=False)
async def plan(
    context: ToolContext,
    goals: Annotated[list[Goal], Meta(description="All sub-goals in their order, with the state of each.")],
    score: Annotated[int, Meta(ge=1, le=5, description="How well it goes: 1 badly, 5 very well.")] | None = None,
    note: Annotated[str, Meta(max_length=1000, description="Why, and what is next.")] = "",
) -> str:
    """Keep the plan of a long task: its sub-goals and how far each is. Call it at the start, whenever one is done, and
    when the plan changes. It stays in mind however long the conversation becomes."""
    if len(goals) > MOST or any(not goal.text.strip() or len(goal.text) > _LONGEST for goal in goals):
        raise ToolError(f"a plan has at most {MOST} sub-goals, each of 1 to {_LONGEST} characters")
    return await context.port(OwnPlans).set(goals, score, note)
