"""What a step costs in function calls: a feature that a session does not use adds next to nothing to its steps."""

from __future__ import annotations

import cProfile
import pstats
from pathlib import Path

import pytest

from roost.agent.definition import Limits
from roost.tools.function import tool

from .support import agent, calling, running

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
_STEPS = 60
_MOST = 250
"""Calls of functions of the agent and of the features for a model call and the tool call after it; 230 when this was
written. Who goes beyond it looks first at what the seams of a feature do in a session that does not use it."""


async def test_a_step_calls_few_functions(tmp_path: Path) -> None:
    @tool(replay="safe", safety="read_only")
    async def look() -> str:
        """Look."""
        return "seen"

    clerk = agent([*[calling("look")] * _STEPS, "done"], [look], limits=Limits(steps=None))
    async with running(tmp_path, clerk) as runtime:
        await (await runtime.session("a")).ask("go")  # imports what steps need
        session = await runtime.session("a")
        with cProfile.Profile() as profile:
            await session.ask("go")
    calls = {key: number for key, (_, number, *_) in pstats.Stats(profile).stats.items()}
    own = {key: number for key, number in calls.items() if "/roost/agent/" in key[0] or "/roost/features/" in key[0]}
    assert sum(own.values()) < _MOST * _STEPS, sorted(own.items(), key=lambda item: -item[1])[:40]
