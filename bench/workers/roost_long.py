"""A turn of many steps in a session that has many turns behind it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from bench.payload import ANSWER, ARGUMENTS, PROMPT, RESULT, SAID
from bench.worker import Clock, serve
from bench.workers.roost_steps import Bare, Log
from bench.workers.roost_travel import past
from roost.agent.definition import Agent, Limits
from roost.models.request import Request
from roost.runtime import Runtime
from roost.testing.scripted import Answer, Call
from roost.tools.function import tool

EVENTS = 17
"""Of a turn of the past: five tool calls."""


def worker(calls: int) -> Agent:
    """A turn of it has so many calls of a tool, each of them another."""
    done = 0

    def script(request: Request) -> Answer:
        nonlocal done
        done += 1
        if done > calls:
            return Answer(text=ANSWER)
        return Answer(text=SAID, calls=(Call("look", ARGUMENTS | {"what": f"src/part{done}.py"}),))

    @tool(replay="safe", safety="read_only")
    async def look(what: str, why: str) -> str:
        """Look at a part."""
        return RESULT

    return Agent("worker", model=Bare(script, keep=0), tools=[look], permissions="all", limits=Limits(steps=None))


class Long:
    def __init__(self) -> None:
        self._stores: dict[int, Path] = {}

    async def run(self, folder: Path, turns: int, calls: int) -> dict[str, Any]:
        agent = worker(calls)
        if turns not in self._stores:
            self._stores[turns] = made = Path(tempfile.mkdtemp(prefix="roost-bench-"))
            await past(made, agent.spec, turns * EVENTS)
        await asyncio.to_thread(shutil.copy, self._stores[turns] / "roost.db", folder / "roost.db")
        async with Runtime(folder, agents=[agent]) as runtime:
            log = Log(runtime.node.store, ["past"])
            clock = Clock()
            await runtime.sessions.send("past", PROMPT)
            await log.wait()
            spent = clock.stop()
            log.stop()
        return {**spent, "steps": 2 * calls + 1}

    def clean(self) -> None:
        for folder in self._stores.values():
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    long = Long()
    try:
        serve(lambda folder, order: asyncio.run(long.run(folder, order["turns"], order["calls"])))
    finally:
        long.clean()
