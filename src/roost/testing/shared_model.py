"""A state machine over the state shared by all nodes: random operations beside a model in memory, on two openers.

class MyMachine(SharedMachine):
    async def open(self, folder): ...
TestMachine = MyMachine.TestCase
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from roost.log.dispatch import NodeCard
from roost.log.ledger import Balance, Charge
from roost.log.store import Store

T = TypeVar("T")
_WHERE = st.integers(0, 1)
_IDS = st.sampled_from(["r1", "r2", "r3", "r4"])
_BUDGETS = st.sampled_from(["day", "week"])
_PREFIXES = st.sampled_from(["d", "day", "w", "da_", "%"])
_NODES = st.sampled_from(["n1", "n2"])
_LIMITS = {"day": 100, "week": 150}


class SharedMachine(RuleBasedStateMachine):
    """Every rule does the same to the store, through either opener, and to the model, and compares."""

    async def open(self, folder: Path) -> Store:
        raise AssertionError("say in a subclass how to open a store")

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._loop = asyncio.new_event_loop()
        self._stores = [self._do(self.open(Path(self._folder.name))) for _ in range(2)]
        self._spent: Counter[str] = Counter()
        self._reserved: dict[str, Counter[str]] = {}
        self._settings: dict[str, str] = {}
        self._holder: str | None = None
        self._fence = 0
        for node in ("n1", "n2"):
            self._do(self._stores[0].dispatch.beat(NodeCard(id=node), ttl=600))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def _held(self, budget: str) -> int:
        return sum(amounts[budget] for amounts in self._reserved.values())

    @rule(where=_WHERE, id=_IDS, charges=st.lists(st.tuples(_BUDGETS, st.integers(0, 60)), min_size=1, max_size=3))
    def reserve(self, where: int, id: str, charges: list[tuple[str, int]]) -> None:
        answer = self._do(
            self._stores[where].ledger.reserve(id, [Charge(name, amount, _LIMITS[name]) for name, amount in charges])
        )
        if id in self._reserved:
            assert answer is None
            return
        wanted: Counter[str] = Counter()
        for name, amount in charges:
            wanted[name] += amount
        full = {name for name in wanted if self._spent[name] + self._held(name) + wanted[name] > _LIMITS[name]}
        assert (answer in full) if full else answer is None
        if not full:
            self._reserved[id] = wanted

    @rule(where=_WHERE, id=_IDS, amounts=st.dictionaries(_BUDGETS, st.integers(0, 60)))
    def settle(self, where: int, id: str, amounts: dict[str, int]) -> None:
        self._do(self._stores[where].ledger.settle(id, amounts))
        if self._reserved.pop(id, None) is not None:
            self._spent.update(amounts)

    @rule(
        where=_WHERE,
        name=st.sampled_from(["a", "b"]),
        value=st.none() | st.text(st.characters(codec="utf-8"), max_size=3),
        replace=st.booleans(),
    )
    def setting(self, where: int, name: str, value: str | None, replace: bool) -> None:
        value = value.replace("\0", "") if value is not None else None
        if value is not None:
            self._settings[name] = value if replace else self._settings.get(name, value)
        assert self._do(self._stores[where].coordination.setting(name, value, replace=replace)) == self._settings.get(
            name
        )

    @rule(where=_WHERE, name=_PREFIXES)
    def forget(self, where: int, name: str) -> None:
        self._do(self._stores[where].ledger.forget(name))
        if name in _LIMITS and not self._held(name):
            del self._spent[name]

    @rule(where=_WHERE, prefix=_PREFIXES | st.just(""))
    def balances(self, where: int, prefix: str) -> None:
        held = {name: Balance(self._spent[name], self._held(name)) for name in _LIMITS if name.startswith(prefix)}
        assert self._do(self._stores[where].ledger.balances(prefix)) == {
            name: now for name, now in held.items() if any(now)
        }

    @rule(where=_WHERE, prefix=st.sampled_from(["", "r", "r1", "r_"]))
    def reserved(self, where: int, prefix: str) -> None:
        assert self._do(self._stores[where].ledger.reserved(prefix)) == {
            id: dict(amounts) for id, amounts in self._reserved.items() if id.startswith(prefix)
        }

    @rule(where=_WHERE, node=_NODES)
    def hold(self, where: int, node: str) -> None:
        fence = self._do(self._stores[where].coordination.hold("duty", node))
        if self._holder not in (None, node):
            assert fence is None
            return
        assert fence is not None
        assert fence == self._fence if self._holder == node else fence > self._fence
        self._holder, self._fence = node, fence

    @rule(where=_WHERE, node=_NODES)
    def drop(self, where: int, node: str) -> None:
        self._do(self._stores[where].coordination.drop("duty", node))
        if self._holder == node:
            self._holder = None

    @invariant()
    def same_as_the_model(self) -> None:
        for name in _LIMITS:
            assert self._do(self._stores[0].ledger.balance(name)) == Balance(self._spent[name], self._held(name))

    def teardown(self) -> None:
        for store in self._stores:
            self._do(store.close())
        self._loop.close()
        self._folder.cleanup()


SharedMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
