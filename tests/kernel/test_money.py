"""Money: no call is made that a limit has no room for, and what the log says was spent is what the ledger says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.agent.definition import Agent, Limits
from roost.log import events as ev
from roost.log.content import ErrorData, Usage
from roost.log.ledger import Charge, LedgerRows
from roost.models.request import Price, Profile
from roost.money.budgets import BudgetEntry
from roost.providers.accounts import Models
from roost.providers.config import ModelsConfig
from roost.runtime import Runtime, SessionHandle, TurnFailed
from roost.testing.scripted import Answer, ScriptedModel, by_step

from .support import FAST, Traces, calling, events, place, running, until

PRICED = Profile(price=Price(10, 100))
"""Nano-dollars a token."""
COST = 100 * 10 + 20 * 100
"""Of one scripted call."""
SLOW = Answer(text="half of an answer " * 20, pace=0.1, piece=10)


def clerk(script: Any, *, money: float | None = None, session_money: float | None = 1.0, **options: Any) -> Agent:
    model = ScriptedModel(script, profile=PRICED)
    limits = Limits(money=money, session_money=session_money)
    return Agent("a", model=model, limits=limits, **options)


async def spent(runtime: Runtime, session: SessionHandle) -> int:
    """What the ledger says; raises `AssertionError` where the log says another thing."""
    balance = await runtime.node.store.ledger.balance(f"session:{session.id}")
    log = await events(session, runtime)
    told = [event.usage for event in log if isinstance(event, ev.ModelCompleted | ev.ModelFailed | ev.ModelLost)]
    assert sum(usage.cost or 0 for usage in told if usage is not None) == balance.spent
    assert (await session.inspect()).usage.cost == balance.spent
    assert balance.reserved == 0
    return balance.spent


async def _of_all_months(ledger: LedgerRows, prefix: str) -> int:
    """What was spent; the test may run from one month into the next."""
    return sum(balance.spent for balance in (await ledger.balances(prefix)).values())


async def _limited(runtime: Runtime, session: SessionHandle) -> tuple[str, str | None]:
    with pytest.raises(TurnFailed):
        await session.ask("hi")
    done = (await events(session, runtime))[-1]
    assert isinstance(done, ev.TurnCompleted)
    return done.outcome, done.reason


async def test_the_ledger_and_the_log_say_the_same_and_a_turn_leaves_nothing_behind(tmp_path: Path) -> None:
    traces = Traces()
    script = by_step([calling("look"), "done"])
    async with running(tmp_path, clerk(script, money=1.0, tools=traces.tools(), permissions="all")) as runtime:
        session = await runtime.session("a")
        for turn in range(1, 4):
            assert await session.ask("hi") == "done"
            assert await spent(runtime, session) == turn * 2 * COST
        ledger = runtime.node.store.ledger
        async with asyncio.timeout(30):
            while await ledger.balances("turn:"):
                await asyncio.sleep(0.01)
        assert await _of_all_months(ledger, "month:") == 6 * COST
        assert await _of_all_months(ledger, "agent:a:") == 6 * COST
        await session.delete()
        assert await ledger.balances("session:") == {}
        assert await _of_all_months(ledger, "month:") == 6 * COST


@pytest.mark.parametrize(
    ("money", "session_money", "reason"), [(0.00015, None, "money"), (None, 0.00015, "session_money")]
)
async def test_a_call_that_does_not_fit_is_not_made(
    tmp_path: Path, money: float | None, session_money: float | None, reason: str
) -> None:
    """An answer has at most 4,096 tokens here, and a smaller one is asked for as long as it may have 1,024."""
    traces = Traces()
    agent = clerk(
        lambda _: calling("look"),
        money=money,
        session_money=session_money,
        tools=traces.tools(),
        permissions="all",
        max_output=4096,
    )
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        assert await _limited(runtime, session) == ("limit", reason)
        usage = (await session.inspect()).usage
        assert usage.cost is not None
        assert 3 * COST < usage.cost < 0.00015 * 1e9
        log = await events(session, runtime)
        told = [event.data for event in log if isinstance(event, ev.ModelNotice) and event.kind == "budget"]
        assert told[0]["max_output"] >= 1024
        assert "refused" in told[-1]


async def test_a_limit_of_the_month_has_its_own_name(tmp_path: Path) -> None:
    models = Models(config=ModelsConfig(budget=BudgetEntry(month=0.000001)))
    runtime = Runtime(tmp_path, agents=[clerk(["one"])], config=FAST, store=place.url, models=models)
    async with runtime:
        session = await runtime.session("a")
        outcome, reason = await _limited(runtime, session)
        assert (outcome, (reason or "").startswith("month:20")) == ("limit", True)
        assert await spent(runtime, session) == 0


async def test_who_speaks_is_charged_by_the_session_s_label(tmp_path: Path) -> None:
    models = Models(config=ModelsConfig(budget=BudgetEntry(users={"ann": 0.000001})))
    runtime = Runtime(tmp_path, agents=[clerk(lambda _: "yes")], config=FAST, store=place.url, models=models)
    async with runtime:
        mine, hers = await runtime.session("a"), await runtime.session("a", labels={"user": "ann"})
        assert await mine.ask("hi") == "yes"
        outcome, reason = await _limited(runtime, hers)
        assert (outcome, (reason or "").startswith("user:ann:20")) == ("limit", True)


async def test_every_try_is_paid_for(tmp_path: Path) -> None:
    failed = Answer(error=ErrorData("connection", "gone", retryable=True))
    async with running(tmp_path, clerk([failed, "at last"])) as runtime:
        session = await runtime.session("a")
        assert await session.ask("hi") == "at last"
        assert await spent(runtime, session) >= COST


@pytest.mark.parametrize("how", ["cancel", "pause", "steer"])
async def test_a_call_that_is_cut_off_is_paid_for_in_both(tmp_path: Path, how: Any) -> None:
    async with running(tmp_path, clerk([SLOW, "done"], money=1.0)) as runtime:
        session = await runtime.session("a")
        await session.send("hi " * 100)
        await _heard(runtime, session)
        if how == "steer":
            await session.send("no, this", mode="steer")
            await until(session, ev.TurnCompleted)
        else:
            await session.control(how)
            await until(session, ev.ModelFailed)
        assert await spent(runtime, session) > (COST if how == "steer" else 0)


async def test_what_a_shutdown_cuts_off_is_lost_in_the_log_and_in_the_ledger(tmp_path: Path) -> None:
    agent = clerk([SLOW, "done"], money=1.0)
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        await session.send("hi " * 100)
        await _heard(runtime, session)
    async with running(tmp_path, agent) as runtime:
        session = runtime.open(session.id)
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
        (lost,) = [event for event in log if isinstance(event, ev.ModelLost)]
        assert (lost.step, lost.attempt) == (1, 1)
        assert lost.usage.output > 0
        assert await spent(runtime, session) == (lost.usage.cost or 0) + COST


async def test_a_model_of_no_price_writes_nothing_into_the_ledger(tmp_path: Path) -> None:
    async with running(tmp_path, Agent("a", model=ScriptedModel(["one"]))) as runtime:
        session = await runtime.session("a")
        assert await session.ask("hi") == "one"
        assert await runtime.node.store.ledger.balances("") == {}
        assert (await session.inspect()).usage == Usage(100, 20)


async def test_what_is_free_may_run_under_a_limit_of_nothing(tmp_path: Path) -> None:
    model = ScriptedModel(["one"], profile=Profile(price=Price(0, 0)))
    async with running(tmp_path, Agent("a", model=model, limits=Limits(money=0.0, session_money=0.0))) as runtime:
        session = await runtime.session("a")
        assert await session.ask("hi") == "one"


async def _heard(runtime: Runtime, session: SessionHandle) -> None:
    """Until the model has said something."""
    async for batch in runtime.sessions.stream(session.id):
        if any(frame.seq is None for frame in batch):
            return


async def test_what_no_session_will_take_up_is_settled_by_the_node_that_cleans_up(tmp_path: Path) -> None:
    """A settlement that failed, and a deletion that a crash cut off before its last line."""
    config = msgspec.structs.replace(FAST, cleanup_every=86_400, recover_every=0.1)
    async with running(tmp_path, clerk(["one", "two"]), config=config) as runtime:
        session = await runtime.session("a")
        assert await session.ask("hi") == "one"
        store = runtime.node.store
        for name in (session.id, "deleted", "-node_gone"):
            await store.ledger.reserve(
                f"call:{name}:x1", [Charge("month:2026-11", 7, None), Charge(f"session:{name}", 7)]
            )
        async with asyncio.timeout(30):
            while await store.ledger.reserved("call:"):
                await asyncio.sleep(0.05)
        assert (await store.ledger.balance(f"session:{session.id}")).spent == COST + 7


async def test_a_deleted_session_leaves_nothing_to_another_of_its_name(tmp_path: Path) -> None:
    async with running(tmp_path, clerk(lambda _: "yes")) as runtime:
        store = runtime.node.store
        for name in ("chat", "chat:2", "chat2"):
            session = await runtime.session("a", id=name)
            assert await session.ask("hi") == "yes"
        left = [f"turn:chat:{number}" for number in (1, 2, 10, 11)]
        await store.ledger.reserve("call:chat:x1", [Charge(name, 1) for name in left])
        await runtime.open("chat").delete()
        assert set(await store.ledger.balances("turn:")) == set()
        assert set(await store.ledger.balances("session:")) == {"session:chat:2", "session:chat2"}
        session = await runtime.session("a", id="chat")
        assert await session.ask("hi") == "yes"
        assert await spent(runtime, session) == COST


async def test_what_is_left_of_a_turn_without_an_open_step_is_lost_in_both(tmp_path: Path) -> None:
    """As an embedding for a tool would leave it, or a settlement that a crash was faster than."""
    traces = Traces()
    script = by_step([calling("safe"), "done"])
    agent = clerk(script, money=1.0, tools=traces.tools(), permissions="all")
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await asyncio.wait_for(traces.started.wait(), 30)
        charges = [Charge(f"session:{session.id}", 7), Charge(f"turn:{session.id}:1", 7)]
        await runtime.node.store.ledger.reserve(f"call:{session.id}:x1", charges)
    traces.gate.set()
    async with running(tmp_path, agent) as runtime:
        session = runtime.open(session.id)
        await until(session, ev.TurnCompleted)
        assert await spent(runtime, session) == 2 * COST + 7
