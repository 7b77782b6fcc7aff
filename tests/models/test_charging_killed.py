"""A process that is killed while it makes calls: what the ledger counts is what the provider counts, and never less."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.harness.lives import Lives

from roost.log.content import Usage
from roost.log.ledger import Balance
from roost.models.tokens import estimate_request, margin
from roost.money.ledger import Ledger
from roost.stores.open import open_store
from roost.stub.script import Reply, Rule, Script
from roost.stub.stats import Served, Stats
from roost.testing.models import ask

PRICE = (10, 100)
MOST = Usage(input=margin(estimate_request(ask(), media=1_500)), output=200)
"""What a call of the worker reserves."""
ENDS = ["before it is sent", "in its midst", "after its end", "after it is settled"]


def cost(usage: Usage | Served) -> int:
    return usage.input * PRICE[0] + usage.output * PRICE[1]


class Stub:
    """The provider in a process of its own; every answer has this usage."""

    def __init__(self, folder: Path, usage: Usage, stack: ExitStack) -> None:
        script = Script(rules=(Rule(answers=(Reply(text="word " * 20, usage=usage, piece=5, pace=0.003),)),))
        path = folder / "script.json"
        path.write_bytes(msgspec.json.encode(script))
        command = [sys.executable, "-m", "roost", "stub", "--script", str(path)]
        self._process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(self._process.kill)
        assert self._process.stdout is not None
        found = re.search(r"http\S+", self._process.stdout.readline())
        assert found is not None
        self.url = found.group()

    def served(self) -> Served:
        """Once nothing is under way."""
        for _ in range(200):
            with urllib.request.urlopen(self.url.removesuffix("/v1") + "/stats") as answer:
                stats = msgspec.json.decode(answer.read(), type=Stats)
            if not stats.open:
                return stats.served.get("scripted", Served())
            time.sleep(0.05)
        raise AssertionError("the provider does not come to rest")


class Worker(Lives):
    """Lives of `charging_worker.py`."""

    def __init__(self, address: str, url: str, stack: ExitStack) -> None:
        super().__init__("tests.models.charging_worker", stack)
        self._given = {"address": address, "url": url, "session": "s"}
        self.recovered = 0

    def live(self, *, kill: Callable[[], float] | None = None, **life: Any) -> int:
        """Return how it ended: 0, or the signal that killed it. `kill`: after so many seconds."""
        begun = self.begin(self._given | life)
        self.recovered += begun["recovered"]
        if kill is not None:
            time.sleep(kill())
            subprocess.run(["kill", "-KILL", str(begun["pid"])], check=False, stderr=subprocess.DEVNULL)
        return self.end()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def recovered(address: str) -> tuple[int, int]:
    """(what the last life left, what the ledger has spent in the end)."""
    store = await open_store(address)
    ledger = Ledger(store, owner="heir")
    left = await ledger.recover("s")
    assert await ledger.recover("s") is None
    assert await store.ledger.reserved("") == {}
    month = await ledger.month()
    assert month.reserved == 0
    assert await store.ledger.balance(f"month:{month.month}") == Balance(month.spent, 0)
    await store.close()
    return (left.cost or 0) if left else 0, month.spent


@pytest.mark.parametrize("point", ENDS)
async def test_killed_at_each_boundary_the_ledger_equals_the_providers_count(
    point: str, address: str, tmp_path: Path, stack: ExitStack
) -> None:
    """Three calls, the second of which is fatal. Each costs what it reserves, so that a call counts the same whether it
    was settled or recovered."""
    stub = Stub(tmp_path, MOST, stack)
    worker = Worker(address, stub.url, stack)
    assert worker.live(calls=3, fatal=2, point=point) == signal.SIGKILL
    left, spent = await recovered(address)
    assert left == (0 if point == "after it is settled" else cost(MOST))
    assert spent == 2 * cost(MOST)
    served = stub.served()
    assert (served.calls, served.cut) == {"before it is sent": (1, 0), "in its midst": (2, 1)}.get(point, (2, 0))
    assert cost(served) <= spent
    if point.startswith("after"):
        assert cost(served) == spent
    assert worker.live(calls=1) == 0
    assert await recovered(address) == (0, 3 * cost(MOST))


async def test_killed_at_any_moment_the_ledger_is_never_below_the_providers_count(
    address: str, tmp_path: Path, stack: ExitStack
) -> None:
    """Four calls at a time, again and again; a call that ends costs far less than it reserves."""
    usage = Usage(input=MOST.input // 2, output=20)
    stub = Stub(tmp_path, usage, stack)
    worker = Worker(address, stub.url, stack)
    chance = random.Random(11)
    lives, width = 6, 4
    for _ in range(lives):
        assert worker.live(calls=1000, width=width, kill=lambda: chance.uniform(0, 0.3)) == signal.SIGKILL
    assert worker.live(calls=8, width=width) == 0
    left, spent = await recovered(address)
    assert left == 0
    settled, rest = divmod(spent - worker.recovered, cost(usage))
    lost, none = divmod(worker.recovered, cost(MOST))
    assert (rest, none) == (0, 0)
    served = stub.served()
    assert settled <= served.calls - served.cut
    assert served.calls <= settled + lost <= served.calls + lives * width
    assert lost <= lives * width
    assert cost(served) <= spent
    assert settled >= 8
