"""The ledger over a store that waits, fails or loses its answer."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from tests.harness.wrapping import Passing

from roost.errors import StoreUnreachable
from roost.log.ledger import Balance, CallNote, Charge
from roost.log.store import Store
from roost.models.request import Budget
from roost.money.budgets import Held, Spender
from roost.money.ledger import PAUSES, Ledger
from roost.stores.open import open_store
from roost.testing.clock import FakeClock

NOVEMBER = 1_795_000_000.0  # 2026-11-18 UTC
ME = Spender(session="s", user="ann")


@pytest.fixture
async def store(address: str) -> AsyncIterator[Store]:
    store = await open_store(address)
    yield store
    await store.close()


def ledger(store: Any, **more: Any) -> Ledger:
    return Ledger(store, owner="n1", now=lambda: NOVEMBER, **more)


async def held(ledger: Ledger, amount: int) -> Held:
    answer = await ledger.reserve(amount, ME)
    assert isinstance(answer, Held)
    return answer


class Faulty(Passing):
    """A ledger that waits or fails as the test says, `before` or `after` it has done its work."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner.ledger)
        self.store = dataclasses.replace(inner, ledger=cast(Any, self))
        self.before: Callable[[str], Awaitable[None]] = _pass
        self.after: Callable[[str], Awaitable[None]] = _pass

    async def reserve(self, id: str, charges: Sequence[Charge], note: CallNote | None = None) -> str | None:
        await self.before("reserve")
        answer = await self.inner.reserve(id, charges, note)
        await self.after("reserve")
        return answer

    async def settle(self, id: str, amounts: Mapping[str, int]) -> None:
        await self.before("settle")
        await self.inner.settle(id, amounts)


async def _pass(_: str) -> None:
    pass


async def test_cancelled_while_it_asks_nothing_stays_reserved(store: Store) -> None:
    gate = asyncio.Event()

    async def wait(name: str) -> None:
        if name == "reserve":
            await gate.wait()

    for place in ("before", "after"):
        faulty = Faulty(store)
        setattr(faulty, place, wait)
        it = ledger(faulty.store)
        task = asyncio.create_task(it.reserve(10, ME))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        await it.close()
        gate.clear()
        assert await store.ledger.reserved("") == {}
        assert await store.ledger.balance("month:2026-11") == Balance(0, 0)


async def test_an_answer_that_was_lost_reserves_nothing(store: Store) -> None:
    faulty = Faulty(store)

    async def lose(_: str) -> None:
        raise StoreUnreachable("gone")

    faulty.after = lose
    it = ledger(faulty.store)
    with pytest.raises(StoreUnreachable):
        await it.reserve(10, ME)
    await it.close()
    assert await store.ledger.balance("month:2026-11") == Balance(0, 0)


@pytest.mark.parametrize(("failures", "left"), [(3, Balance(4, 0)), (100, Balance(0, 10))])
async def test_a_settlement_is_tried_again_and_in_the_end_the_reservation_stands(
    failures: int, left: Balance, tmp_path: Path
) -> None:
    clock = FakeClock()
    store = await open_store(str(tmp_path / "roost.db"))
    faulty, tries = Faulty(store), 0

    async def fail(_: str) -> None:
        nonlocal tries
        tries += 1
        if tries <= failures:
            raise StoreUnreachable("gone")

    it = ledger(faulty.store, clock=clock)
    reservation = await held(it, 10)
    faulty.before = fail
    await it.settle(reservation, 4)  # returns: the others go on beside
    assert await store.ledger.balance("month:2026-11") == Balance(0, 10)
    expected = min(failures, len(PAUSES)) + 1
    for number, pause in enumerate(PAUSES, 2):
        await clock.advance(pause)
        async with asyncio.timeout(60):
            while tries < min(number, expected):
                await asyncio.sleep(0.01)
    await it.close()
    assert tries == expected
    assert await store.ledger.balance("month:2026-11") == left
    await store.close()


async def test_what_was_spent_without_a_reservation_is_counted_however_often_it_takes(tmp_path: Path) -> None:
    clock = FakeClock()
    store = await open_store(str(tmp_path / "roost.db"))
    faulty, tries = Faulty(store), 0

    async def fail(_: str) -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise StoreUnreachable("gone")

    faulty.before = faulty.after = fail
    it = ledger(faulty.store, clock=clock)
    await it.count(7, ME)  # returns: the others go on beside
    for pause in PAUSES:
        await clock.advance(pause)
        await asyncio.sleep(0.05)
    await it.close()
    assert await store.ledger.balance("month:2026-11") == Balance(7, 0)
    assert await store.ledger.reserved("") == {}
    await store.close()


async def test_a_settlement_outlives_whoever_asked_for_it(store: Store) -> None:
    faulty, gate = Faulty(store), asyncio.Event()

    async def wait(_: str) -> None:
        await gate.wait()

    it = ledger(faulty.store)
    reservation = await held(it, 10)
    faulty.before = wait
    task = asyncio.create_task(it.settle(reservation, 4))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    await it.close()
    assert await store.ledger.balance("month:2026-11") == Balance(4, 0)


async def test_what_is_over_is_forgotten_once_its_last_call_is_settled(store: Store) -> None:
    faulty, gate = Faulty(store), asyncio.Event()

    async def wait(name: str) -> None:
        await gate.wait()

    it = ledger(faulty.store)
    who = Spender(session="s", budgets=(Budget("turn:s:1"), Budget("turn:s:2")))
    answer = await it.reserve(10, who)
    assert isinstance(answer, Held)
    await it.settle(answer, 4)
    faulty.before = wait
    task = asyncio.create_task(it.reserve(10, who))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await it.forget("turn:s:1")  # returns: the undoing goes on beside
    gate.set()
    await it.close()
    assert await store.ledger.balances("turn:") == {"turn:s:2": Balance(4, 0)}
