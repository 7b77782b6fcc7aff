"""Appending one event of about 1 KB to a session that has many."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.payload import RESULT
from bench.worker import Clock, serve
from bench.workers.store import Past
from roost.agent.definition import AgentSpec
from roost.log import events as ev
from roost.log.content import Text
from roost.log.dispatch import NodeCard
from roost.log.protocols import Append
from roost.stores.sqlite.store import open_sqlite

_BODY = ev.encode_event(ev.ToolCompleted(at=0.0, call="c", outcome="ok", parts=(Text(RESULT),)))


class Grown:
    def __init__(self) -> None:
        self.folders: dict[int, Path] = {}

    async def run(self, events: int, appends: int) -> dict[str, Any]:
        if events not in self.folders:
            self.folders[events] = Path(tempfile.mkdtemp(prefix="roost-bench-"))
            journal = await open_sqlite(self.folders[events] / "roost.db", durability="relaxed")
            await journal.dispatch.beat(NodeCard(id="node_bench"), ttl=60)
            await Past(journal, "past", AgentSpec(name="worker"), "node_bench").write(events)
            await journal.close()
        journal = await open_sqlite(self.folders[events] / "roost.db")
        await journal.dispatch.beat(NodeCard(id="node_now"), ttl=600)
        (claim,) = await journal.dispatch.claim("node_now", session="past")
        head, times = claim.info.head, []
        clock = Clock()
        for _ in range(appends):
            began = time.perf_counter()
            head = await journal.logs.append(Append(session="past", epoch=claim.epoch, expected=head, bodies=[_BODY]))
            times.append((time.perf_counter() - began) * 1e3)
        spent = clock.stop()
        await journal.dispatch.leave("node_now")
        await journal.close()
        return {**spent, "ms": times, "steps": appends, "head": head}

    def clean(self) -> None:
        for folder in self.folders.values():
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    grown = Grown()
    try:
        serve(lambda folder, order: asyncio.run(grown.run(order["events"], order["appends"])))
    finally:
        grown.clean()
