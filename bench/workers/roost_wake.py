"""Waking a session that sleeps: from the moment its input is accepted to its first model call's intent on disk."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.payload import ANSWER, PROMPT
from bench.worker import serve
from bench.workers.store import Past
from roost.agent.definition import Agent
from roost.kernel.config import KernelConfig
from roost.log.dispatch import NodeCard
from roost.log.protocols import Change
from roost.runtime import Runtime
from roost.stores.sqlite.store import open_sqlite
from roost.testing.scripted import Answer, ScriptedModel

_INTENT = b'{"type":"model.started"'
_stores: dict[int, Path] = {}


async def run(events: int, wakes: int) -> dict[str, Any]:
    """The store is made once, then each wake begins with an empty process memory of the session and a copy of it."""
    agent = Agent("worker", model=ScriptedModel(lambda _: Answer(text=ANSWER), keep=0, name="work"))
    if events not in _stores:
        folder = Path(tempfile.mkdtemp(prefix="roost-bench-"))
        journal = await open_sqlite(folder / "roost.db", durability="relaxed")
        await journal.dispatch.beat(NodeCard(id="node_bench"), ttl=60)
        await Past(journal, "past", agent.spec, "node_bench").write(events)
        await journal.dispatch.leave("node_bench")
        await journal.close()
        _stores[events] = folder
    times: list[float] = []
    spent: list[float] = []
    for _ in range(wakes):
        with tempfile.TemporaryDirectory(prefix="roost-bench-") as copy:
            await asyncio.to_thread(shutil.copy, _stores[events] / "roost.db", Path(copy) / "roost.db")
            wall, cpu = await _wake(Path(copy), agent)
            times.append(wall)
            spent.append(cpu)
    return {"ms": times, "cpu_ms": spent, "wall": sum(times) / 1e3}


async def _wake(home: Path, agent: Agent) -> tuple[float, float]:
    async with Runtime(home, agents=[agent], config=KernelConfig(linger=0.0)) as runtime:
        other = await runtime.session("worker")
        await other.ask("the first turn of a process imports and compiles what all later ones use")
        began: list[float] = []
        ended: list[float] = []
        awake = asyncio.Event()

        def changed(change: Change) -> None:
            if change.inbox and not began:
                began.extend((time.perf_counter(), time.process_time()))
            if change.records and any(record.body.startswith(_INTENT) for record in change.records) and not ended:
                ended.extend((time.perf_counter(), time.process_time()))
                awake.set()

        await asyncio.sleep(0.05)
        runtime.node.store.changes.watch(changed, session="past")
        await runtime.sessions.send("past", PROMPT)
        await awake.wait()
    return (ended[0] - began[0]) * 1e3, (ended[1] - began[1]) * 1e3


def play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    return asyncio.run(run(order["events"], order["wakes"]))


def clean() -> None:
    for folder in _stores.values():
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        serve(play)
    finally:
        clean()
