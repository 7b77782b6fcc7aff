"""A home with many sessions that sleep after a turn."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from bench.worker import serve
from bench.workers.store import Past
from roost.agent.default_agent import default_agent
from roost.log.dispatch import NodeCard
from roost.stores.sqlite.store import open_sqlite


async def run(home: Path, sessions: int) -> dict[str, Any]:
    home.mkdir(parents=True, exist_ok=True)
    journal = await open_sqlite(home / "roost.db", durability="relaxed")
    await journal.dispatch.beat(NodeCard(id="node_bench"), ttl=600)
    spec = default_agent().spec
    for start in range(0, sessions, 200):
        pasts = [Past(journal, f"ses_{number:08}", spec, "node_bench") for number in range(start, start + 200)]
        await asyncio.gather(*(past.write(10) for past in pasts[: sessions - start]))
    await journal.dispatch.leave("node_bench")
    await journal.close()
    return {"sessions": sessions}


if __name__ == "__main__":
    serve(lambda folder, order: asyncio.run(run(Path(order["home"]), order["sessions"])))
