"""The dispatcher's operations: claims, timers, and the known nodes."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from roost.errors import NotFound, StoreCorrupt, StoreUnreachable
from roost.log.dispatch import Backlog, NodeCard, NodeInfo, read_card
from roost.log.inputs import Input, decode_input
from roost.log.protocols import Change, Claim, InboxItem, Snapshot
from roost.stores.postgres import rows
from roost.stores.postgres.changes import PostgresChanges
from roost.stores.postgres.database import Link, Pool
from roost.stores.postgres.writer import GroupWriter

log = logging.getLogger("roost.journal")
_CLAIM = "SELECT * FROM claim_1($1, $2, $3, $4)"
_INFO = 1 + len(rows.INFO_COLUMNS.split(","))
_LOST_SECONDS = 30.0
_NODES = "SELECT id, card, alive_until >= clock_1(), beat_at FROM nodes WHERE beat_at IS NOT NULL ORDER BY id"
_NODES_PROBED = "SELECT id, card, NOT dead_1(id), beat_at FROM nodes WHERE beat_at IS NOT NULL ORDER BY id"
_BACKLOG = """
SELECT count(*), coalesce(greatest(clock_1() - min(ready_at), 0), 0)::float8
FROM sessions WHERE ready AND owner IS NULL"""
_DUE = """
(SELECT s, id, due, body FROM timers WHERE due <= $1 ORDER BY due LIMIT $2)
UNION ALL (SELECT s, id, due, NULL FROM timers WHERE due > $1 ORDER BY due LIMIT 1)"""
_FIRE = "SELECT session, id, at, owner, timer, s FROM fire_1($1, $2, $3, $4)"
_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND application_name = $2"
_LET_GO = """
SELECT let_go_1(ARRAY(SELECT s FROM sessions WHERE owner = $1 AND token = $2 ORDER BY s FOR NO KEY UPDATE))"""


class _Lost(NamedTuple):
    """A claim whose answer was lost: it may have claimed sessions that no node knows of."""

    node: str
    token: int
    pid: int
    since: float


class PostgresDispatcher:
    def __init__(self, pool: Pool, changes: PostgresChanges, writer: GroupWriter) -> None:
        self._pool, self._changes, self._writer = pool, changes, writer
        self._timers = Timers(pool, changes.accepted)
        self._lost: list[_Lost] = []

    async def beat(self, card: NodeCard, *, ttl: float) -> None:
        await self._changes.live.beat(card, ttl)

    async def leave(self, node: str) -> None:
        await self._pool.run(lambda link: link.execute("SELECT leave_1($1)", node))
        await self._changes.live.forget(node)
        self._changes.released()

    async def fire(self, now: float, *, limit: int = 1000) -> float | None:
        return await self._timers.fire(now, limit)

    async def nodes(self) -> list[NodeInfo]:
        # Every heartbeat calls this. While nodes of this store are alive, their ticks detect dead nodes within moments;
        # otherwise each node is probed here.
        live = self._changes.live
        if live.nodes:
            found = await live.ask(lambda link: link.fetch(_NODES))
        else:
            found = await self._pool.run(lambda link: link.fetch(_NODES_PROBED))
        return [NodeInfo(read_card(id, card), alive, at) for id, card, alive, at in found]

    async def backlog(self) -> Backlog:
        if await self._pool.run(lambda link: link.fetchval("SELECT bury_1('{}', 0)")):
            self._changes.buried()
        row: Any = await self._pool.run(lambda link: link.fetchrow(_BACKLOG))
        return Backlog(*row)

    async def ready(self, *, limit: int = 1000) -> list[str]:
        sql = "SELECT id FROM sessions WHERE ready AND owner IS NULL ORDER BY ready_at LIMIT $1"
        return [name for (name,) in await self._pool.run(lambda link: link.fetch(sql, limit))]

    def on_work(self, wake: Callable[[], None]) -> None:
        self._changes.on_work(wake)

    async def close(self) -> None:
        """Do nothing: the database closes what is open."""

    async def claim(self, node: str, *, session: str | None = None, limit: int = 64) -> list[Claim]:
        try:
            return await self._claim(node, session, limit)
        except StoreCorrupt as error:
            return await self._apart(node, session, limit, error)

    async def _claim(self, node: str, session: str | None, limit: int) -> list[Claim]:
        if self._lost:
            await self._let_go_lost(node)
        token, pid = secrets.randbits(62), 0

        async def ask(link: Link) -> list[Any]:
            nonlocal pid
            pid = link.get_server_pid()
            return await link.fetch(_CLAIM, node, session, limit, token)

        try:
            found = await self._pool.run(ask, repeat=False)
        except (StoreUnreachable, asyncio.CancelledError):
            self._lost.append(_Lost(node, token, pid, asyncio.get_running_loop().time()))
            raise
        if found and found[0]["buried"]:
            self._changes.buried()
        if found and found[0]["s"] is None:
            if session is None:
                return []
            raise NotFound(f"there is no session {session!r}")
        return [claim for row in found if (claim := await self._read(row)) is not None]

    async def _read(self, row: Any) -> Claim | None:
        """Make a claim from a row. A session with damaged rows is set aside and returns None, so that the others can
        run."""
        try:
            info = rows.info(row[1:_INFO])
            seq, version, body, bodies, ids, times, inputs, _ = row[_INFO:]
            snapshot = None if seq is None else Snapshot(seq, version, body)
            tail = rows.records(seq or 0, bodies)
            if (seq or 0) + len(tail) != info.head:
                raise StoreCorrupt(f"{info.head - (seq or 0) - len(tail)} events are missing: detached or lost")
            claim = Claim(info, info.epoch, snapshot, tail, rows.inbox(ids, times, inputs))
        except (StoreCorrupt, msgspec.MsgspecError) as error:
            await self._set_aside(row["id"], error)
            return None
        self._writer.know(info.id, row["s"])
        self._changes.claimed(info.id)
        return claim

    async def _apart(self, node: str, session: str | None, limit: int, error: StoreCorrupt) -> list[Claim]:
        """Claim one by one after damage in the tables, to find the damaged session."""
        sessions = [session] if session else await self.ready(limit=limit)
        if not sessions:
            raise error
        claims: list[Claim] = []
        for one in sessions:
            try:
                claims += await self._claim(node, one, 1)
            except StoreCorrupt as damage:
                await self._set_aside(one, damage)
        return claims

    async def _set_aside(self, session: str, error: Exception) -> None:
        log.error("session %s is damaged and set aside: %s", session, error)
        await self._pool.run(
            lambda link: link.execute(
                "UPDATE sessions SET state = 'error', phase = 'idle', owner = NULL, ready = false WHERE id = $1",
                session,
            )
        )

    async def _let_go_lost(self, node: str) -> None:
        """Release the sessions of lost claims. A lost claim may still commit late, so this is repeated for
        `_LOST_SECONDS`."""

        async def let_go(link: Link, lost: _Lost) -> None:
            await link.execute(_END, lost.pid, self._pool.name)
            await link.execute(_LET_GO, lost.node, lost.token)

        for lost in self._lost:
            if lost.node == node:
                await self._pool.run(lambda link, lost=lost: let_go(link, lost))
        since = asyncio.get_running_loop().time() - _LOST_SECONDS
        self._lost = [lost for lost in self._lost if lost.since > since]


class Timers:
    """Fires timers. on_fire(change, owner): called for every input made."""

    def __init__(self, pool: Pool, on_fire: Callable[[Change, str | None], None]) -> None:
        self._pool = pool
        self._on_fire = on_fire
        self._unreadable: set[tuple[int, str, float]] = set()
        """They stay in the store: a newer version may read them."""

    async def fire(self, now: float, limit: int) -> float | None:
        tries = 100  # other nodes may win each race, but not for ever
        while True:
            known = len(self._unreadable)
            found = await self._look(now, limit)
            due = {(s, name): (at, item) for s, name, at, item in found if item is not None}
            if due and limit > 0 and tries > 0:
                limit -= await self._make(due)
                tries -= 1
            elif known == len(self._unreadable):
                return min((at for _, _, at, _ in found), default=None)

    async def _look(self, now: float, limit: int) -> list[tuple[int, str, float, Input | None]]:
        """Return the due timers that can be read, and the next one after them without its input."""
        rows = await self._pool.run(lambda link: link.fetch(_DUE, now, max(limit, 1) + len(self._unreadable)))
        found: list[tuple[int, str, float, Input | None]] = []
        for s, name, at, body in rows:
            item = None if body is None else self._item(s, name, at, body)
            if body is None or item is not None:
                found.append((s, name, at, item))
        return found

    def _item(self, s: int, name: str, at: float, body: bytes) -> Input | None:
        if (s, name, at) in self._unreadable:
            return None
        try:
            return decode_input(body)
        except msgspec.MsgspecError as error:
            log.error("timer %r cannot be read and is left alone: %s", name, error)
            self._unreadable.add((s, name, at))
            return None

    async def _make(self, items: dict[tuple[int, str], tuple[float, Input]]) -> int:
        made = await self._pool.run(
            lambda link: link.fetch(
                _FIRE,
                [s for s, _ in items],
                [name for _, name in items],
                [at for at, _ in items.values()],
                [item.urgency for _, item in items.values()],
            )
        )
        for session, place, at, owner, timer, s in made:
            self._on_fire(Change(session, inbox=(InboxItem(place, items[s, timer][1], at),)), owner)
        return len(made)
