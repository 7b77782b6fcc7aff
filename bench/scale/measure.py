"""What each request costs the database: `python -m bench.scale.measure` prints it for costs.toml.

A figure is the CPU time of the server process that did it (the system's account, µs) and the WAL that it wrote (bytes):
medians over rounds. The network and the client are not in it, nor WAL for whole pages after a checkpoint.
"""

from __future__ import annotations

import asyncio
import datetime
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
from tests.harness.postgres.server import PostgresServer

from roost.stores.open import open_store

_ROUNDS = 7
_BODY = b"x" * 500
_NODES = (3, 10, 100, 300, 1000)
_LISTENERS = 20
_EVERYBODY = "SELECT card, alive_until >= clock_1(), beat_at FROM nodes WHERE beat_at IS NOT NULL ORDER BY id"
Link = Any
Work = Callable[[], Awaitable[object]]
Figures = dict[str, dict[str, float]]


def main() -> None:
    with PostgresServer(settings={"max_connections": "100", "max_wal_size": "8GB"}) as server:
        found = asyncio.run(_all(server))
    day = datetime.date.today().isoformat()
    for name, figures in found.items():
        print(f"[{name}]")
        for key, value in figures.items():
            print(f"{key} = {value:.1f}")
        print(f'source = "measured {day}, bench.scale.measure"\n')


async def _all(server: PostgresServer) -> Figures:
    url = await server.database()
    store = await open_store(url)
    await store.close()
    link, other = await _connect(url), await _connect(url)
    found: Figures = {}
    try:
        owned = await _sessions(link, 2000, "node_00001")
        for batch in (1, 10, 100):
            found[f"step.batch_{batch}"] = await _steps(link, owned, batch)
        found["accept"] = await _accepts(link)
        for count in _NODES:
            await _nodes(link, other, count)
            found[f"nodes.count_{count}"] = await _rounds(link, count)
        found["claim"] = await _claims(link) | {"skip_us": await _skips(link, other)}
        found["bury"] = await _burials(link)
        found["notify"] = await _notifications(url)
        found["connection"] = {"bytes": _own_memory(link.get_server_pid())}
    finally:
        await link.close()
        await other.close()
    return found


async def _cost(link: Link, work: Work, times: int, per: int = 1) -> dict[str, float]:
    """Of one of the `per` things that `work` does."""
    pid = link.get_server_pid()
    cpu: list[float] = []
    wal: list[float] = []
    await work()
    for _ in range(_ROUNDS):
        at, began = await _written(link), _cpu_us(pid)
        for _ in range(times):
            await work()
        cpu.append((_cpu_us(pid) - began) / times / per)
        wal.append((await _written(link) - at) / times / per)
    return {"cpu_us": statistics.median(cpu), "wal_bytes": statistics.median(wal)}


