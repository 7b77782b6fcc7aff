"""A node whose sessions spend money, and which may be killed at any moment. It reads a `Life` a line, as JSON, and each
is lived in a process of its own, whose first line tells its id. The line after tells how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from pathlib import Path
from typing import get_args

import msgspec

from roost.agent.definition import Agent, Limits
from roost.errors import RoostError
from roost.kernel.config import KernelConfig
from roost.log.session_info import InputMode
from roost.providers.accounts import Models
from roost.providers.config import AccountEntry, ModelEntry, ModelsConfig, PriceTable
from roost.routing.breakers import Breaking
from roost.routing.retry import Retry
from roost.runtime import Runtime, SessionHandle
from roost.tools.function import tool
from tests.harness.lives import serve, tell

SESSION_MONEY, TIGHT = 1.0, 0.0002
"""Dollars. Who is `tight` comes to its end."""
CONTROLS = ("cancel", "pause", "resume", "start")


class Life(msgspec.Struct, kw_only=True):
    """`sessions` are talked to by chance until somebody kills it; the `last` life answers what is still open."""

    home: str
    store: str | None
    url: str
    sessions: list[str]
    seed: int
    last: bool = False
    lease: float = 3.0


def models(url: str) -> Models:
    account = AccountEntry(
        base_url=url,
        wire="openai_chat",
        retry=Retry(tries=4, base=0.005, longest=0.02),
        breaker=Breaking(failures=50),
        idle_timeout=0.3,
    )
    price = PriceTable(input=0.01, output=0.1)
    entry = ModelEntry(price=price, max_output=2_000, window=100_000)
    return Models(config=ModelsConfig(accounts={"stub": account}, models={"stub/scripted": entry}))


def agent(name: str, money: float) -> Agent:
    @tool(replay="safe", safety="read_only")
    async def look(what: str) -> str:
        """Look at something."""
        return f"saw {what}"

    limits = Limits(money=money, session_money=money, steps=20)
    return Agent(name, model="stub/scripted", tools=[look], permissions="all", limits=limits, max_output=1_500)


async def live(life: Life) -> None:
    Path(life.home).mkdir(exist_ok=True)
    runtime = Runtime(
        life.home,
        agents=[agent("free", SESSION_MONEY), agent("tight", TIGHT)],
        models=models(life.url),
        store=life.store,
        config=KernelConfig(linger=0.02, scan=0.2, lease=life.lease),
    )
    async with runtime:
        handles = [await opened(runtime, name) for name in life.sessions]
        tell({"pid": os.getpid()})
        if life.last:
            await asyncio.gather(*(finished(handle) for handle in handles))
        else:
            talks = (talk(handle, random.Random(f"{life.seed}{handle.id}")) for handle in handles)
            await asyncio.gather(*talks)


async def opened(runtime: Runtime, name: str) -> SessionHandle:
    with contextlib.suppress(RoostError):  # a former life made it
        await runtime.session(name.partition("-")[0], id=name)
    return runtime.open(name)


async def talk(session: SessionHandle, chance: random.Random) -> None:
    modes = get_args(InputMode)
    while True:
        with contextlib.suppress(RoostError):  # it is paused, or was stopped
            if chance.random() < 0.25:
                await session.control(chance.choice(CONTROLS))
            else:
                await session.send("go on " * chance.randint(1, 20), mode=chance.choice(modes))
        await asyncio.sleep(chance.random() * 0.1)


async def finished(session: SessionHandle) -> None:
    with contextlib.suppress(RoostError):
        await session.control("resume")
    await session.send("once more")
    while True:
        view = await session.inspect()
        if view.info.phase == "idle" and not view.info.pending:
            return
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    serve(Life, live)
