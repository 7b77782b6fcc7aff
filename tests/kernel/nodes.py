"""Two nodes on one store, each with a home of its own, and what can be done to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from roost.agent.definition import Agent
from roost.errors import StoreUnreachable
from roost.kernel.config import KernelConfig
from roost.log.dispatch import Backlog, Dispatcher, NodeCard, NodeInfo
from roost.log.protocols import Claim
from roost.runtime import Runtime
from roost.testing.scripted import Answer, ScriptedModel, by_step
from roost.tools.base import Tool, ToolContext
from roost.tools.function import tool

from .support import place

CALM = KernelConfig(linger=0.05, scan=600.0, lease=60.0)
"""Whoever finds work does so because it was told, not because it looked, and no node is taken for dead."""


class Hands:
    """Tools that do not touch files, so that their sessions run anywhere; `hold` waits for `gate`. `both` are sessions
    that it ran for on two nodes at once."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.cut: list[str] = []
        self.both: list[str] = []
        self._held: set[str] = set()
        self.gate = asyncio.Event()
        self.started = asyncio.Event()

    def tools(self, node: str) -> list[Tool]:
        @tool(replay="safe", safety="safe_write", files=False)
        async def hold(context: ToolContext) -> str:
            """Wait."""
            self.began.append(node)
            self.started.set()
            if context.session in self._held:
                self.both.append(context.session)
            self._held.add(context.session)
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cut.append(node)
                raise
            finally:
                self._held.discard(context.session)
            return f"held by {node}"

        return [hold]

    def agent(self, node: str, *answers: Answer | str) -> Agent:
        return Agent("a", model=ScriptedModel(by_step(answers)), tools=self.tools(node), permissions="all")


class Unreliable:
    """A dispatcher in front of another one, as an adapter to an engine would be: one that can be cut off, and that can
    lose the answer to a claim."""

    def __init__(self, inner: Dispatcher) -> None:
        self._inner = inner
        self.down = False
        self.lose_claims = 0
        self.beats = 0
        self.claims = 0
        self.fired = 0
        self.refused = 0

    async def beat(self, card: NodeCard, *, ttl: float) -> None:
        self._check()
        await self._inner.beat(card, ttl=ttl)
        self.beats += 1

    async def claim(self, node: str, *, session: str | None = None, limit: int = 64) -> list[Claim]:
        self._check()
        self.claims += 1
        found = await self._inner.claim(node, session=session, limit=limit)
        if found and self.lose_claims:
            self.lose_claims -= 1
            raise StoreUnreachable("the answer was lost")
        return found

    async def leave(self, node: str) -> None:
        self._check()
        await self._inner.leave(node)

    async def fire(self, now: float, *, limit: int = 1000) -> float | None:
        self._check()
        self.fired += 1
        return await self._inner.fire(now, limit=limit)

    async def nodes(self) -> list[NodeInfo]:
        self._check()
        return await self._inner.nodes()

    async def backlog(self) -> Backlog:
        self._check()
        return await self._inner.backlog()

    async def ready(self, *, limit: int = 1000) -> list[str]:
        self._check()
        return await self._inner.ready(limit=limit)

    def on_work(self, wake: Callable[[], None]) -> None:
        self._inner.on_work(wake)

    async def close(self) -> None:
        """The store is closed by whoever opened it."""

    def _check(self) -> None:
        if self.down:
            self.refused += 1
            raise StoreUnreachable("cut off")


@contextlib.asynccontextmanager
async def node(
    folder: Path, name: str, *agents: Agent, config: KernelConfig = CALM, **options: Any
) -> AsyncGenerator[Runtime]:
    """A node with the home `folder/name`. The store is the test's database, or `folder/roost.db`."""
    runtime = Runtime(
        folder / name, agents=agents, config=config, **{"store": place.url or folder / "roost.db", **options}
    )
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop(grace=0.2)


@contextlib.asynccontextmanager
async def unreliable(
    folder: Path, name: str, *agents: Agent, config: KernelConfig = CALM
) -> AsyncGenerator[tuple[Runtime, Unreliable]]:
    store = await place.open(folder)
    dispatcher = Unreliable(store.dispatch)
    async with node(folder, name, *agents, config=config, store=store, dispatcher=lambda _: dispatcher) as runtime:
        try:
            yield runtime, dispatcher
        finally:
            dispatcher.down = False


async def owner(runtime: Runtime, session: str) -> str | None:
    return (await runtime.sessions.get(session)).owner


async def until_owned(by: Runtime, session: str, *, timeout: float = 30.0) -> None:
    async with asyncio.timeout(timeout):
        while await owner(by, session) != by.node.id:
            await asyncio.sleep(0.01)
