"""The dispatcher's operations. As in `session_logs`, each checks before it writes."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec

from roost.errors import NotFound
from roost.log.dispatch import HEAD_START, Backlog, NodeCard, NodeInfo, read_card
from roost.log.inputs import Input, admits, decode_input, urgency
from roost.log.protocols import Change, Claim, InboxItem
from roost.stores.sqlite import deletion, rows
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.inboxes import put
from roost.stores.sqlite.session_logs import let_go

IsDead: TypeAlias = Callable[[str, float], bool]
"""Called with a node and the time at which its lease ends, on this machine's monotonic clock."""

_TAIL_LIMIT = 1_000_000
_WAITING = "FROM sessions WHERE ready = 1 AND owner IS NULL"
_needs = lru_cache(maxsize=256)(msgspec.json.Decoder(frozenset[str]).decode)
_encode = msgspec.json.Encoder().encode
log = logging.getLogger("roost.journal")


def beat(connection: sqlite3.Connection, card: NodeCard, until: float) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO nodes (id, alive_until, beat_at, card) VALUES (?, ?, ?, ?)",
        (card.id, until, time.time(), _encode(card)),
    )


def claim(
    connection: sqlite3.Connection, group: Group, node: str, session: str | None, limit: int, is_dead: IsDead
) -> list[Claim]:
    if session is None:
        found = _suitable(connection, node, limit, is_dead)
    else:
        found = _claimable(connection, node, session, is_dead)
    if not found:
        return []
    group.store_events()
    row = connection.execute("SELECT card FROM nodes WHERE id = ?", (node,)).fetchone()
    card = read_card(node, row[0]) if row else None
    return [_take(connection, node, s, card) for s in found]


def delete(connection: sqlite3.Connection, group: Group, session: str, epoch: int | None, is_dead: IsDead) -> int:
    return deletion.delete(connection, group, session, epoch, lambda owner: owner_is_dead(connection, owner, is_dead))


def suitable(connection: sqlite3.Connection, node: str, limit: int, is_dead: IsDead) -> list[str]:
    """Return the sessions that a `claim` of this node would claim."""
    found = _suitable(connection, node, limit, is_dead)
    return [connection.execute("SELECT id FROM sessions WHERE s = ?", (s,)).fetchone()[0] for s in found]


def _suitable(connection: sqlite3.Connection, node: str, limit: int, is_dead: IsDead) -> list[int]:
    """Return row numbers of sessions that fit the node, longest wait first."""
    cards = bury(connection, node, is_dead)
    card = cards.get(node)
    if card is None or card.draining:
        return []
    now = time.time()
    homes = {one.home for one in cards.values() if one.home not in ("", card.home) and one.room and not one.draining}
    elsewhere = f" AND (home IS NULL OR home NOT IN ({_marks(homes)}) OR ready_at NOT BETWEEN ? AND ?)" if homes else ""
    start = (*homes, now - HEAD_START, now) if homes else ()
    found: list[tuple[float, int]] = []
    for needs in _distinct(connection, "needs", _WAITING):
        if _needs(needs).issubset(card.offers):
            found += connection.execute(
                f"SELECT ready_at, s {_WAITING} AND needs = ? AND format <= ?{elsewhere} ORDER BY ready_at LIMIT ?",
                (needs, card.format, *start, limit),
            )
    return [s for _, s in sorted(found)[:limit]]


def bury(connection: sqlite3.Connection, node: str | None, is_dead: IsDead) -> dict[str, NodeCard]:
    """Expire dead nodes, except the calling `node`: release their sessions and duties. Returns the cards of the other
    nodes."""
    known = {name: (until, card) for name, until, card in connection.execute("SELECT id, alive_until, card FROM nodes")}
    for owner in _distinct(connection, "owner", "FROM sessions WHERE owner IS NOT NULL"):
        known.setdefault(owner, (0.0, None))
    for name, (until, _) in list(known.items()):
        if name != node and is_dead(name, until):
            leave(connection, name)
            del known[name]
    return {name: read_card(name, card) for name, (_, card) in known.items() if card is not None}


def leave(connection: sqlite3.Connection, node: str) -> None:
    let_go(connection, "owner", node)
    connection.execute("UPDATE holds SET node = NULL WHERE node = ?", (node,))
    connection.execute("DELETE FROM nodes WHERE id = ?", (node,))


def owner_is_dead(connection: sqlite3.Connection, owner: str, is_dead: IsDead) -> bool:
    row = connection.execute("SELECT alive_until FROM nodes WHERE id = ?", (owner,)).fetchone()
    return row is None or is_dead(owner, row[0])


def nodes(connection: sqlite3.Connection, is_dead: IsDead) -> list[NodeInfo]:
    found = connection.execute("SELECT id, card, alive_until, beat_at FROM nodes ORDER BY id").fetchall()
    return [NodeInfo(read_card(id, card), not is_dead(id, until), at) for id, card, until, at in found]


def backlog(connection: sqlite3.Connection, is_dead: IsDead) -> Backlog:
    bury(connection, None, is_dead)
    count, since = connection.execute(f"SELECT count(*), min(ready_at) {_WAITING}").fetchone()
    return Backlog(count, max(time.time() - since, 0.0) if count else 0.0)


def ready(connection: sqlite3.Connection, limit: int, is_dead: IsDead) -> list[str]:
    bury(connection, None, is_dead)
    return [name for (name,) in connection.execute(f"SELECT id {_WAITING} ORDER BY ready_at LIMIT ?", (limit,))]


def fire(
    connection: sqlite3.Connection, group: Group, now: float, limit: int, unreadable: set[tuple[int, str, float]]
) -> float | None:
    """Fire due timers. unreadable: timers that this process cannot decode. They stay in the store: a newer version may
    read them."""
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
        level, fired = urgency(item), time.time()
        connection.execute("DELETE FROM timers WHERE s = ? AND id = ?", (s, timer))
        place = put(connection, s, body, level, fired, ready=level >= admits(state, phase))
        group.changes.append(Change(session, inbox=(InboxItem(place, item, fired),)))
    following = connection.execute("SELECT s, id, due FROM timers ORDER BY due")
    return next((at for s, timer, at in following if (s, timer, at) not in unreadable), None)


def set_aside(connection: sqlite3.Connection, session: str) -> None:
    """Mark a session with damaged rows as failed. Its log cannot record the error, so only the index does."""
    connection.execute(
        "UPDATE sessions SET state = 'error', phase = 'idle', owner = NULL, ready = 0 WHERE id = ?", (session,)
    )


def _read(body: bytes, session: str, timer: str) -> Input | None:
    try:
        return decode_input(body)
    except msgspec.MsgspecError as error:
        log.error("timer %r of session %s cannot be read and is left alone: %s", timer, session, error)
        return None


def _claimable(connection: sqlite3.Connection, node: str, session: str, is_dead: IsDead) -> list[int]:
    row = connection.execute("SELECT s, owner FROM sessions WHERE id = ?", (session,)).fetchone()
    if row is None:
        raise NotFound(f"there is no session {session!r}")
    s, owner = row
    return [s] if owner is None or owner == node or owner_is_dead(connection, owner, is_dead) else []


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
