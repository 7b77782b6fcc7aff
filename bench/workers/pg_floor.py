"""The floor: a bare commit of one row of about 1 KB, by asyncpg on one connection, with the server's own settings."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from bench.payload import RESULT
from bench.worker import Clock, Ticks, serve

_TABLE = "CREATE TABLE IF NOT EXISTS floor (id bigint PRIMARY KEY, body bytea)"


async def run(folder: Path, sessions: int, steps: int, store: str) -> dict[str, Any]:
    import asyncpg

    ticks, body = Ticks(), RESULT.encode()
    connection = await asyncpg.connect(store)
    await connection.execute(_TABLE)
    insert = await connection.prepare("INSERT INTO floor VALUES ($1, $2)")
    clock = Clock()
    for number in range(sessions * steps):
        ticks.tick()
        await insert.fetch(number, body)
    spent = clock.stop()
    await connection.close()
    return {**spent, "steps": sessions * steps, "ms": ticks.milliseconds()}


if __name__ == "__main__":
    serve(lambda folder, order: asyncio.run(run(folder, **order)))
