"""Claims, timers and nodes in the SQLite store. Each write checks before it writes."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from roost.errors import NotFound, StoreCorrupt
from roost.log.dispatch import HEAD_START, Backlog, NodeCard, NodeInfo, read_card
from roost.log.inputs import Input, admits, decode_input
from roost.log.protocols import Change, Claim, InboxItem
from roost.stores.sqlite import rows
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.database import Part, SqliteDatabase, reads, writes
from roost.stores.sqlite.work import let_go, put

_TAIL_LIMIT = 1_000_000
_WAITING = "FROM sessions WHERE ready = 1 AND owner IS NULL"
_needs = lru_cache(maxsize=256)(msgspec.json.Decoder(frozenset[str]).decode)
_encode = msgspec.json.Encoder().encode
log = logging.getLogger("roost.journal")


class SqliteDispatcher(Part):
    def __init__(self, database: SqliteDatabase) -> None:
        super().__init__(database)
        self._unreadable: set[tuple[int, str, float]] = set()
        """Timers that this process cannot decode. They stay in the store: a newer version may read them."""

    async def beat(self, card: NodeCard, *, ttl: float) -> None:
        self.database.nodes.hold(card.id)
        until = time.monotonic() + ttl
        await self._beat(card, until)

    @writes
    def _beat(self, group: Group, card: NodeCard, until: float) -> None:
        group.connection.execute(
            "INSERT OR REPLACE INTO nodes (id, alive_until, beat_at, card) VALUES (?, ?, ?, ?)",
            (card.id, until, time.time(), _encode(card)),
        )

    async def claim(self, node: str, *, session: str | None = None, limit: int = 64) -> list[Claim]:
        try:
            return await self._claim(node, session, limit)
        except (StoreCorrupt, msgspec.MsgspecError) as error:
            return await self._claim_apart(node, [session] if session else None, limit, error)

    @writes
    def _claim(self, group: Group, node: str, session: str | None, limit: int) -> list[Claim]:
        connection = group.connection
        if session is None:
            found = self._suitable(connection, node, limit)
        else:
            found = self._claimable(connection, node, session)
        if not found:
            return []
        group.store_events()
        row = connection.execute("SELECT card FROM nodes WHERE id = ?", (node,)).fetchone()
        card = read_card(node, row[0]) if row else None
        return [_take(connection, node, s, card) for s in found]

    async def _claim_apart(
        self, node: str, sessions: list[str] | None, limit: int, error: StoreCorrupt | msgspec.MsgspecError
    ) -> list[Claim]:
        """Claim sessions one by one, so that damage in one session's rows does not stop the others. Each has its own
        commit: after a damaged page, SQLite lets a transaction write nothing more."""
        if sessions is None:
            sessions = await self._suitable_ids(node, limit)
        if not sessions:
            raise error
        claims: list[Claim] = []
        for session in sessions:
            try:
                claims += await self._claim(node, session, 1)
            except (StoreCorrupt, msgspec.MsgspecError) as damage:
                log.error("session %s is damaged and set aside: %s", session, damage)
                await self._set_aside(session)
        return claims

    @writes
    def _suitable_ids(self, group: Group, node: str, limit: int) -> list[str]:
        """Return the sessions that a `claim` of this node would claim."""
        found = self._suitable(group.connection, node, limit)
        return [group.connection.execute("SELECT id FROM sessions WHERE s = ?", (s,)).fetchone()[0] for s in found]

    @writes
    def _set_aside(self, group: Group, session: str) -> None:
        """Mark a session with damaged rows as failed. Its log cannot record the error, so only the index does."""
        group.connection.execute(
            "UPDATE sessions SET state = 'error', phase = 'idle', owner = NULL, ready = 0 WHERE id = ?", (session,)
        )

    async def leave(self, node: str) -> None:
        await self._leave(node)
        self.database.nodes.drop(node)

    @writes
    def _leave(self, group: Group, node: str) -> None:
        _leave(group.connection, node)

    @writes
    def fire(self, group: Group, now: float, *, limit: int = 1000) -> float | None:
        connection, unreadable = group.connection, self._unreadable
        due = connection.execute(
            "SELECT t.s, t.id, t.due, t.body, n.id, n.state, n.phase FROM timers t JOIN sessions n ON n.s = t.s"
            " WHERE t.due <= ? ORDER BY t.due LIMIT ?",
            (now, limit + len(unreadable)),
        ).fetchall()
        for s, timer, at, body, session, state, phase in due:
            if (s, timer, at) in unreadable:
                continue
            item = _read(body, session, timer)
            if item is None:
                unreadable.add((s, timer, at))
                continue
            level, fired = item.urgency, time.time()
            connection.execute("DELETE FROM timers WHERE s = ? AND id = ?", (s, timer))
            place = put(connection, s, body, level, fired, ready=level >= admits(state, phase))
            group.changes.append(Change(session, inbox=(InboxItem(place, item, fired),)))
        following = connection.execute(
            "SELECT s, id, due FROM timers ORDER BY due LIMIT ?", (len(unreadable) + 1,)
        ).fetchall()
        return next((at for s, timer, at in following if (s, timer, at) not in unreadable), None)

    @reads
    def nodes(self, connection: sqlite3.Connection) -> list[NodeInfo]:
        found = connection.execute("SELECT id, card, alive_until, beat_at FROM nodes ORDER BY id").fetchall()
        return [
            NodeInfo(read_card(id, card), not self.database.is_dead(id, until), at) for id, card, until, at in found
        ]

    @writes
    def backlog(self, group: Group) -> Backlog:
        self._bury(group.connection, None)
        count, since = group.connection.execute(f"SELECT count(*), min(ready_at) {_WAITING}").fetchone()
        return Backlog(count, max(time.time() - since, 0.0) if count else 0.0)

    @writes
    def ready(self, group: Group, *, limit: int = 1000) -> list[str]:
        self._bury(group.connection, None)
        found = group.connection.execute(f"SELECT id {_WAITING} ORDER BY ready_at LIMIT ?", (limit,))
        return [name for (name,) in found]

    def on_work(self, wake: Callable[[], None]) -> None:
        """Do nothing: the changes of this store report all work."""

    async def close(self) -> None:
        """Do nothing: the database closes what is open."""

    def _suitable(self, connection: sqlite3.Connection, node: str, limit: int) -> list[int]:
        """Return row numbers of sessions that fit the node, longest wait first."""
        cards = self._bury(connection, node)
        card = cards.get(node)
        if card is None or card.draining:
            return []
        now = time.time()
        homes = {
            one.home for one in cards.values() if one.home not in ("", card.home) and one.room and not one.draining
        }
        elsewhere = (
            f" AND (home IS NULL OR home NOT IN ({_marks(homes)}) OR ready_at NOT BETWEEN ? AND ?)" if homes else ""
        )
        start = (*homes, now - HEAD_START, now) if homes else ()
        found: list[tuple[float, int]] = []
        for needs in _distinct(connection, "needs", _WAITING):
            if _needs(needs).issubset(card.offers):
                found += connection.execute(
                    f"SELECT ready_at, s {_WAITING} AND needs = ? AND format <= ?{elsewhere} ORDER BY ready_at LIMIT ?",
                    (needs, card.format, *start, limit),
                )
        return [s for _, s in sorted(found)[:limit]]

    def _claimable(self, connection: sqlite3.Connection, node: str, session: str) -> list[int]:
        row = connection.execute("SELECT s, owner FROM sessions WHERE id = ?", (session,)).fetchone()
        if row is None:
            raise NotFound(f"there is no session {session!r}")
        s, owner = row
        free = owner is None or owner == node or self.database.owner_is_dead(connection, owner)
        return [s] if free else []

    def _bury(self, connection: sqlite3.Connection, node: str | None) -> dict[str, NodeCard]:
        """Expire dead nodes, except the calling `node`: release their sessions and duties. Returns the cards of the
        other nodes."""
        known = {
            name: (until, card) for name, until, card in connection.execute("SELECT id, alive_until, card FROM nodes")
        }
        for owner in _distinct(connection, "owner", "FROM sessions WHERE owner IS NOT NULL"):
            known.setdefault(owner, (0.0, None))
        for name, (until, _) in list(known.items()):
            if name != node and self.database.is_dead(name, until):
                _leave(connection, name)
                del known[name]
        return {name: read_card(name, card) for name, (_, card) in known.items() if card is not None}


def _leave(connection: sqlite3.Connection, node: str) -> None:
    let_go(connection, "owner", node)
    connection.execute("UPDATE holds SET node = NULL WHERE node = ?", (node,))
    connection.execute("DELETE FROM nodes WHERE id = ?", (node,))


def _read(body: bytes, session: str, timer: str) -> Input | None:
    try:
        return decode_input(body)
    except msgspec.MsgspecError as error:
        log.error("timer %r of session %s cannot be read and is left alone: %s", timer, session, error)
        return None


def _take(connection: sqlite3.Connection, node: str, s: int, card: NodeCard | None) -> Claim:
    connection.execute(
        "UPDATE sessions SET owner = ?, epoch = epoch + 1, home = coalesce(?, home), format = max(format, ?)"
        " WHERE s = ?",
        (node, (card.home or None) if card else None, card.format if card else 0, s),
    )
    info = rows.one(connection, "s", s)
    snapshot = rows.snapshot_row(connection, s)
    tail = rows.log(connection, s, 0 if snapshot is None else snapshot.seq, _TAIL_LIMIT)
    return Claim(info, info.epoch, snapshot, tail, rows.inbox(connection, s) if info.pending else [])


def _distinct(connection: sqlite3.Connection, column: str, where: str) -> Iterator[Any]:
    """Yield distinct values from the column's index; DISTINCT would visit every row."""
    value = ""
    query = f"SELECT min({column}) {where} AND {column} > ?"
    while (value := connection.execute(query, (value,)).fetchone()[0]) is not None:
        yield value


def _marks(values: set[str]) -> str:
    return ",".join("?" * len(values))
