"""A long session with many files that is kept, forked and rolled back, through the whole runtime."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench import disk, trees
from bench.payload import ANSWER
from bench.worker import serve
from bench.workers.store import Past
from roost.agent.definition import Agent, AgentSpec
from roost.kernel.config import KernelConfig
from roost.log.dispatch import NodeCard
from roost.runtime import Runtime
from roost.stores.sqlite.store import open_sqlite
from roost.testing.scripted import Answer, ScriptedModel


async def run(home: Path, events: int, files: int, size: int) -> dict[str, Any]:
    agent = Agent("worker", model=ScriptedModel(lambda _: Answer(text=ANSWER), keep=0, name="work"), tools=["shell"])
    home.mkdir(mode=0o700)
    await past(home, agent.spec, events)
    steps: dict[str, float] = {}

    async def timed(name: str, work: Callable[[], Awaitable[object]]) -> None:
        began = time.perf_counter()
        await work()
        steps[name] = (time.perf_counter() - began) * 1e3

    async with Runtime(home, agents=[agent], config=KernelConfig(linger=30.0)) as runtime:
        sessions = runtime.sessions
        checkpoints = runtime.checkpoints
        await runtime.open("past").ask("makes the folder, and imports what all later ones use")
        folder = home / "workspaces/past"
        folder.mkdir(exist_ok=True)
        await asyncio.to_thread(trees.make, folder, files, size)
        await timed("first", lambda: checkpoints.make("past", "first"))
        await asyncio.to_thread(trees.change, folder, files, size, 1)
        await timed("again", lambda: checkpoints.make("past", "again"))
        await timed("fork", lambda: checkpoints.fork("past", "again"))
        await asyncio.to_thread(trees.change, folder, files, size, 2)
        await timed("fork now", lambda: checkpoints.fork("past"))
        await asyncio.to_thread(trees.change, folder, files, size, 3)
        await timed("back", lambda: checkpoints.rollback("past", "again"))
        await timed("undo", lambda: checkpoints.rollback("past", undo=True))
        head = (await sessions.get("past")).head
    return {"steps_ms": steps, "head": head}


async def past(home: Path, spec: AgentSpec, events: int) -> None:
    """A store with one session, `past`."""
    journal = await open_sqlite(home / "roost.db", durability="relaxed")
    await journal.dispatch.beat(NodeCard(id="node_bench"), ttl=60)
    await Past(journal, "past", spec, "node_bench").write(events)
    await journal.dispatch.leave("node_bench")
    await journal.close()


def play(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(disk.mounted(folder, given["disk"])) if given["disk"] else folder
        return asyncio.run(run(base / "home", given["events"], given["files"], given["bytes"]))


if __name__ == "__main__":
    serve(play)
