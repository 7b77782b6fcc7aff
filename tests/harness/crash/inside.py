"""Crashes without processes: a runtime whose journal fails for ever at a chosen commit is abandoned, and a new one
opens the same home. Seconds for hundreds of crashes; locks and the operating system are left to the real ones."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tests.harness.crash.actions import Action, Strike
from tests.harness.crash.check import check
from tests.harness.crash.hands import PATIENCE, Hands
from tests.harness.crash.killing import KillingStore, When
from tests.harness.crash.plans import AGENT
from tests.harness.crash.witness import effects

from roost.agent.definition import Agent
from roost.errors import Conflict, StoreFailed, StoreUnreachable
from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.log.inputs import Input
from roost.log.session_info import ControlAction, Decision, InputMode
from roost.runtime import Runtime
from roost.stores.open import open_store
from roost.stub.provider import ProviderServer

T = TypeVar("T")
CONFIG = KernelConfig(linger=0.02, scan=0.2, lease=5.0)
Scenario = Callable[[Hands], Awaitable[None]]


class InsideDaemon:
    """Implements `Daemon` over a home whose runtimes come and go, with the home's own store or that at the address
    `store`. `struck` names the commit at which one died."""

    def __init__(
        self,
        home: Path,
        agents: Sequence[Agent],
        *,
        at: int | None,
        when: When,
        only: str = "",
        store: str | None = None,
    ) -> None:
        self.struck: str | None = None
        self.names: list[str] = []
        self._home = home
        self._store = store or home / "roost.db"
        self._agents = agents
        self._at = at
        self._when: When = when
        self._only = only
        self._runtime: Runtime | None = None
        self._opening = asyncio.Lock()

    async def create(self, session: str, agent: str) -> None:
        await self._try(lambda runtime: runtime.sessions.create(agent, id=session, key=session))

    async def send(self, session: str, text: str, mode: InputMode, key: str) -> int:
        return (await self._try(lambda runtime: runtime.sessions.send(session, text, mode=mode, key=key))).id

    async def control(self, session: str, action: ControlAction, key: str) -> None:
        await self._try(lambda runtime: runtime.sessions.control(session, action, key=key, wait=0.0))

    async def approve(self, session: str, call: str, decision: Decision) -> None:
        with contextlib.suppress(Conflict):
            await self._try(lambda runtime: runtime.approvals.answer(session, call, decision))

    async def set_timer(self, session: str, timer: str, due: float, text: str, key: str) -> None:
        await self._try(lambda runtime: runtime.sessions.set_timer(session, timer, due, text, key=key))

    async def put(self, session: str, item: Input, key: str) -> None:
        await self._try(lambda runtime: runtime.sessions.put(session, item, key=key))

    async def checkpoint(self, session: str, label: str, key: str) -> None:
        await self._try(lambda runtime: runtime.checkpoints.make(session, label, key=key, wait=0.0))

    async def rollback(self, session: str, label: str, key: str) -> None:
        await self._try(lambda runtime: runtime.checkpoints.rollback(session, label, key=key, wait=0.0))

    async def fork(self, session: str, label: str, id: str, key: str) -> None:
        await self._try(lambda runtime: runtime.checkpoints.fork(session, label, id=id, key=key))

    async def log(self, session: str) -> Sequence[ev.Event]:
        return [record.event for record in await self._try(lambda runtime: runtime.sessions.history(session))]

    async def close(self) -> None:
        if self._runtime is not None:
            await self._runtime.stop(grace=1.0)

    async def asleep(self, session: str) -> None:
        """Until the session has let go of its lease: nothing more will happen by itself."""
        deadline = time.monotonic() + PATIENCE
        while (await self._try(lambda runtime: runtime.sessions.get(session))).owner is not None:
            if time.monotonic() > deadline:
                raise AssertionError(f"session {session!r} never went to sleep")
            await asyncio.sleep(0.01)

    async def journal(self) -> KillingStore:
        return self._journal

    async def _try(self, order: Callable[[Runtime], Awaitable[T]]) -> T:
        deadline = time.monotonic() + PATIENCE
        while True:
            runtime = await self._up()
            try:
                return await order(runtime)
            except StoreFailed as error:
                lost = error.code == "store_closed" or isinstance(error, StoreUnreachable)  # by a busy machine
                if not lost or time.monotonic() > deadline:
                    raise AssertionError(f"an order failed: {error}") from error

    async def _up(self) -> Runtime:
        async with self._opening:
            while self._runtime is None or self._journal.dead:
                if self._runtime is not None:
                    await self._abandon(self._runtime)
                await self._start()
            return self._runtime

    async def _start(self) -> None:
        inner = await open_store(self._store, durability="relaxed")
        at = self._at if self.struck is None else None
        self._journal = KillingStore(
            inner, at=at, when=self._when, only=self._only, how="fail", on_strike=self._on_strike
        )
        self._journal.names = self.names
        self._runtime = Runtime(self._home, agents=self._agents, store=self._journal, config=CONFIG)
        try:
            await self._runtime.start()
        except StoreFailed:
            if not self._journal.dead:
                raise

    async def _abandon(self, runtime: Runtime) -> None:
        """Every write of it is refused from now on, so that its end leaves no trace on the disk."""
        await runtime.stop(grace=0.0)

    def _on_strike(self, name: str) -> None:
        self.struck = name


async def crash_inside(
    home: Path,
    agents: Sequence[Agent],
    scenario: Scenario,
    *,
    agent: str,
    at: int | None,
    when: When,
    witness: Path,
    only: str = "",
    store: str | None = None,
) -> InsideDaemon:
    """Play the scenario with one crash at commit `at` (None: without any) of those that `only` lets count, let
    everything end, and check. Raises `AssertionError`. `struck` of what is returned is None when there were fewer
    commits than that. `store`: the address of an empty one, in place of the home's own."""
    daemon = InsideDaemon(home, agents, at=at, when=when, only=only, store=store)
    hands = Hands(daemon, "s", agent=agent)
    try:
        await hands.create()
        await scenario(hands)
        journal = await _at_rest(daemon, hands)
        await check(journal, "s", sent=hands.sent, effects=effects(witness), settled=True, timers=hands.timers)
    finally:
        await daemon.close()
    return daemon


async def _at_rest(daemon: InsideDaemon, hands: Hands) -> KillingStore:
    """Once everything has ended. From then on nothing is struck: a node has commits of its own (on a slow machine its
    lease runs out and is taken again), and one of them would otherwise be struck while the store is being looked at."""
    while True:
        await hands.settle()
        await daemon.asleep("s")
        await hands.settle()
        journal = await daemon.journal()
        journal.strike(None)
        if not journal.dead:
            return journal


async def strike(home: Path, action: Action, blow: Strike, *, store: str | None = None) -> str | None:
    """Play an action with one crash, let it end, and look. The commit at which it died, None when there was none such.
    Raises `AssertionError`."""
    with ProviderServer(action.script) as provider:
        model, witness = f"{provider.url}#scripted", home / "witness.jsonl"
        action.prepare(home, model)
        daemon = await crash_inside(
            home, action.team(model, witness), action.play, agent=AGENT, witness=witness, store=store, **blow._asdict()
        )
        found = [f"the provider refused a request: {reason}" for reason in provider.stats.reasons]
    journal = await open_store(store or home / "roost.db")
    try:
        found += await action.sight(journal, home, "s")
    finally:
        await journal.close()
    if found:
        raise AssertionError(f"struck {daemon.struck}:\n  " + "\n  ".join(found))
    return daemon.struck
