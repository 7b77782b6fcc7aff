"""The ledger over real stores: limits that hold whoever asks, months, what a crash left, and who is told."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import time
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from roost.errors import ConfigError, NotFound, RoostError
from roost.local.embed.base import Embedding
from roost.log.content import Usage
from roost.log.dispatch import NodeCard
from roost.log.ledger import Balance, Charge
from roost.log.store import Store
from roost.models.profile import Price, Tier
from roost.models.request import Budget
from roost.money.budgets import NANO, BudgetEntry, Held, Refused, Spender, called
from roost.money.call_meter import affordable, dearest, savings
from roost.money.ledger import Ledger
from roost.money.running_calls import Plan
from roost.stores.open import open_store

NOVEMBER = 1_795_000_000.0  # 2026-11-18 UTC
DECEMBER = 1_796_083_200.0  # 2026-12-01 00:00 UTC
ME = Spender(session="s", user="ann", agent="helper", model="acme/big")


@pytest.fixture
async def store(address: str) -> AsyncIterator[Store]:
    store = await open_store(address)
    yield store
    await store.close()


def ledger(store: Any, month: float | None = None, *, owner: str = "n1", now: float = NOVEMBER, **more: Any) -> Ledger:
    return Ledger(store, owner=owner, budget=BudgetEntry(month=month, **more), now=lambda: now)


async def held(ledger: Ledger, amount: int, who: Spender = ME) -> Held:
    answer = await ledger.reserve(amount, who)
    assert isinstance(answer, Held)
    return answer


async def refused(ledger: Ledger, amount: int, who: Spender = ME) -> Refused:
    answer = await ledger.reserve(amount, who)
    assert isinstance(answer, Refused)
    return answer


# What a call is charged to


async def test_a_call_is_charged_to_its_month_its_user_and_its_agent(store: Store) -> None:
    it = Ledger(store, owner="n1", now=lambda: NOVEMBER, models=["acme/big"])
    own = Spender(session="s", user="a:b", agent="helper", model="acme/big", budgets=(Budget("turn:s:1", 10),))
    await it.settle(await held(it, 7, own), 5)
    names = ("month:2026-11", "user:a:b:2026-11", "agent:helper:2026-11", "model:acme/big:2026-11", "turn:s:1")
    assert await store.ledger.balances("") == dict.fromkeys(names, Balance(5, 0))
    await it.settle(await held(it, 3, Spender(model="acme/small")), 2)
    assert (await it.spent(), await it.spent("acme/big"), await it.spent("acme/small")) == (7, 5, 0)


@pytest.mark.parametrize(
    ("entry", "who", "budget"),
    [
        (BudgetEntry(month=1), Spender(), "month:2026-11"),
        (BudgetEntry(users={"ann": 1}), Spender(user="ann"), "user:ann:2026-11"),
        (BudgetEntry(users={"*": 1, "ann": 9}), Spender(user="bob"), "user:bob:2026-11"),
        (BudgetEntry(agents={"*": 1}), Spender(agent="any"), "agent:any:2026-11"),
        (BudgetEntry(), Spender(budgets=(Budget("turn:s:1", NANO),)), "turn:s:1"),
    ],
)
async def test_each_limit_holds_alone(entry: BudgetEntry, who: Spender, budget: str, tmp_path: Path) -> None:
    store = await open_store(str(tmp_path / "roost.db"))
    it = Ledger(store, owner="n1", budget=entry, now=lambda: NOVEMBER)
    first = await held(it, NANO, who)
    assert (await refused(it, 1, who)).budget == budget
    await it.settle(first, NANO - 5)
    no = await refused(it, 6, who)
    assert (no.left, no.error.code, no.error.retryable) == (5, "budget", False)
    assert f"{called(budget)} has $0.000000005 left and this call may cost $0.000000006" in no.error.message
    assert ("models.toml" in no.error.message) == (not budget.startswith("turn:"))
    await held(it, 5, who)
    await held(
        it, NANO, Spender(user="ann" if who.user == "bob" else None, session="other")
    ) if not entry.month else None
    await store.close()


async def test_a_limit_in_another_currency_is_converted(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"CNY.*\[rates\]"):
        Ledger(store, owner="n1", budget=BudgetEntry(month=500, currency="CNY"))
    Ledger(store, owner="n1", budget=BudgetEntry(currency="CNY"))
    it = Ledger(
        store,
        owner="n1",
        budget=BudgetEntry(month=500, currency="CNY"),
        rate=lambda currency: {"CNY": 0.14}.get(currency),
        now=lambda: NOVEMBER,
    )
    await held(it, 70 * NANO)
    assert (await refused(it, 1)).budget == "month:2026-11"
    assert (await it.month()).limit == 70 * NANO


def test_the_most_that_a_call_may_cost() -> None:
    price = Price(3.0, 15.0, cached=0.3, written=3.75, tiers=(Tier(above=200, input=6.0, output=22.5),))
    assert dearest(price, Usage(input=100, output=10)) == 525
    assert dearest(price, Usage(input=201, output=10)) == 201 * 6 + 225
    assert dearest(Price(0.5, 0.1), Usage(input=1)) == 1
    assert dearest(Price(1, 1, currency="CNY"), Usage(input=1)) is None
    assert dearest(Price(10, 10, currency="CNY", rate=0.25), Usage(input=10, output=10)) == 50
    assert affordable(price, 100, 525) == 10
    assert affordable(price, 100, 300) == 0
    assert affordable(Price(1, 0), 100, 50) == 0
    assert savings(price, Usage(input=100, cached=50, output=1)) == 135
    assert savings(price, Usage(input=300, cached=100)) == 0
    assert savings(Price(1, 1, currency="CNY"), Usage(input=9, cached=9)) is None


# Months


async def test_a_month_begins_at_zero_and_a_call_settles_where_it_was_reserved(store: Store) -> None:
    now = [DECEMBER - 1]
    it = Ledger(store, owner="n1", budget=BudgetEntry(month=1), now=lambda: now[0])
    old = await held(it, NANO)
    now[0] = DECEMBER
    assert it.constrained() is None
    new = await held(it, NANO)
    await it.settle(old, 400)
    await it.settle(new, 5)
    assert await store.ledger.balance("month:2026-11") == Balance(400, 0)
    assert await store.ledger.balance("month:2026-12") == Balance(5, 0)
    month = await it.month()
    assert (month.month, month.spent, month.reserved, month.warn) == ("2026-12", 5, 0, NANO * 8 // 10)


async def test_people_are_told_once_of_each_mark_in_the_whole_cluster(address: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stores = [await open_store(address) for _ in range(2)]
        for each in stores:
            stack.push_async_callback(each.close)
        here, there = (ledger(each, 1, owner=f"n{number}", warn=0.5) for number, each in enumerate(stores))
        told: list[tuple[int, int]] = []
        for _ in range(10):
            await here.settle(await held(here, NANO // 10), NANO // 10)
            notices = await asyncio.gather(*(each.warnings() for each in (here, there) * 5))
            told += [(notice.data["percent"], notice.data["spent"]) for some in notices for notice in some]
        assert told == [(50, NANO // 2), (90, NANO // 10 * 9), (100, NANO)]
        again = ledger(stores[0], 1, warn=0.5)
        assert await again.warnings() == []
        raised = ledger(stores[0], 1.5, warn=0.5)
        assert [notice.data["percent"] for notice in await raised.warnings()] == [50]


async def test_past_the_warning_money_is_to_be_saved_without_waiting_for_the_store(store: Store) -> None:
    it = ledger(store, 1)
    await it.settle(await held(it, NANO), NANO * 8 // 10)
    fresh = ledger(store, 1, owner="n2")
    assert fresh.constrained() is None
    await fresh.refresh()
    assert "80% of the month's $1.00" in (fresh.constrained() or "")
    for other in (ledger(store, 2), ledger(store), ledger(store, 1, downgrade=False)):
        await other.refresh()
        assert other.constrained() is None


# Limits hold


async def test_many_calls_of_many_nodes_never_pass_a_limit(address: str) -> None:
    limit = 20_000
    async with contextlib.AsyncExitStack() as stack:
        stores = [await open_store(address) for _ in range(4)]
        for each in stores:
            stack.push_async_callback(each.close)
        ledgers = [ledger(each, limit / NANO, owner=f"n{number}") for number, each in enumerate(stores)]
        store = stores[0]
        shared = Budget("session:parent", 15_000)
        chance = random.Random(5)
        overshot: list[Balance] = []

        async def call(number: int) -> int:
            who = Spender(session=f"child-{number % 7}", user="ann", budgets=(shared,) if number % 2 else ())
            most = chance.randint(100, 900)
            it = ledgers[number % 4]
            answer = await it.reserve(most, who)
            if isinstance(answer, Refused):
                return 0
            await asyncio.sleep(chance.random() / 50)
            overshot.extend([now for now in [await store.ledger.balance("month:2026-11")] if sum(now) > limit])
            cost = chance.randint(0, most)
            await it.settle(answer, cost)
            return cost

        spent = await asyncio.gather(*(call(number) for number in range(200)))
        assert not overshot
        assert await store.ledger.balance("month:2026-11") == Balance(sum(spent), 0)
        assert limit / 4 < sum(spent) <= limit
        assert 0 in spent
        parent = await store.ledger.balance("session:parent")
        assert parent == Balance(sum(spent[1::2]), 0)
        assert parent.spent <= 15_000


_CALLS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 80), st.sampled_from(["settled", "twice", "cancelled", "lost"])),
    min_size=1,
    max_size=40,
)


@settings(max_examples=examples(25), deadline=None)
@given(calls=_CALLS)
def test_overshoot_is_at_most_what_is_under_way(calls: list[tuple[int, int, str]]) -> None:
    """Whatever the estimates are worth: what a call spends above its reservation is all that a limit can be passed by,
    and what is lost stays counted."""
    limit = 100

    async def check(folder: str) -> None:
        store = await open_store(str(Path(folder) / "roost.db"), durability="relaxed")
        ledgers = [ledger(store, limit / NANO, owner=f"n{number}") for number in range(3)]
        excess = expected = 0

        async def call(number: int, most: int, cost: int, how: str) -> None:
            nonlocal excess, expected
            it = ledgers[number % 3]
            asking = asyncio.create_task(it.reserve(most, ME))
            if how == "cancelled":
                await asyncio.sleep(0)
                asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                answer = await asking
                if isinstance(answer, Held) and how != "cancelled":
                    excess, expected = excess + max(0, cost - most), expected + (most if how == "lost" else cost)
                    for _ in range({"settled": 1, "twice": 2}.get(how, 0)):
                        await it.settle(answer, cost)
                elif isinstance(answer, Held):
                    await it.settle(answer, 0)

        await asyncio.gather(*(call(number, *each) for number, each in enumerate(calls)))
        for it in ledgers:
            await it.close()
        await ledgers[0].recover("s")
        assert await store.ledger.reserved("") == {}
        assert await store.ledger.balance("month:2026-11") == Balance(expected, 0)
        assert expected <= limit + excess
        await store.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(check(folder))


async def test_a_call_that_only_others_under_way_keep_out_may_be_tried_again(store: Store) -> None:
    it = ledger(store, 100 / NANO)
    first = await held(it, 60)
    assert (await refused(it, 60)).error.retryable
    assert not (await refused(it, 101)).error.retryable
    await it.settle(first, 50)
    assert not (await refused(it, 60)).error.retryable


# What a crash left


async def test_what_a_crash_cut_off_is_settled_with_what_was_reserved(store: Store) -> None:
    dead = ledger(store, 1, owner="dead")
    whole, *lost = [await held(dead, amount) for amount in (100, 30, 7)]
    await dead.settle(whole, 60)
    other = await held(dead, 5, Spender(session="s:1"))
    heir = ledger(store, 1, owner="heir")
    assert await heir.recover("s") == Usage(cost=37)
    assert await heir.recover("s") is None
    assert await store.ledger.balance("month:2026-11") == Balance(97, 5)
    assert await store.ledger.balance("user:ann:2026-11") == Balance(97, 0)
    assert (await heir.month()).lost == 37
    for each in lost:
        await dead.settle(each, 1)  # it was not dead, and says what they have cost
        await dead.settle(each, 5)
    assert await store.ledger.balance("month:2026-11") == Balance(62, 5)
    assert [(call.charged, call.cost, call.settled) for call in await heir.lost()] == [(30, 1, "end"), (7, 1, "end")]
    assert (await heir.month()).lost == 0
    await dead.settle(other, 2)
    assert await store.ledger.balance("month:2026-11") == Balance(64, 0)
    assert await heir.recover("s:1") is None


async def test_calls_of_no_session_are_recovered_when_their_node_is_gone(store: Store) -> None:
    for owner in ("a", "a:b", "me"):
        await held(ledger(store, owner=owner), 10, Spender())
    await held(ledger(store, owner="a"), 1)
    it = ledger(store, owner="me")

    async def one() -> list[str]:
        await held(ledger(store, owner="late"), 5, Spender())  # came after the look
        return ["a"]

    async def none() -> list[str]:
        return ["late"]

    assert await it.recover_dead(one) == 1
    assert await it.recover_dead(none) == 2
    assert await it.recover_dead(none) == 0
    assert await store.ledger.balance("month:2026-11") == Balance(21, 15)
    assert await it.recover("s") == Usage(cost=1)  # the log of a session that is taken up is told
    assert await it.recover("s") is None
    assert await store.ledger.balance("month:2026-11") == Balance(21, 15)


async def test_a_killed_call_is_charged_its_input_what_was_heard_and_what_the_time_allows(store: Store) -> None:
    """A kill in mid-call, and the next process comes 0.3 s later."""
    plan = Plan(NANO, base=1_000, token=10.0, speed=100.0, heard=lambda: 50)
    dead = Ledger(store, owner="dead", window=1.0)
    asked = await dead.reserve(NANO, Spender(session="s"), plan)
    assert isinstance(asked, Held)
    (call,) = await store.ledger.open_calls("")
    assert call.cost == 1_000
    async with asyncio.timeout(60):
        while (await store.ledger.open_calls(""))[0].cost == 1_000:
            await asyncio.sleep(0.05)
    await dead.close()  # as a kill does: nothing is noted any more
    await asyncio.sleep(0.3)
    heir = Ledger(store, owner="heir")
    lost = await heir.recover("s")
    assert lost is not None
    assert lost.cost is not None
    # The silence of a second counts as reasoning; then the window of 1 s, and 1 s of a provider that goes on.
    assert 1_000 + 500 < lost.cost <= 1_000 + 500 + 1_000 * (60 + 2)
    (told,) = await heir.lost()
    assert (told.reserved, told.charged, told.session) == (NANO, lost.cost, "s")
    month = await heir.month()
    assert (month.spent, month.reserved, month.lost, month.lost_calls) == (lost.cost, 0, lost.cost, 1)
    await heir.correct(told.id, 700)
    month = await heir.month()
    assert (month.spent, month.lost) == (700, 0)
    with pytest.raises(NotFound, match="roost costs lost"):
        await heir.correct("none", 1)


async def test_a_call_whose_process_stands_still_is_charged_in_full(store: Store) -> None:
    await store.dispatch.beat(NodeCard(id="asleep"), ttl=60)
    asleep = Ledger(store, owner="asleep", window=1.0)
    plan = Plan(500, base=100, token=1.0)
    await asleep.reserve(500, Spender(session="s"), plan)
    await asleep.close()
    heir = Ledger(store, owner="heir")

    async def none() -> list[str]:
        return []

    assert await heir.recover_dead(none) == 0
    assert await heir.recover("s") == Usage(cost=500)


async def test_calls_that_nobody_settles_are_charged_in_the_end(store: Store) -> None:
    it = ledger(store)
    await held(ledger(store), 10, Spender(session="s"))
    mine = await it.reserve(5, Spender(session="s"), Plan(5, base=1, token=1.0))
    assert isinstance(mine, Held)

    async def none(_: Collection[str]) -> list[str]:
        return []

    assert await it.recover_left(none) == 0
    assert await it.recover_left(none, stale=-1) == 1
    await it.settle(mine, 2)
    assert await store.ledger.balance("month:2026-11") == Balance(12, 0)


async def test_a_call_of_which_nothing_is_heard_is_not_lost_while_its_process_makes_it(store: Store) -> None:
    """An answer in one document may take longer than 15 minutes: its owner notes all the same that it goes on."""
    async with asyncio.timeout(60):
        maker, other = Ledger(store, owner="maker"), Ledger(store, owner="other")
        made = await maker.reserve(5, Spender(session="s"), Plan(5, base=5))
        assert isinstance(made, Held)
        began = time.monotonic()
        while (waited := time.monotonic() - began) - (await store.ledger.open_calls(""))[0].idle < 0.5:
            await asyncio.sleep(0.05)

        async def none(_: Collection[str]) -> list[str]:
            return []

        assert await other.recover_left(none, stale=waited + 1_000) == 0
        await maker.settle(made, 2)
        assert await other.lost() == []
        await maker.close()


async def test_a_settled_lost_call_is_removed_in_the_end_and_stays_counted(store: Store) -> None:
    year = 366 * 86_400.0
    await held(ledger(store, now=NOVEMBER), 10, Spender(session="s"))
    it = ledger(store, now=NOVEMBER + year)
    await it.recover("s")
    (call,) = await it.lost("2026-11")
    assert await it.lost("2026-12") == []
    later = ledger(store, now=NOVEMBER + 2 * year)
    assert await later.prune() == 0, "nobody has settled it"
    await it.correct(call.id, 4)
    assert await it.prune() == 0, "it is not old enough"
    assert await later.prune() == 1
    assert await later.lost() == []
    month = await later.month("2026-11")
    assert (month.spent, month.lost) == (4, 0)


async def test_calls_of_older_versions_that_no_session_will_take_up_are_recovered_when_found_twice(
    store: Store,
) -> None:
    async def plain(session: str, amount: int) -> str:
        id = f"call:{session}:{amount}"
        await store.ledger.reserve(id, [Charge("month:2026-11", amount)])
        return id

    for session in ("gone", "ti/red", "busy"):
        await plain(session, 10)
    await plain("-n1", 1)
    it, asked = ledger(store), list[set[str]]()

    async def over(sessions: Collection[str]) -> Collection[str]:
        asked.append(set(sessions))
        return {"gone", "ti:red"}.intersection(sessions)

    assert await it.recover_left(over) == 0
    late = await plain("gone", 5)
    assert await it.recover_left(over) == 2
    assert asked == [{"gone", "ti:red", "busy"}]
    assert await store.ledger.balance("month:2026-11") == Balance(20, 16)
    await store.ledger.settle(late, {"month:2026-11": 2})  # it came to its end in time
    assert await it.recover_left(over) == 0
    assert await store.ledger.balance("month:2026-11") == Balance(22, 11)


async def test_what_is_over_is_forgotten_and_nothing_else(store: Store) -> None:
    it = ledger(store)
    for name in ("turn:s:1", "turn:s:10", "session:s", "session:s2"):
        await it.settle(await held(it, 3, Spender(budgets=(Budget(name, 5),))), 3)
    await it.forget("turn:s:10", "session:s2", "none")
    assert set(await store.ledger.balances("")) == {"month:2026-11", "turn:s:1", "session:s"}
    it2 = Spender(budgets=(Budget("turn:s:10", 5),))
    await it.settle(await held(it, 3, it2), 3)
    await it.forget("turn:s:1", "session:s")  # it begins the name of another
    assert set(await store.ledger.balances("")) == {"month:2026-11", "turn:s:10"}


# Calls that are no requests


async def test_a_meter_charges_embeddings(store: Store) -> None:
    it = ledger(store, 1000 / NANO)
    job = Embedding(("text",), meta={"session": "s", "user": "ann"}, budgets=(Budget("session:s", 900),))
    meter = it.meter("openai/embed", Price(2, 0), job)
    await meter.reserve(100)
    assert await store.ledger.balance("session:s") == Balance(0, 200)
    await meter.settle(Usage(input=90))
    await meter.settle(Usage(input=90))
    assert await store.ledger.balance("session:s") == await store.ledger.balance("month:2026-11") == Balance(180, 0)
    with pytest.raises(RoostError) as none:
        await it.meter("openai/embed", Price(2, 0), job).reserve(500)
    assert none.value.code == "budget"
    with pytest.raises(RoostError) as unknown:
        await it.meter("openai/embed", None, job).reserve(1)
    assert unknown.value.code == "price_unknown"
    free = it.meter("local", Price(0, 0), job)
    await free.reserve(10**6)
    await free.settle(Usage(input=10**6))
    assert await store.ledger.balance("month:2026-11") == Balance(180, 0)
