"""What a month has cost: the sum from the ledger, what for from the logs."""

from __future__ import annotations

import asyncio
import calendar
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.features.budgets.cost_report import By, CostRow, costs
from roost.features.hooks.events import PolicyDecided
from roost.features.memory.events import MemoryConsolidated
from roost.kernel.config import KernelConfig
from roost.log.content import ErrorData, Text, Usage
from roost.log.events import Event, ModelCompleted, ModelFailed, ModelLost, ModelStarted, encode_event
from roost.log.ledger import Balance, LostCall
from roost.log.portable import SessionDump
from roost.log.protocols import Record
from roost.log.session_info import SessionInfo
from roost.log.store import Store
from roost.models.profile import Price
from roost.money.budgets import NANO, BudgetEntry, Held, Month, Share, Spender
from roost.money.ledger import Ledger
from roost.stores.open import open_store

from .support import place, running

PRICES = {"acme/big": Price(10, 100, cached=1), "acme/small": Price(1, 2)}


def at(day: int, month: int = 11, year: int = 2026) -> float:
    return calendar.timegm((year, month, day, 12, 0, 0))


def step(moment: float, model: str, usage: Usage, *, real: str | None = None) -> list[Event]:
    began = ModelStarted(at=moment - 1, step=1, model=model, attempt=1)
    return [began, ModelCompleted(at=moment, step=1, parts=(Text("x"),), usage=usage, model=real)]


async def write(store: Store, session: str, agent: str, events: list[Event]) -> None:
    """A session that began with the first event and ended with the last."""
    info = SessionInfo(
        id=session,
        agent=agent,
        version="1",
        state="running",
        phase="idle",
        head=len(events),
        created_at=events[0].at,
        updated_at=events[-1].at,
    )

    async def log() -> AsyncIterator[list[Record]]:
        yield [Record(seq, encode_event(event)) for seq, event in enumerate(events, 1)]

    dump = SessionDump(info=info, create_key=None, inputs=0, inbox=(), timers=(), snapshot=None)
    await store.portable.restore(dump, log())


@pytest.fixture
async def store(store: None, tmp_path: Path) -> Store:
    return await open_store(place.url or tmp_path / "roost.db")


async def rows(store: Store, by: By, month: str) -> dict[str, CostRow]:
    found = await costs(store, Ledger(store, owner="n"), PRICES.get, by=by, month=month)
    return {row.name: row for row in found.rows}


async def test_what_a_month_was_spent_on_is_read_from_the_logs(store: Store) -> None:
    cached = Usage(input=100, output=10, cached=40, cost=1_640)
    failed = ModelFailed(at=at(3), step=1, error=ErrorData("timeout", "slow"), usage=Usage(input=5, cost=50))
    quiet = ModelFailed(at=at(3), step=1, error=ErrorData("overloaded", "busy"))
    first = [
        *step(at(30, 10), "acme/big", Usage(input=9, cost=9)),
        *step(at(2), "acme/big", cached),
        *step(at(2), "auto", Usage(input=7, output=1), real="own/unknown"),
        ModelStarted(at=at(3), step=1, model="acme/big", attempt=1),
        failed,
        quiet,
        *step(at(1, 12), "acme/big", Usage(input=8, cost=8)),
    ]
    await write(store, "a", "clerk", first)
    lost = ModelLost(at=at(4), step=1, attempt=1, usage=Usage(cost=500))
    await write(store, "b", "scout", [*step(at(3), "acme/small", Usage(input=10, output=5, cost=20)), lost])
    big = CostRow(name="acme/big", calls=3, input=105, cached=40, output=10, cost=1_690, saved=360)
    small = CostRow(name="acme/small", calls=2, input=10, output=5, cost=520, lost=500)
    other = CostRow(name="own/unknown", calls=1, unpriced=1, input=7, output=1)
    assert list((await rows(store, "model", "2026-11")).values()) == [big, small, other]
    days = await rows(store, "day", "2026-11")
    assert [(row.name, row.calls, row.cost) for row in days.values()] == [
        ("2026-11-02", 2, 1_640),
        ("2026-11-03", 3, 70),
        ("2026-11-04", 1, 500),
    ]
    cases: list[tuple[By, tuple[str, str]]] = [("session", ("a", "b")), ("agent", ("clerk", "scout"))]
    for by, names in cases:
        found = await rows(store, by, "2026-11")
        assert [(row.name, row.calls, row.unpriced, row.cost) for row in found.values()] == [
            (names[0], 4, 1, 1_690),
            (names[1], 2, 0, 520),
        ]
    assert [row.cost for row in (await rows(store, "session", "2026-10")).values()] == [9]
    assert [row.cost for row in (await rows(store, "session", "2026-12")).values()] == [8]
    assert await rows(store, "model", "2025-11") == {}
    await store.close()


