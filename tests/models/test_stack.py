"""All models around models together, in the order that they are meant for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.yardstick import slowness

from roost.log.content import ErrorData, Text, Usage
from roost.models.limit_headers import HEARD
from roost.models.request import Bill, Completed, Model, ModelEvent, Notice, Price, Profile, Request, TextDelta
from roost.money.ledger import Ledger
from roost.providers.config import AccountEntry, ModelEntry, ModelsConfig
from roost.providers.model_stack import Parts, budgeted, stacked
from roost.routing.breakers import Breaker, Breaking, Guarded
from roost.routing.limits import Limit, Limited, Limiters, Limits
from roost.routing.recovery import Batching, Chains, Continuing, Degrading
from roost.routing.retry import Retry, Retrying
from roost.routing.tool_repair import Repairing
from roost.stores.open import open_store
from roost.testing.clock import FakeClock
from roost.testing.models import ask, completed, failed, run
from roost.testing.scripted import Answer, ScriptedModel

ONCE = Retry(tries=1)
DOWN = Answer(error=ErrorData("overloaded", "down", True))


def _stack(inner: Model, limiters: Limiters, clock: FakeClock) -> Model:
    limited = Limited(inner, limiters.of("acme", inner.name))
    guarded = Guarded(limited, Breaker(Breaking(failures=2, cooldown=60, silence=30), clock=clock))
    retrying = Retrying(guarded, Retry(tries=3, patience=20), clock=clock, chance=lambda: 0.0)
    return Repairing(Continuing(Batching(retrying)))


async def test_a_call_that_meets_everything_on_its_way_is_answered_and_says_how() -> None:
    clock = FakeClock()
    limiters = Limiters({"acme": Limits(limits=(Limit(amount=2, seconds=10, kind="window"),))}, clock=clock)
    first = ScriptedModel([DOWN] * 9, name="first")
    second = ScriptedModel([Answer(text="one, ", stop="length"), "two"], name="second", deltas=True)
    models = {"first": _stack(first, limiters, clock), "second": _stack(second, limiters, clock)}
    events, end = await clock.run(run(Degrading(models, Chains(default=("first", "second")))))
    told: list[Any] = [event.kind for event in events if isinstance(event, Notice)]
    assert told == ["retry", "breaker", "retry", "fallback", "limit", "recovery", "limit"]
    assert isinstance(end, Completed)
    assert end.parts == (Text("one, two"),)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "one, two"
    assert (first.calls, second.calls) == (2, 2)
    assert clock.now() >= 10


def _config(account: AccountEntry, **models: ModelEntry) -> ModelsConfig:
    return ModelsConfig(accounts={"acme": account}, models={f"acme/{name}": entry for name, entry in models.items()})


def test_what_is_stacked_is_not_stacked_again() -> None:
    parts = Parts()
    once = stacked(ScriptedModel(["x"], name="acme/m"), parts)
    assert stacked(once, parts) is once
    assert stacked(once, Parts(), own=True) is once
    chain = stacked(Degrading({"acme/m": ScriptedModel(["x"])}, Chains(default=("acme/m",))), parts)
    assert stacked(chain, parts) is chain
    both = Degrading({"acme/m": once}, Chains(default=("acme/m",)))
    assert stacked(both, parts) is both


async def test_a_chain_of_a_program_s_own_has_its_models_stacked() -> None:
    broken = Answer(error=ErrorData("connection", "gone", True))
    first, second = ScriptedModel([broken, "back"], name="first"), ScriptedModel(["never"], name="second")
    chain = Degrading({"first": first, "second": second}, Chains(default=("first", "second")))
    clock = FakeClock()
    model = stacked(chain, Parts(clock=clock), own=True)
    assert (await clock.run(completed(model))).parts == (Text("back"),), "tried again before the next one is asked"


async def test_a_breaker_that_is_open_for_one_session_is_open_for_all() -> None:
    clock = FakeClock()
    parts = Parts(_config(AccountEntry(retry=ONCE, breaker=Breaking(failures=2, cooldown=10))), clock=clock)
    inner = ScriptedModel([DOWN, DOWN, "back"], name="acme/m")
    one, other = stacked(inner, parts), stacked(inner, parts)
    await failed(one)
    assert parts.trouble("acme/m") is None
    await failed(other)
    assert "left alone for 10 s" in (parts.trouble("acme/m") or "")
    refused = await failed(one)
    assert (refused.error.code, refused.error.retry_after) == ("overloaded", 10)
    assert inner.calls == 2, "an open breaker makes no call"
    await clock.advance(10)
    assert parts.trouble("acme/m") is None, "the next call is let through"
    await completed(other)


async def test_a_program_s_own_model_has_a_breaker_of_its_own_and_no_limits() -> None:
    parts = Parts(_config(AccountEntry(retry=ONCE, breaker=Breaking(failures=1), limits=(Limit(amount=1),))))
    bad, good = ScriptedModel([DOWN] * 3, name="acme/m"), ScriptedModel(["a", "b"], name="acme/m")
    await failed(stacked(bad, parts, own=True))
    mine = stacked(good, parts, own=True)
    await completed(mine)
    await asyncio.wait_for(completed(mine), 60)
    assert parts.trouble("acme/m") is None


async def test_what_a_provider_says_of_its_limits_is_told_to_nobody() -> None:
    class Telling(ScriptedModel):
        async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
            yield Notice(HEARD, {"x-ratelimit-remaining-requests": "1"})
            yield Completed((Text("yes"),), "end")

    for own in (True, False):
        events, _ = await run(stacked(Telling([], name="acme/m"), own=own))
        assert events == []


async def test_an_account_s_limit_holds_for_its_models_together_and_a_model_s_for_itself() -> None:
    clock = FakeClock()
    two, one = Limit(amount=3, seconds=60, kind="window"), Limit(amount=1, seconds=60, kind="window")
    parts = Parts(_config(AccountEntry(limits=(two,)), small=ModelEntry(limits=(one,))), clock=clock)
    small = stacked(ScriptedModel(["a"] * 9, name="acme/small"), parts)
    large = stacked(ScriptedModel(["a"] * 9, name="acme/large"), parts)

    async def three() -> float:
        for model in (small, large, large):
            await completed(model)
        return clock.now()

    assert await clock.run(three()) == 0
    other = stacked(ScriptedModel(["a"] * 9, name="else/m"), parts)
    await completed(other)
    await clock.run(completed(large))
    assert clock.now() == 60


async def test_a_limit_beyond_the_patience_fails_and_says_when() -> None:
    clock = FakeClock()
    parts = Parts(_config(AccountEntry(limits=(Limit(amount=1, seconds=900),), retry=ONCE)), clock=clock)
    model = stacked(ScriptedModel(["a"] * 9, name="acme/m"), parts)
    await completed(model)
    error = (await clock.run(failed(model))).error
    assert (error.code, error.retry_after) == ("rate_limited", 900)


async def test_a_provider_that_asks_to_wait_is_waited_for_by_every_session() -> None:
    clock = FakeClock()
    parts = Parts(clock=clock, chance=lambda: 0.0)
    slow = Answer(error=ErrorData("rate_limited", "slow down", True, 20.0))
    inner = ScriptedModel([slow, "one", "two"], name="acme/m")
    first = asyncio.ensure_future(completed(stacked(inner, parts)))
    await clock.advance(0)
    assert inner.calls == 1
    assert parts.trouble("acme/m") == "its limits let no call go for 20 s"
    second = asyncio.ensure_future(completed(stacked(inner, parts)))
    await clock.advance(19.9)
    assert inner.calls == 1, "the second has not been sent either"
    await clock.advance(0.2)
    await asyncio.gather(first, second)
    assert inner.calls == 3
    assert parts.trouble("acme/m") is None


async def test_a_model_s_budget_is_what_the_ledger_holds_and_no_trouble_for_ever(tmp_path: Path) -> None:
    clock, now = FakeClock(), [1_000_000_000.0]
    config = _config(AccountEntry(), m=ModelEntry(breaker=Breaking(budget=1_000)))
    store = await open_store(str(tmp_path / "roost.db"))
    ledger = Ledger(store, owner="node", models=budgeted(config), now=lambda: now[0], clock=clock)
    parts = Parts(config, clock=clock, ledger=ledger)
    answer = Answer(text="a", usage=Usage(input=100, output=100, cost=500))
    inner = ScriptedModel([answer] * 9, name="acme/m", profile=Profile(price=Price(2.0, 3.0)))
    model, marks, bill = stacked(inner, parts), [], Bill()
    for _ in range(2):
        events, _ = await run(model, ask(bill=bill))
        marks += [event.data["percent"] for event in events if isinstance(event, Notice) and event.kind == "budget"]
    assert (marks, bill.usage.cost, await ledger.spent("acme/m")) == ([70, 90, 100], 1_000, 1_000)
    restarted = Parts(config, clock=clock, ledger=ledger)
    assert (await failed(stacked(inner, restarted))).error.code == "quota"
    assert inner.calls == 2
    assert parts.trouble("acme/m") == "its budget is spent"
    now[0] += 40 * 86_400
    await clock.advance(60)
    assert parts.trouble("acme/m") is None
    await completed(model)
    await ledger.close()
    await store.close()


async def test_a_store_that_is_away_says_nothing_against_a_model(tmp_path: Path) -> None:
    clock, store = FakeClock(), await open_store(str(tmp_path / "roost.db"))
    ledger = Ledger(store, owner="node", clock=clock)
    config = _config(AccountEntry(retry=ONCE, breaker=Breaking(failures=1)))
    inner = ScriptedModel(["a"], name="acme/m", profile=Profile(price=Price(2.0, 3.0)))
    parts = Parts(config, clock=clock, ledger=ledger)
    await store.close()
    error = (await failed(stacked(inner, parts))).error
    assert (error.code, error.retryable) == ("overloaded", True)
    assert parts.trouble("acme/m") is None
    assert inner.calls == 0
    await ledger.close()


async def test_the_whole_stack_costs_little_and_starts_no_task() -> None:
    inner = ScriptedModel(lambda _: "yes", name="acme/m", keep=1)
    model, request, tasks = stacked(inner, Parts()), ask(), len(asyncio.all_tasks())

    async def cost(of: Model) -> float:
        began = time.process_time()
        for _ in range(200):
            async for _ in of.stream(request):
                assert len(asyncio.all_tasks()) == tasks
        return (time.process_time() - began) / 200

    best = min([(await cost(model) - await cost(inner)) / slowness() for _ in range(5)])
    assert best < 200e-6, "measured on a calm machine: 30 microseconds"
