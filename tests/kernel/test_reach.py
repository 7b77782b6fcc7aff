"""A tool whose `reach` fails: the gate denies its calls, and the session goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from roost.log import events as ev
from roost.policy.rules import Touches
from roost.policy.touched_paths import Reach
from roost.tools.function import tool

from .support import agent, calling, events, running

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def _fails(arguments: Mapping[str, Any], root: Path) -> Touches:
    raise ValueError("no path")


@pytest.mark.parametrize(
    ("reach", "says"),
    [
        (_fails, "failed with ValueError: no path"),
        (lambda arguments: [arguments], "failed with TypeError: "),
        (lambda arguments, root: ["notes.txt"], "returned list, not Touches"),
    ],
)
async def test_a_failing_reach_denies_the_call(
    tmp_path: Path, reach: Reach, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []

    @tool(safety="read_only", replay="safe", reach=reach)
    async def count(path: str) -> None:
        """Count the lines of a file."""
        ran.append(path)

    clerk = agent([calling("count", path="notes.txt"), "done"], [count], permissions="all")
    async with running(tmp_path, clerk) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "done"
        (ended,) = [event for event in await events(session, runtime) if isinstance(event, ev.ToolCompleted)]
    text = "".join(part.text for part in ended.parts)  # pyright: ignore
    assert (ended.outcome, ran) == ("denied", [])
    assert f"the option `reach` of the tool 'count' {says}" in text
    assert "returned" in says or "tool 'count': `reach` failed" in caplog.text
