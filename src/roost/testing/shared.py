"""Conformance suite of the Shared protocol, on two openers of one store, as two processes would be:

class TestMyShared(SharedConformance):
    async def open(self, folder: Path) -> Store: ...
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from roost.errors import Invalid
from roost.log.dispatch import NodeCard
from roost.log.ledger import Balance, CallNote, Charge
from roost.log.store import Store
from roost.testing.stores import PATIENCE, Opens, eventually

_NEVER = 1e-6
"""Rate of a bucket that does not fill during a test."""
_NAMES = (
    "turn:a",
    "turn:ab",
    "turn;",
    "TURN:a",
    "t%",
    "t_rn:a",
    "turn",
    "türn:a",
    "\U0010ffff",
    "\U0010ffff:a",
    "\ud7ffx",
)
_PREFIXES = (
    "turn:",
    "turn:a",
    "turn",
    "t%",
    "t_",
    "t",
    "T",
    "tü",
    "none",
    "%",
    "_",
    "\U0010ffff",
    "\ud7ff",
    "\U0010ffff:",
)


class _Duties(Opens):
    # Settings

    async def test_the_first_value_stays(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            assert await here.coordination.setting("name") is None
            assert await here.coordination.setting("name", "first ✓") == "first ✓"
            assert await there.coordination.setting("name", "second") == "first ✓"
            assert await there.coordination.setting("name") == "first ✓"
            assert await there.coordination.setting("other", "") == ""
            assert await here.coordination.setting("other", "x") == ""
        async with self.journal(tmp_path) as again:
            assert await again.coordination.setting("name") == "first ✓"

    async def test_one_value_wins_a_race(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as stores:
            answers = await asyncio.gather(*(stores[n % 2].coordination.setting("race", str(n)) for n in range(20)))
            assert len(set(answers)) == 1
            assert await stores[0].coordination.setting("race") == answers[0]

    async def test_a_value_is_replaced_where_that_is_asked_for(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            assert await here.coordination.setting("name", None, replace=True) is None
            assert await here.coordination.setting("name", "first", replace=True) == "first"
            assert await there.coordination.setting("name", "second", replace=True) == "second"
            assert await here.coordination.setting("name", "third") == "second"
            assert await here.coordination.setting("name", None, replace=True) == "second"
        async with self.journal(tmp_path) as again:
            assert await again.coordination.setting("name") == "second"

    # Duties

    async def test_a_duty_is_held_by_one(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await here.dispatch.beat(NodeCard(id="a"), ttl=60)
            await there.dispatch.beat(NodeCard(id="b"), ttl=60)
            first = await here.coordination.hold("poll", "a")
            assert first is not None
            assert first > 0
            assert await there.coordination.hold("poll", "b") is None
            assert await here.coordination.hold("poll", "a") == first
            assert await there.coordination.hold("other", "b") is not None
            await there.coordination.drop("poll", "b")
            await there.coordination.drop("none", "b")
            assert await there.coordination.hold("poll", "b") is None
            await here.coordination.drop("poll", "a")
            second = await there.coordination.hold("poll", "b")
            assert second is not None
            assert second > first
            assert await here.coordination.hold("poll", "a") is None

    async def test_one_of_many_gets_the_duty(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as stores:
            for number in range(10):
                await stores[number % 2].dispatch.beat(NodeCard(id=f"n{number}"), ttl=60)
            fences = await asyncio.gather(*(stores[n % 2].coordination.hold("poll", f"n{n}") for n in range(10)))
            assert sum(fence is not None for fence in fences) == 1

    async def test_a_dead_node_loses_its_duty(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await here.dispatch.beat(NodeCard(id="dying"), ttl=60)
            await there.dispatch.beat(NodeCard(id="heir"), ttl=60)
            first = await here.coordination.hold("poll", "dying")
            await here.dispatch.beat(NodeCard(id="dying"), ttl=0.3)
            second = await eventually(lambda: there.coordination.hold("poll", "heir"))
            assert first is not None
            assert second is not None
            assert second > first
            await here.dispatch.beat(NodeCard(id="dying"), ttl=60)
            assert await here.coordination.hold("poll", "dying") is None
            await here.coordination.drop("poll", "dying")
            assert await there.coordination.hold("poll", "heir") == second

    async def test_who_leaves_drops_its_duties(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await here.dispatch.beat(NodeCard(id="a"), ttl=60)
            await there.dispatch.beat(NodeCard(id="b"), ttl=60)
            first = await here.coordination.hold("poll", "a")
            await here.dispatch.leave("a")
            await here.dispatch.beat(NodeCard(id="a"), ttl=60)
            second = await there.coordination.hold("poll", "b")
            assert first is not None
            assert second is not None
            assert second > first


class _Budgets(_Duties):
    async def test_spent_takes_the_place_of_reserved(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            assert await here.ledger.balance("day") == Balance(0, 0)
            assert await here.ledger.reserve("one", [Charge("day", 60, 100), Charge("tokens", 5)]) is None
            assert await there.ledger.balance("day") == Balance(0, 60)
            await there.ledger.settle("one", {"day": 45, "tokens": 9})
            assert await here.ledger.balance("day") == Balance(45, 0)
            assert await here.ledger.balance("tokens") == Balance(9, 0)
            assert await here.ledger.reserve("two", [Charge("day", 55, 100)]) is None
            await here.ledger.settle("two", {})
            assert await there.ledger.balance("day") == Balance(45, 0)

    async def test_a_full_budget_refuses_all_of_it(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            assert await here.ledger.reserve("one", [Charge("day", 100, 100)]) is None
            assert await there.ledger.reserve("two", [Charge("free", 1, 10), Charge("day", 1, 100)]) == "day"
            assert await here.ledger.balance("free") == Balance(0, 0)
            assert await here.ledger.balance("day") == Balance(0, 100)
            await here.ledger.settle("one", {"day": 99})
            assert await there.ledger.reserve("two", [Charge("free", 1, 10), Charge("day", 2, 100)]) == "day"
            assert await there.ledger.reserve("two", [Charge("free", 1, 10), Charge("day", 1, 100)]) is None
            assert await there.ledger.reserve("three", [Charge("day", 0, 100)]) is None
            assert await there.ledger.reserve("four", [Charge("day", 10**15)]) is None
            assert await there.ledger.reserve("five", [Charge("day", 0, 100)]) == "day"

    async def test_two_charges_on_one_budget_count_together(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            assert await store.ledger.reserve("one", [Charge("day", 6, 10), Charge("day", 6, 10)]) == "day"
            assert await store.ledger.reserve("two", [Charge("day", 6, 12), Charge("day", 6, 12)]) is None
            assert await store.ledger.balance("day") == Balance(0, 12)
            await store.ledger.settle("two", {"day": 1})
            assert await store.ledger.balance("day") == Balance(1, 0)

    async def test_the_same_again_changes_nothing(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            charges = [Charge("day", 7, 10)]
            answers = await asyncio.gather(*(store.ledger.reserve("one", charges) for store in (here, there) * 5))
            assert answers == [None] * 10
            assert await here.ledger.balance("day") == Balance(0, 7)
            assert await here.ledger.reserve("one", [Charge("day", 9, 10)]) is None
            assert await here.ledger.balance("day") == Balance(0, 7)
            await asyncio.gather(*(store.ledger.settle("one", {"day": 3}) for store in (here, there) * 5))
            assert await there.ledger.balance("day") == Balance(3, 0)
            await here.ledger.settle("one", {"day": 1})
            await here.ledger.settle("never", {"day": 1})
            assert await there.ledger.balance("day") == Balance(3, 0)

    async def test_a_settled_id_is_a_new_reservation(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            for spent in (3, 5):
                assert await here.ledger.reserve("one", [Charge("day", 7, 10)]) is None
                await there.ledger.settle("one", {"day": spent - 2})
            assert await here.ledger.balance("day") == Balance(4, 0)
            assert await here.ledger.reserve("one", [Charge("day", 7, 10)]) == "day"

    async def test_many_at_once_never_pass_a_limit(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as stores:
            both = [Charge("left", 7, 100), Charge("right", 7, 200)]

            async def spend(number: int) -> bool:
                store = stores[number % 2]
                charges = both if number % 3 else both[::-1]
                if await store.ledger.reserve(f"r{number}", charges) is not None:
                    return False
                if number % 4 == 0:
                    await store.ledger.settle(f"r{number}", {"left": 7, "right": 7})
                return True

            stand = sum(await asyncio.gather(*(spend(number) for number in range(60))))
            assert stand == 14
            for budget in ("left", "right"):
                now = await stores[0].ledger.balance(budget)
                assert now.spent + now.reserved == 98

    async def test_budgets_outlive_whoever_made_them(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.ledger.reserve("one", [Charge("day", 7, 10)])
        async with self.journal(tmp_path) as store:
            assert await store.ledger.reserve("two", [Charge("day", 7, 10)]) == "day"
            await store.ledger.settle("one", {"day": 2})
            assert await store.ledger.balance("day") == Balance(2, 0)


class _Prefixes(_Budgets):
    async def test_balances_are_found_by_how_they_begin(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            for number, name in enumerate(_NAMES, 1):
                assert await here.ledger.reserve(f"r{number}", [Charge(name, number)]) is None
            await here.ledger.settle("r1", {_NAMES[0]: 5})
            assert await there.ledger.balances("") == {
                name: Balance(5, 0) if number == 1 else Balance(0, number) for number, name in enumerate(_NAMES, 1)
            }
            for prefix in _PREFIXES:
                assert set(await there.ledger.balances(prefix)) == {
                    name for name in _NAMES if name.startswith(prefix)
                }, prefix

    async def test_a_budget_at_zero_is_not_among_the_balances(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await here.ledger.reserve("one", [Charge("a:1", 1), Charge("a:2", 0)])
            assert await here.ledger.reserve("two", [Charge("a:3", 1, 0)]) == "a:3"
            assert await there.ledger.balances("a:") == {"a:1": Balance(0, 1)}
            await here.ledger.settle("one", {})
            assert await there.ledger.balances("a:") == {}

    async def test_what_is_reserved_is_found_by_how_its_id_begins(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            assert await here.ledger.reserved("") == {}
            for number, id in enumerate(_NAMES):
                assert await here.ledger.reserve(id, [Charge("day", number), Charge("week", 2 * number)]) is None
            for prefix in ("", *_PREFIXES):
                assert await there.ledger.reserved(prefix) == {
                    id: {"day": number, "week": 2 * number} for number, id in enumerate(_NAMES) if id.startswith(prefix)
                }, prefix
            await there.ledger.settle(_NAMES[0], {"day": 1})
            assert set(await here.ledger.reserved("")) == set(_NAMES[1:])

    async def test_what_is_over_is_forgotten(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            for name in _NAMES:
                await here.ledger.reserve(name, [Charge(name, 3)])
                await here.ledger.settle(name, {name: 2})
            await here.ledger.reserve("open", [Charge("turn:a", 7)])
            await there.ledger.forget("turn:a")
            kept = {name: Balance(2, 0) for name in _NAMES}
            assert await here.ledger.balances("") == kept | {"turn:a": Balance(2, 7)}
            await here.ledger.settle("open", {"turn:a": 1})
            for name in ("turn:a", "turn:a", "turn:", "nobody", ""):
                await there.ledger.forget(name)
            assert await here.ledger.balances("") == {name: now for name, now in kept.items() if name != "turn:a"}
            assert await here.ledger.balance("turn:a") == Balance(0, 0)
            assert await here.ledger.reserve("anew", [Charge("turn:a", 5, 5)]) is None
            await here.ledger.settle("anew", {})
            for name in _NAMES:
                await here.ledger.forget(name)
            assert await there.ledger.balances("") == {}

    async def test_forgetting_loses_nothing_that_is_being_charged(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as stores:

            async def spend(number: int) -> None:
                store = stores[number % 2]
                assert await store.ledger.reserve(f"r{number}", [Charge("turn:a", 5), Charge("month", 5)]) is None
                await store.ledger.settle(f"r{number}", {"turn:a": 3, "month": 3})

            async def forget(number: int) -> None:
                await stores[number % 2].ledger.forget("turn:a")

            await asyncio.gather(*(work(number) for number in range(40) for work in (spend, forget)))
            assert await stores[0].ledger.balance("month") == Balance(120, 0)
            left = await stores[1].ledger.balance("turn:a")
            assert left.reserved == 0
            assert 0 <= left.spent <= 120
            await stores[0].ledger.forget("turn:a")
            assert await stores[1].ledger.balances("turn:") == {}


class _Calls(_Prefixes):
    async def test_what_a_call_has_cost_so_far_is_known_to_all(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            charges = [Charge("month:a", 60, 100), Charge("turn:s:1", 60)]
            assert await here.ledger.reserve("call:s:1", charges, _note(cost=5)) is None
            assert await here.ledger.reserve("call:t:1", [Charge("month:a", 7)]) is None
            assert await here.ledger.reserve("call:u:1", [Charge("month:a", 70, 100)], _note()) == "month:a"
            await here.ledger.progress({"call:s:1": 11, "call:t:1": 3, "call:u:1": 4, "none": 5})
            await there.ledger.progress({"call:s:1": 9})
            (call,) = await there.ledger.open_calls("call:s:")
            assert call.note == _note(cost=5)
            assert (call.amounts, call.cost, call.gone) == ({"month:a": 60, "turn:s:1": 60}, 11, True)
            assert 0 <= call.idle < 60
            old = (await here.ledger.open_calls("call:"))[1]
            assert (old.id, old.amounts, old.note, old.gone) == ("call:t:1", {"month:a": 7}, None, True)
            await here.ledger.settle("call:s:1", {"month:a": 12, "turn:s:1": 12})
            assert [call.id for call in await there.ledger.open_calls("")] == ["call:t:1"]
            assert await there.ledger.lost("") == []

    async def test_the_owner_of_a_call_is_there_until_its_process_is_not(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await here.dispatch.beat(NodeCard(id="n1"), ttl=60)
            await here.ledger.reserve("call:s:1", [Charge("month:a", 60)], _note(owner="n1"))
            assert [call.gone for call in await there.ledger.open_calls("")] == [False]
            await here.dispatch.leave("n1")
            await eventually(lambda: _gone(there))

    async def test_a_lost_call_counts_once_and_is_corrected_later(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await here.ledger.reserve("call:s:1", [Charge("month:a", 60), Charge("turn:s:1", 60)], _note())
            lost = await asyncio.gather(
                *(one.ledger.lose("call:s:1", 20, _note(), told=False) for one in (here, there) * 3)
            )
            assert sorted(lost) == [False] * 5 + [True]
            assert await here.ledger.balances("") == {"month:a": Balance(20, 0), "turn:s:1": Balance(20, 0)}
            (call,) = await there.ledger.lost("call:s:")
            assert (call.id, call.reserved, call.charged, call.cost) == ("call:s:1", 60, 20, 20)
            assert (call.settled, call.told, call.session, call.model) == (None, False, "s", "acme/big")
            await there.ledger.tell(["call:s:1", "none"])
            corrected = await here.ledger.correct("call:s:1", 8, "hand")
            assert corrected is not None
            assert (corrected.charged, corrected.cost, corrected.settled, corrected.told) == (20, 8, "hand", True)
            assert await there.ledger.lost("") == [corrected]
            assert await there.ledger.balances("") == {"month:a": Balance(8, 0), "turn:s:1": Balance(20, 0)}
            await here.ledger.settle("call:s:1", {"month:a": 30})  # it is settled already
            await here.ledger.progress({"call:s:1": 90})
            assert await there.ledger.correct("call:s:1", 9, "report") is not None
            assert (await here.ledger.balance("month:a")).spent == 9
            assert await there.ledger.correct("call:s:1", 7, "report", again=False) is None
            assert (await here.ledger.balance("month:a")).spent == 9
            assert await here.ledger.correct("none", 5, "hand") is None
            assert await here.ledger.lose("none", 5, _note(), told=True) is False

    async def test_a_lost_call_that_ends_after_all_says_itself_what_it_has_cost(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await here.ledger.reserve("call:s:1", [Charge("month:a", 60)], _note())
            assert await there.ledger.lose("call:s:1", 20, _note(), told=True)
            await here.ledger.settle("call:s:1", {"month:a": 33, "turn:s:1": 33})
            assert await there.ledger.balances("") == {"month:a": Balance(33, 0)}
            await here.ledger.settle("call:s:1", {"month:a": 1})
            assert [(call.cost, call.settled) for call in await there.ledger.lost("")] == [(33, "end")]

    async def test_a_call_from_before_notes_can_be_lost_too(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as store:
            await store.ledger.reserve("call:s:1", [Charge("month:a", 60)])
            assert await store.ledger.lose("call:s:1", 60, _note(), told=True)
            assert [(call.id, call.cost) for call in await store.ledger.lost("")] == [("call:s:1", 60)]

    async def test_the_id_of_the_provider_is_kept_with_a_lost_call(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            for number in (1, 2):
                await here.ledger.reserve(f"call:s:{number}", [Charge("month:a", 60)], _note())
            await here.ledger.progress({"call:s:1": 3, "call:s:2": 4}, {"call:s:1": "gen-1"})
            await here.ledger.progress({"call:s:1": 5})
            for number in (1, 2):
                assert await there.ledger.lose(f"call:s:{number}", 20, _note(), told=True)
            assert [call.provider_id for call in await here.ledger.lost("call:s:")] == ["gen-1", None]

    async def test_lost_calls_are_found_by_their_start_and_go_once_settled(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            for number in range(6):
                await here.ledger.reserve(f"call:s:{number}", [Charge("month:a", 60)])
                assert await here.ledger.lose(f"call:s:{number}", 20, _note(started=100.0 * number), told=True)
            found = await there.ledger.lost("call:", started=(100.0, 300.0))
            assert [call.id for call in found] == ["call:s:1", "call:s:2"]
            assert await there.ledger.lost("turn:", started=(100.0, 300.0)) == []
            await here.ledger.correct("call:s:1", 5, "hand")
            await here.ledger.correct("call:s:4", 5, "report")
            assert await there.ledger.prune_lost(400.0) == 1
            assert [call.id for call in await here.ledger.lost("")] == [
                f"call:s:{number}" for number in (0, 2, 3, 4, 5)
            ]
            assert (await here.ledger.balance("month:a")).spent == 4 * 20 + 2 * 5


def _note(owner: str = "n9", cost: int = 0, started: float = 1000.5) -> CallNote:
    who = {"model": "acme/big", "session": "s", "agent": "a", "user": "ann"}
    return CallNote(owner=owner, started=started, cost=cost, rate=3, window=10.0, lasting=("month:a",), **who)


async def _gone(store: Store) -> bool:
    return all(call.gone for call in await store.ledger.open_calls(""))


class SharedConformance(_Calls):
    # Rates

    async def test_a_bucket_starts_full_and_runs_dry(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            assert await here.coordination.take("b", 3, rate=_NEVER, burst=5) == 0.0
            wait = await there.coordination.take("b", 3, rate=_NEVER, burst=5)
            assert wait == pytest.approx(1 / _NEVER, rel=0.01)
            assert await there.coordination.take("b", 2, rate=_NEVER, burst=5) == 0.0
            assert await here.coordination.take("b", 1, rate=_NEVER, burst=5) > 0.0
            assert await here.coordination.take("another", 5, rate=_NEVER, burst=5) == 0.0
            with pytest.raises(Invalid):
                await here.coordination.take("b", 6, rate=1000.0, burst=5)

    async def test_what_a_bucket_could_never_give_is_refused(self, tmp_path: Path) -> None:
        """Also while the bucket holds enough: an invalid amount must not only fail once the bucket is empty."""
        async with self.journal(tmp_path) as store:
            for amount, rate in ((1, 0.0), (1, -1.0), (1, float("nan")), (-1, 1.0), (float("nan"), 1.0)):
                with pytest.raises(Invalid):
                    await store.coordination.take("b", amount, rate=rate, burst=5)
            assert await store.coordination.take("b", 5, rate=_NEVER, burst=5) == 0.0
            assert await store.coordination.take("b", 0, rate=_NEVER, burst=5) == 0.0

    async def test_a_bucket_fills_with_time_up_to_its_burst(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            assert await here.coordination.take("b", 10, rate=20.0, burst=10) == 0.0
            began = time.monotonic()
            while (wait := await there.coordination.take("b", 8, rate=20.0, burst=10)) > 0.0:
                assert wait <= 0.4
                assert time.monotonic() - began < PATIENCE
                await asyncio.sleep(wait)
            assert time.monotonic() - began > 0.3
            assert await here.coordination.take("small", 2, rate=1000.0, burst=2) == 0.0
            await asyncio.sleep(0.05)
            assert await here.coordination.take("small", 2, rate=1000.0, burst=2) == 0.0
            assert await here.coordination.take("small", 1, rate=_NEVER, burst=2) > 0.0

    async def test_many_at_once_take_no_more_than_there_is(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as stores:
            waits = await asyncio.gather(
                *(stores[n % 2].coordination.take("b", 1, rate=_NEVER, burst=20) for n in range(50))
            )
            assert waits.count(0.0) == 20