async def _written(link: Link) -> int:
    return int(await link.fetchval("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))


def _cpu_us(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e3


def _own_memory(pid: int) -> float:
    """What no other process shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon:"))


async def _connect(url: str) -> Link:
    """As the journal does."""
    settings = {f"enable_{name}": "off" for name in ("seqscan", "hashjoin", "mergejoin", "bitmapscan")}
    settings |= {"jit": "off", "plan_cache_mode": "force_generic_plan", "search_path": "roost"}
    return await asyncpg.connect(url, server_settings=settings)


async def _sessions(link: Link, count: int, owner: str | None) -> list[int]:
    """Sessions in the middle of a turn, as a death finds them: each with a snapshot and a short tail."""
    rows = await link.fetch(
        "INSERT INTO sessions"
        " (created_at, updated_at, id, agent, version, head, owner, epoch, state, phase, ready, ready_at)"
        " SELECT 0, 0, gen_random_uuid()::text, 'a', '1', 4, $2, 1, 'running', 'working', $2::text IS NULL, 1e9"
        " FROM generate_series(1, $1) RETURNING s",
        count,
        owner,
    )
    made = [row["s"] for row in rows]
    await link.execute(
        "INSERT INTO events SELECT s, q, $2 FROM unnest($1::bigint[]) s, generate_series(1, 4) q", made, _BODY
    )
    await link.execute("INSERT INTO snapshots SELECT s, 1, 1, $2 FROM unnest($1::bigint[]) s", made, _BODY)
    await link.execute("VACUUM ANALYZE sessions")
    return made


async def _steps(link: Link, owned: list[int], batch: int) -> dict[str, float]:
    """A step writes two events of 500 bytes, as the kernel does."""
    heads = dict(await link.fetch("SELECT s, head FROM sessions WHERE s = ANY ($1::bigint[])", owned))
    turn = 0

    async def work() -> None:
        nonlocal turn
        turn += 1
        some = sorted({owned[(turn * batch + place) % len(owned)] for place in range(batch)})
        refused = await link.fetchval(
            "SELECT refused FROM append_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '{}', '{}', '{}')",
            some,
            [1] * batch,
            [heads[s] for s in some],
            [2] * batch,
            [0] * batch,
            [None] * batch,
            [None] * batch,
            [s for s in some for _ in range(2)],
            [heads[s] + place for s in some for place in (1, 2)],
            [_BODY] * (2 * batch),
        )
        assert not refused
        for s in some:
            heads[s] += 2

    return await _cost(link, work, max(20, 400 // batch), batch)


async def _accepts(link: Link) -> dict[str, float]:
    await _sessions(link, 1, "node_00002")
    session = await link.fetchval("SELECT id FROM sessions WHERE owner = 'node_00002'")

    async def work() -> None:
        await link.fetchrow("SELECT * FROM accept_1($1, NULL, NULL, 0, $2, 1000000)", session, _BODY)

    return await _cost(link, work, 200)


async def _nodes(link: Link, other: Link, count: int) -> None:
    """`other` holds the locks of all that are alive. A card is about as long as a body."""
    await other.execute("SELECT pg_advisory_unlock_all()")
    await link.execute("DELETE FROM nodes")
    await link.execute(
        "INSERT INTO nodes SELECT 'node_' || lpad(n::text, 5, '0'), 4e9, 1, boot_1(), 'h' || n, '{}', 100, false, 9, $2"
        " FROM generate_series(1, $1) n",
        count,
        _BODY,
    )
    await link.execute("VACUUM ANALYZE nodes")
    await other.execute("SELECT pg_advisory_lock(key_1(id)) FROM nodes")


async def _rounds(link: Link, count: int) -> dict[str, float]:
    """What a node asks all the time, and a claim that finds nothing."""
    me = f"node_{count // 2 + 1:05}"

    async def tick() -> None:
        await link.fetchrow("SELECT * FROM tick_1(ARRAY[$1], '{}', 3)", me)

    async def beat() -> None:
        await link.fetchval("SELECT beat_1($1, 3e9, 'h', '{}', 100, false, 9, '', true)", me)

    async def claim() -> None:
        assert not await link.fetch("SELECT * FROM claim_1($1, NULL, 64, 1)", me)

    async def everybody() -> None:
        assert len(await link.fetch(_EVERYBODY)) == count

    async def look() -> None:
        await link.fetch("SELECT id, head, inputs FROM sessions WHERE owner = $1 AND pending > 0", "node_00001")

    found = {
        "tick_us": (await _cost(link, tick, 50))["cpu_us"],
        "idle_claim_us": (await _cost(link, claim, 50))["cpu_us"],
        "beat_us": (await _cost(link, beat, 50))["cpu_us"],
        "list_us": (await _cost(link, everybody, 20))["cpu_us"],
        "look_us": (await _cost(link, look, 50))["cpu_us"],
    }
    found["foreign_us"] = await _foreign(link, claim, f"h{count}", found["idle_claim_us"])
    assert await link.fetchval("SELECT count(*) FROM nodes") == count, "nobody was buried"
    return found


async def _foreign(link: Link, claim: Work, home: str, nothing: float) -> float:
    """For a ready session that is left to its home."""
    count = 200
    await _sessions(link, count, None)
    await link.execute("UPDATE sessions SET home = $1, ready_at = 3e9 WHERE ready AND owner IS NULL", home)
    seen = await _cost(link, claim, 5)
    await link.execute("UPDATE sessions SET ready = false WHERE ready AND owner IS NULL")
    return (seen["cpu_us"] - nothing) / count


async def _claims(link: Link) -> dict[str, float]:
    """Of a session, taken 64 at once."""
    await _sessions(link, 64 * 5 * (_ROUNDS + 1), None)

    async def work() -> None:
        assert len(await link.fetch("SELECT * FROM claim_1('node_00001', NULL, 64, 1)")) == 64

    return await _cost(link, work, 4, 64)


async def _skips(link: Link, other: Link) -> float:
    """For a ready session that another claim has just locked."""
    count = 1000
    await _sessions(link, count, None)

    async def work() -> None:
        assert not await link.fetch("SELECT * FROM claim_1('node_00001', NULL, 64, 1)")

    async with other.transaction():
        await other.execute("SELECT FROM sessions WHERE ready AND owner IS NULL FOR UPDATE")
        locked = await _cost(link, work, 10)
        await other.execute("UPDATE sessions SET ready = false WHERE ready AND owner IS NULL")
    nothing = await _cost(link, work, 10)
    return (locked["cpu_us"] - nothing["cpu_us"]) / count


async def _burials(link: Link) -> dict[str, float]:
    """Of a session of the node that is buried."""
    names = iter(range(_ROUNDS + 1))
    for name in range(_ROUNDS + 1):
        await _sessions(link, 500, f"dead_{name}")

    async def work() -> None:
        await link.execute(f"SELECT leave_1('dead_{next(names)}')")

    return await _cost(link, work, 1, 500)


async def _notifications(url: str) -> dict[str, float]:
    """Of a notification of 200 bytes: the sender's side, each listener's, and how long commits wait for each other."""
    link = await _connect(url)
    listeners = [await _connect(url) for _ in range(_LISTENERS)]
    heard = asyncio.Semaphore(0)

    def hear(*_: object) -> None:
        heard.release()

    async def send() -> None:
        await link.execute("SELECT pg_notify('roost', repeat('x', 200))")
        for _ in listeners:
            await heard.acquire()

    try:
        await link.execute("SET synchronous_commit = off")
        for listener in listeners:
            await listener.add_listener("roost", hear)
        pids = [listener.get_server_pid() for listener in listeners]
        began = sum(map(_cpu_us, pids))
        sent = await _cost(link, send, 50)
        each = (sum(map(_cpu_us, pids)) - began) / (_ROUNDS * 50 + 1) / _LISTENERS
        return {"cpu_us": sent["cpu_us"], "listener_us": each, "lock_us": await _crowd(url)}
    finally:
        for one in (link, *listeners):
            await one.close()


async def _crowd(url: str) -> float:
    """Wall time of a notification when eight connections send without pause: no less than its lock is held."""
    links = [await _connect(url) for _ in range(8)]

    async def send(link: Link) -> None:
        statement = await link.prepare("SELECT pg_notify('nobody', repeat('x', 200))")
        for _ in range(1000):
            await statement.fetchval()

    try:
        for link in links:
            await link.execute("SET synchronous_commit = off")
        began = time.perf_counter()
        await asyncio.gather(*map(send, links))
        return (time.perf_counter() - began) / 8000 * 1e6
    finally:
        for link in links:
            await link.close()


if __name__ == "__main__":
    main()
