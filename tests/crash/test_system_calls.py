"""A crash before and after each commit of a call from outside: it has one answer, and its effect comes once at most."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from roost import tool
from roost.agent.definition import Agent
from roost.errors import RoostError
from roost.features.system_calls.events import SystemAnswered
from roost.log import events as ev
from roost.runtime import Runtime
from roost.stores.open import open_store
from roost.testing.scripted import ScriptedModel, by_step
from tests.harness.crash.inside import CONFIG
from tests.harness.crash.killing import KillingStore, When

_MOST = 20


def agent_of(effects: list[str]) -> Agent:
    @tool(replay="never", safety="read_only")
    async def pay(amount: int) -> str:
        """Pay an amount."""
        effects.append(str(amount))
        return f"paid {amount}"

    return Agent("library", model=ScriptedModel(by_step(["no"])), tools=[pay], serves={"@program": ("pay",)})


async def live(home: Path, agent: Agent, at: int | None, when: When) -> list[Any]:
    """Call until it is answered, or the session's commit `at`. Returns the events of the log if it is answered."""
    inner = await open_store(home / "roost.db", durability="relaxed")
    strikes: list[str] = []
    store = KillingStore(inner, at=at, when=when, session="s", only="", how="fail", on_strike=strikes.append)
    runtime = Runtime(home, agents=[agent], store=store, config=CONFIG)
    try:
        await runtime.start()
        await runtime.sessions.create("library", id="s", key="s")
        async with asyncio.timeout(120):
            while not store.dead:
                found = await runtime.calls.call("s", "pay", {"amount": 5}, key="once", wait=0.2)
                if found.state == "done":
                    return [record.event for record in await runtime.sessions.history("s")]
    except RoostError:
        assert store.dead
    finally:
        store.strike(None)
        with contextlib.suppress(RoostError):
            await runtime.stop(grace=0.0)
    return []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_crash_at_every_commit(tmp_path: Path, when: When) -> None:
    for at in range(1, _MOST):
        effects: list[str] = []
        home = tmp_path / str(at)
        home.mkdir()
        agent = agent_of(effects)
        found = await live(home, agent, at, when)
        whole = bool(found)
        found = found or await live(home, agent, None, when)
        (answered,) = [one for one in found if isinstance(one, SystemAnswered)]
        assert len([one for one in found if isinstance(one, ev.TurnStarted)]) == 1
        if answered.outcome == "ok":
            assert (effects, answered.text) == (["5"], "paid 5")
        else:
            assert answered.outcome == "interrupted"
            assert effects in ([], ["5"])
        if whole:
            assert at > 4
            return
    raise AssertionError("it was never answered whole")
