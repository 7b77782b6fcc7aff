"""A crash before and after every commit of a turn that costs money: what the log says was spent is what the ledger
says, and never less than what the provider counted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from roost.agent.definition import Agent, Limits
from roost.log import events as ev
from roost.stores.open import open_store
from roost.stub.provider import ProviderServer
from tests.harness.crash import scenarios
from tests.harness.crash.inside import crash_inside
from tests.harness.crash.killing import When
from tests.harness.crash.plans import AGENT, script
from tests.harness.crash.witness import witness_tools
from tests.harness.postgres.server import PostgresServer

Store: TypeAlias = Callable[[], AbstractAsyncContextManager[str | None]]
_AT_ONCE = 4
_ROUNDS = 4
_WANTED = frozenset({"reserve", "settle"})
_PRICE = (2.0, 10.0)
"""Dollars a million tokens, in and out."""


@pytest.mark.parametrize("when", ["before", "after"])
async def test_log_and_ledger_agree_whatever_the_instant(tmp_path: Path, when: When) -> None:
    await _everywhere(tmp_path, when, contextlib.nullcontext)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_log_and_ledger_agree_on_postgres(tmp_path: Path, postgres: PostgresServer, when: When) -> None:
    """At every second commit: the strikes are above the store, and SQLite has them all."""
    await _everywhere(tmp_path, when, postgres.borrowed, every=2)


async def _everywhere(folder: Path, when: When, store: Store, *, every: int = 1) -> None:
    """At each `every`-th commit in turn. Which of them reserves depends on the load: from the start again, if none
    did, and at the commits that were left out."""
    struck: list[str] = []
    lost = 0
    kinds: set[str] = set()
    for again in range(_ROUNDS):
        for start in itertools.count(1 + again % every, _AT_ONCE * every):
            some = range(start, start + _AT_ONCE * every, every)
            found = await asyncio.gather(*(_crash(folder / f"{again}-{at}", at, when, store) for at in some))
            struck += [name for name, _ in found if name is not None]
            lost += sum(count for _, count in found)
            if None in [name for name, _ in found]:
                break
        kinds = {kind for name in struck for kind in name.removeprefix(f"{when} ").split("+")}
        if kinds >= _WANTED and lost > 1:
            break
    assert kinds >= _WANTED
    assert lost > 1, "no crash came where it costs something that no outcome tells"


async def _crash(home: Path, at: int, when: When, store: Store) -> tuple[str | None, int]:
    """(the commit at which it died, how often a crash cost something that no outcome tells)."""
    home.mkdir(parents=True)
    witness = home / "witness.jsonl"
    with ProviderServer(script(delay=(0.0, 0.004))) as provider:
        model = f"{provider.url}#scripted"
        prices = f"price = {{ input = {_PRICE[0]}, output = {_PRICE[1]} }}"
        (home / "models.toml").write_text(f'[models."{model}"]\n{prices}\n')
        team = [
            Agent(
                AGENT,
                model=model,
                tools=witness_tools(witness, delay=(0.0, 0.004)),
                permissions="all",
                limits=Limits(money=5.0, session_money=20.0),
            )
        ]
        async with store() as url:
            run = await crash_inside(
                home, team, scenarios.two_tools, agent=AGENT, at=at, when=when, witness=witness, store=url
            )
            count = await _compare(url or home / "roost.db", run.struck)
            served = provider.stats.served["scripted"]
            counted = served.input * _PRICE[0] * 1000 + served.output * _PRICE[1] * 1000
            assert await _spent(url or home / "roost.db") >= counted, run.struck
    return run.struck, count


async def _compare(store: str | Path, struck: str | None) -> int:
    journal = await open_store(store)
    try:
        log = [record.event for record in await journal.logs.read("s")]
        told = [event.usage for event in log if isinstance(event, ev.ModelCompleted | ev.ModelFailed | ev.ModelLost)]
        balance = await journal.ledger.balance("session:s")
        assert sum(usage.cost or 0 for usage in told if usage is not None) == balance.spent, struck
        assert balance.reserved == 0, struck
        if struck is None or ("turn.completed" not in struck and "forget" not in struck):
            assert not await journal.ledger.balances("turn:s:"), struck  # else the next waking drops it
        return sum(isinstance(event, ev.ModelLost) for event in log)
    finally:
        await journal.close()


async def _spent(store: str | Path) -> int:
    journal = await open_store(store)
    try:
        return sum(balance.spent for balance in (await journal.ledger.balances("month:")).values())
    finally:
        await journal.close()