async def test_what_a_crash_cut_off_is_in_the_rows_once_and_as_it_was_corrected(store: Store) -> None:
    it = Ledger(store, owner="dead", now=lambda: at(4))

    async def lose(session: str | None) -> LostCall:
        who = Spender(session=session, agent="clerk", model="acme/big")
        assert isinstance(await it.reserve(500, who), Held)
        heir = Ledger(store, owner="heir", now=lambda: at(4))
        if session is not None:
            await heir.recover(session)
        else:
            await heir.recover_dead(none)
        return (await heir.lost())[-1]

    async def none() -> list[str]:
        return []

    told = await lose("a")
    await write(store, "a", "clerk", [ModelStarted(at=at(4), step=1, model="acme/big", attempt=1),
                                      ModelLost(at=at(4), step=1, attempt=1, usage=Usage(cost=500))])  # fmt: skip
    await lose("deleted")
    await lose(None)
    for agent in ("agent", "model"):
        (row,) = (await rows(store, agent, "2026-11")).values()
        assert (row.calls, row.cost, row.lost) == (2, 1_000, 1_000)
    await it.correct(told.id, 120)
    found = await rows(store, "session", "2026-11")
    assert {name: (row.calls, row.cost) for name, row in found.items()} == {"unknown": (1, 500), "a": (1, 120)}
    assert (await store.ledger.balance("month:2026-11")).spent == 500 + 500 + 120
    await it.close()
    await store.close()


async def test_a_long_log_is_read_from_the_months_first_call(store: Store) -> None:
    """1,500 calls, one an hour: October has the first 744."""
    began = calendar.timegm((2026, 10, 1, 0, 30, 0))
    events = [event for hour in range(1_500) for event in step(began + hour * 3_600.0, "acme/small", Usage(cost=1))]
    await write(store, "long", "clerk", events)
    calls = {month: (await rows(store, "agent", month))["clerk"].calls for month in ("2026-10", "2026-11", "2026-12")}
    assert calls == {"2026-10": 744, "2026-11": 720, "2026-12": 36}
    await store.close()


async def test_what_the_policy_asked_a_model_is_among_them(store: Store) -> None:
    asked = PolicyDecided(at=at(5), by="classifier", on="call", decision="allow", usage=Usage(10, 2, cost=30))
    free = PolicyDecided(at=at(6), by="hook:lint", on="pre_tool", decision="allow")
    await write(store, "s1", "a", [*step(at(4), "acme/big", Usage(10, 1, cost=200)), asked, free])
    found = await rows(store, "model", "2026-11")
    assert {name: (row.calls, row.cost) for name, row in found.items()} == {"acme/big": (1, 200), "classifier": (1, 30)}
    assert (await rows(store, "session", "2026-11"))["s1"].cost == 230
    await store.close()


async def test_what_consolidation_has_cost_is_among_them(store: Store) -> None:
    made = MemoryConsolidated(at=at(5), upto=2, facts=1, model="acme/small", usage=Usage(10, 2, cost=30))
    unasked = MemoryConsolidated(at=at(6), upto=4, error="it was cut off too often")
    await write(store, "s1", "a", [*step(at(4), "acme/big", Usage(10, 1, cost=200)), made, unasked])
    found = await rows(store, "model", "2026-11")
    assert {name: (row.calls, row.cost) for name, row in found.items()} == {"acme/big": (1, 200), "acme/small": (1, 30)}
    await store.close()


async def test_the_sum_and_the_shares_are_the_ledgers(store: Store) -> None:
    entry = BudgetEntry(month=2, users={"*": 1}, agents={"clerk": 0.5})
    ledger = Ledger(store, owner="n", budget=entry, now=lambda: at(5), models=["acme/big"])
    for user, agent, amount in (("ann", "clerk", 30), ("b:ob", "clerk", 40), ("ann", "scout", 5)):
        held = await ledger.reserve(50, Spender(user=user, agent=agent, model="acme/big"))
        assert isinstance(held, Held)
        await ledger.settle(held, amount)
    await ledger.reserve(7, Spender(user="ann"))
    found = await costs(store, ledger, PRICES.get)
    assert found.month == Month(month="2026-11", spent=75, reserved=7, limit=2 * NANO, warn=NANO * 16 // 10)
    assert (found.by, found.rows) == (None, [])
    assert found.shares == [
        Share(kind="user", name="b:ob", spent=40, reserved=0, limit=NANO),
        Share(kind="user", name="ann", spent=35, reserved=7, limit=NANO),
        Share(kind="agent", name="clerk", spent=70, reserved=0, limit=NANO // 2),
        Share(kind="agent", name="scout", spent=5, reserved=0),
        Share(kind="model", name="acme/big", spent=75, reserved=0),
    ]
    other = await costs(store, ledger, PRICES.get, month="2026-10")
    assert (other.month.month, other.month.spent, other.shares) == ("2026-10", 0, [])
    await store.close()


async def test_what_a_dead_node_had_under_way_for_no_session_is_settled_by_the_others(
    store: Store, tmp_path: Path
) -> None:
    dead = Ledger(store, owner="node_dead", now=lambda: at(5))
    assert isinstance(await dead.reserve(50, Spender()), Held)
    async with running(tmp_path, config=KernelConfig(cleanup_every=86_400, recover_every=0.1)), asyncio.timeout(30):
        while await store.ledger.reserved(""):
            await asyncio.sleep(0.02)
    assert await store.ledger.balance("month:2026-11") == Balance(50, 0)
    await dead.close()
    await store.close()
