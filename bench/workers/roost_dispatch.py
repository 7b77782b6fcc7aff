"""Short turns on PostgreSQL, given to the node by one dispatcher or another: how soon a message wakes its session, and
what a burst of turns costs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from bench.payload import ANSWER, PROMPT
from bench.worker import Clock, serve
from bench.workers.roost_steps import Log
from roost.agent.definition import Agent
from roost.kernel.config import KernelConfig
from roost.log.store import Store
from roost.runtime import Runtime
from roost.testing.scripted import Answer, ScriptedModel


def _dbos(url: str) -> Any:
    from roost.log.dbos import DbosDispatcher

    def make(store: Store) -> DbosDispatcher:
        return DbosDispatcher(store, url)

    return make


async def run(folder: Path, store: str, dispatcher: str, wakes: int, burst: int) -> dict[str, Any]:
    began: dict[str, float] = {}

    def script(request: Any) -> Answer:
        began[request.meta["session"]] = time.perf_counter()
        return Answer(text=ANSWER)

    agent = Agent("worker", model=ScriptedModel(script, keep=0))
    make = _dbos(store) if dispatcher == "dbos" else None
    config = KernelConfig(linger=0.0)
    async with Runtime(folder, agents=[agent], store=store, dispatcher=make, config=config) as runtime:
        ids = [(await runtime.session("worker")).id for _ in range(wakes + burst)]
        late: list[float] = []
        for session in ids[:wakes]:
            log = Log(runtime.node.store, [session])
            sent = time.perf_counter()
            await runtime.sessions.send(session, PROMPT)
            await log.wait()
            log.stop()
            late.append((began[session] - sent) * 1e3)
        clock = Clock()
        await asyncio.sleep(5.0)
        idle = clock.stop()
        log, clock = Log(runtime.node.store, ids[wakes:]), Clock()
        await asyncio.gather(*(runtime.sessions.send(session, PROMPT) for session in ids[wakes:]))
        await log.wait()
        spent = clock.stop()
        log.stop()
    return {**spent, "steps": burst, "ms": late, "idle": idle["cpu"] / idle["wall"] * 100}


if __name__ == "__main__":
    serve(lambda folder, order: asyncio.run(run(folder, **order)))
