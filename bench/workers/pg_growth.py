"""Roost's kernel on a PostgreSQL store that has a past: sessions and events of others, put there in bulk."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from bench.payload import RESULT
from bench.worker import serve
from bench.workers.roost_steps import run

_SESSIONS = """
INSERT INTO roost.sessions (id, agent, version, state, head, created_at, updated_at)
SELECT 'past-' || n, 'worker', '1', 'running', $2, 0, 0 FROM generate_series(1, $1::int) n
"""
_EVENTS = """
INSERT INTO roost.events (s, seq, body)
SELECT s, seq, $2 FROM roost.sessions, generate_series(1, $1::int) seq WHERE id LIKE 'past-%'
"""


async def fill(store: str, sessions: int, events: int) -> None:
    """By SQL: through the journal a million events would take minutes, and leave the same rows."""
    import asyncpg

    from roost.stores.open import open_store

    journal = await open_store(store)
    await journal.close()
    connection = await asyncpg.connect(store)
    try:
        await connection.execute(_SESSIONS, sessions, events // sessions)
        await connection.execute(_EVENTS, events // sessions, RESULT.encode(), timeout=600)
        await connection.execute("VACUUM ANALYZE", timeout=600)
    finally:
        await connection.close()


if __name__ == "__main__":
    filled: set[str] = set()

    def play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
        (sessions, events), store = order.pop("past"), order["store"]
        if sessions and store not in filled:
            asyncio.run(fill(store, sessions, events))
            filled.add(store)
        with tempfile.TemporaryDirectory(prefix="roost-home-") as home:
            return asyncio.run(run(Path(home), **order))

    serve(play)
