"""Sessions that spend by chance, on a provider that fails by chance, in a node that is killed by chance: the logs say
what the ledger says, which is no less than what the provider says, and no limit is passed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from roost.agent.session import wake
from roost.kernel.state_loader import load
from roost.log import events as ev
from roost.log.content import Usage
from roost.log.ledger import Balance
from roost.log.protocols import Record
from roost.log.store import Store
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply
from roost.testing.scripted import Call
from tests.harness.lives import Lives

from .money_worker import SESSION_MONEY, TIGHT, Life
from .support import place

SESSIONS = ["free-1", "free-2", "tight-1"]
LIMITS = {"free": SESSION_MONEY, "tight": TIGHT}
KILLS = 4
FAULTS = [
    Fault(kind="status", status=503),
    Fault(kind="status", status=429, retry_after="0.01"),
    Fault(kind="status", status=400, message="This model's maximum context length is 10 tokens"),
    Fault(kind="close", at=600),
    Fault(kind="reset", at=900),
    Fault(kind="stall", at=700, seconds=5),
    Fault(kind="error", at=800, status=500),
    Fault(kind="no_finish"),
    Fault(kind="empty"),
]
WORDS = "word " * 20


class Chance:
    """What the provider says: any request may get any of it. The output is as long as the words it is counted by."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def __call__(self, _: Any) -> Reply:
        chance, usage = self._chance, Usage(input=20, output=25)
        fault = chance.choice(FAULTS) if chance.random() < 0.25 else None
        usual = {"usage": usage, "piece": 5, "pace": chance.choice([0.0, 0.002, 0.01]), "fault": fault}
        kind = chance.random()
        if kind < 0.3:
            return Reply(calls=(Call("look", {"what": WORDS}),), **usual)
        if kind < 0.4:
            return Reply(calls=(Call("look", '{"where": "' + WORDS + '"}'),), **usual)
        if kind < 0.5:
            return Reply(text=WORDS, stop="length", **usual)
        return Reply(text=WORDS, **usual)


class Node(Lives):
    """Lives of `money_worker.py`."""

    def __init__(self, home: Path, url: str, stack: ExitStack) -> None:
        super().__init__("tests.kernel.money_worker", stack)
        self._usual = {"home": str(home), "store": place.url, "url": url, "sessions": SESSIONS}

    def born(self, seed: int, **more: Any) -> int:
        """Return the process's id, once it is at work."""
        return self.begin(Life(**self._usual, seed=seed, **more))["pid"]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def test_killed_by_chance_the_logs_the_ledger_and_the_provider_agree(tmp_path: Path, stack: ExitStack) -> None:
    seed = 7
    chance = random.Random(seed)
    server = stack.enter_context(ProviderServer(Chance(seed)))
    node = Node(tmp_path / "home", server.url, stack)
    for life in range(KILLS):
        pid = node.born(seed + life)
        time.sleep(chance.uniform(0.2, 0.7))
        os.kill(pid, signal.SIGKILL)
        assert node.end() == signal.SIGKILL
    node.born(seed, last=True)
    assert node.end() == 0
    store = await place.open(tmp_path / "home")
    try:
        spent = [await told(store, session) for session in SESSIONS]
        for session, amount in zip(SESSIONS, spent, strict=True):
            assert await store.ledger.balance(f"session:{session}") == Balance(amount, 0)
            assert amount <= limit(session)
        assert list((await store.ledger.balances("month:")).values()) == [Balance(sum(spent), 0)]
        assert await store.ledger.reserved("") == {}
        assert await store.ledger.balances("turn:") == {}
    finally:
        await store.close()
    assert cost(server) <= sum(spent)
    assert server.stats.served["scripted"].calls >= 5


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
async def test_a_node_that_slept_too_long_spends_nothing_that_is_not_seen(tmp_path: Path, stack: ExitStack) -> None:
    """Its calls were taken over while they were under way; it wakes, and ends some of them. What such a node spends
    before it hears that its sessions are another's is in the ledger, and in no log."""
    server = stack.enter_context(ProviderServer(Chance(3)))
    sleeper, heir = Node(tmp_path / "one", server.url, stack), Node(tmp_path / "two", server.url, stack)
    pid = sleeper.born(3, lease=1.0)
    time.sleep(0.8)
    os.kill(pid, signal.SIGSTOP)
    heir.born(4, last=True, lease=1.0)
    assert heir.end() == 0
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.5)
    os.kill(pid, signal.SIGKILL)
    assert sleeper.end() == signal.SIGKILL
    heir.born(5, last=True, lease=1.0)
    assert heir.end() == 0
    store = await place.open(tmp_path / "two")
    try:
        for session in SESSIONS:
            spent, held = await store.ledger.balance(f"session:{session}")
            assert await told(store, session) <= spent <= limit(session) - held
        (now,) = (await store.ledger.balances("month:")).values()
    finally:
        await store.close()
    assert cost(server) <= now.spent + now.reserved


async def told(store: Store, session: str) -> int:
    """What a session has spent, by its log: by its ends of calls, its ends of turns and its state."""
    log = [record.event for record in await whole(store, session)]
    ends = [event for event in log if isinstance(event, ev.ModelCompleted | ev.ModelFailed | ev.ModelLost)]
    spent = sum(event.usage.cost or 0 for event in ends if event.usage is not None)
    assert wake(*await load(store, session, None)).usage.cost == spent
    assert sum(event.usage.cost or 0 for event in log if isinstance(event, ev.TurnCompleted)) == spent
    return spent


def limit(session: str) -> int:
    return round(LIMITS[session.partition("-")[0]] * 1e9)


def cost(server: ProviderServer) -> int:
    """What the provider would have paid for."""
    served = server.stats.served["scripted"]
    return served.input * 10 + served.output * 100


async def whole(store: Store, session: str) -> list[Record]:
    records: list[Record] = []
    while page := await store.logs.read(session, after=len(records), limit=1000):
        records += page
    return records
