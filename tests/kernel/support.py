"""Helpers of the kernel's tests: agents whose model follows a script, tools that leave traces."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Any

from roost.agent.definition import Agent, Limits, Unattended
from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.log.content import Text
from roost.log.store import Store
from roost.policy.gate import Permissions
from roost.runtime import Runtime, SessionHandle
from roost.stores.open import open_store
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.tools.base import Tool
from roost.tools.function import tool


class Place:
    """Where the sessions of the test that runs are stored: in its home (None), or in a database."""

    url: str | None = None

    def set(self, url: str | None) -> None:
        self.url = url

    async def open(self, home: Path) -> Store:
        """The store of a home, as another process opens it."""
        return await open_store(self.url or home / "roost.db")


place = Place()
FAST = KernelConfig(linger=0.05, scan=0.2, lease=30.0)
"""A machine that stands still for seconds does not cost a node its sessions."""
BRISK = KernelConfig(linger=0.05, scan=0.2, lease=3.0)
"""For what is tried again with each heartbeat."""


class Traces:
    """Counts what tools did, and lets a test hold one of them."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.began: list[str] = []
        self.cut: list[str] = []
        self.keys: list[str] = []
        self.gate = asyncio.Event()
        self.started = asyncio.Event()

    def tools(self) -> list[Tool]:
        from roost.tools.base import ToolContext

        @tool(replay="safe", safety="read_only")
        async def look(what: str = "x") -> str:
            """Look at something."""
            self.done.append(f"look {what}")
            return f"saw {what}"

        async def hold(context: ToolContext, name: str) -> str:
            self.began.append(name)
            self.keys.append(context.key)
            self.started.set()
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cut.append(name)
                raise
            self.done.append(name)
            return f"{name} done"

        @tool(replay="safe", safety="safe_write")
        async def safe(context: ToolContext) -> str:
            """Safe to run again."""
            return await hold(context, "safe")

        @tool(replay="never", safety="safe_write")
        async def never(context: ToolContext) -> str:
            """Must not run twice."""
            return await hold(context, "never")

        @tool(replay="ask", safety="safe_write")
        async def ask(context: ToolContext) -> str:
            """Asks before it runs again."""
            return await hold(context, "ask")

        return [look, safe, never, ask]


def agent(
    answers: Sequence[Answer | str],
    tools: Sequence[Tool | str] = (),
    *,
    permissions: Permissions = "all",
    limits: Limits | None = None,
    name: str = "a",
    unattended: Unattended = "tell",
) -> Agent:
    model = ScriptedModel(by_step(answers))
    return Agent(
        name, model=model, tools=tools, permissions=permissions, limits=limits or Limits(), unattended=unattended
    )


def calling(*names: str, **arguments: Any) -> Answer:
    return Answer(calls=tuple(Call(name, arguments) for name in names))


@contextlib.asynccontextmanager
async def running(home: Path, *agents: Agent, config: KernelConfig = FAST) -> AsyncGenerator[Runtime]:
    runtime = Runtime(home, agents=agents, config=config, store=place.url)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop(grace=0.2)


async def events(session: SessionHandle, runtime: Runtime) -> list[ev.Event]:
    return [record.event for record in await runtime.sessions.history(session.id)]


def kinds(log: list[ev.Event]) -> list[str]:
    return [ev.event_type(event) for event in log]


async def until(session: SessionHandle, kind: type[ev.Event], *, after: int = 0, timeout: float = 30.0) -> Any:
    return await session.bus.wait_for(kind, after=after, timeout=timeout)


async def so(condition: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def asleep(runtime: Runtime, session: SessionHandle, *, seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while (await runtime.sessions.get(session.id)).owner is not None:
            await asyncio.sleep(0.01)


def outcomes(log: list[ev.Event]) -> dict[str, str]:
    """Outcome of each call by its id."""
    return {event.call: event.outcome for event in log if isinstance(event, ev.ToolCompleted)}


def of_limits(text: str) -> bool:
    """Whether it is what a machine that does not hold every limit tells the model, beside the results."""
    return text.startswith(("[The limit of", "[Nothing limits"))


def said(log: list[ev.Event]) -> list[str]:
    return [
        part.text
        for event in log
        if isinstance(event, ev.InputReceived)
        for part in event.parts
        if isinstance(part, Text)
    ]
