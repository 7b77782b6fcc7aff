"""Cluster-wide state: settings, duties, budgets, rates. As in `session_logs`, each operation checks before it
writes."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from roost.log.portable import SharedDump
from roost.log.shared import Balance, CallNote, Charge, LostCall, OpenCall, SettledBy, beginning, check_take
from roost.stores.call_rows import LOST_COLUMNS, encode_note, group_calls, lost_row, read_lost
from roost.stores.sqlite.dispatch import IsDead, owner_is_dead

_LOST = f"SELECT {LOST_COLUMNS} FROM calls WHERE lost_at IS NOT NULL"


def setting(connection: sqlite3.Connection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def set_once(connection: sqlite3.Connection, name: str, value: str) -> str | None:
    connection.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, value))
    return setting(connection, name)


def replace(connection: sqlite3.Connection, name: str, value: str) -> str:
    connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))
    return value


def hold(connection: sqlite3.Connection, name: str, node: str, is_dead: IsDead) -> int | None:
    row = connection.execute("SELECT node, fence FROM holds WHERE name = ?", (name,)).fetchone()
    holder, fence = row or (None, 0)
    if holder == node:
        return fence
    if holder is not None and not owner_is_dead(connection, holder, is_dead):
        return None
    connection.execute("INSERT OR REPLACE INTO holds VALUES (?, ?, ?)", (name, node, fence + 1))
    return fence + 1


def drop(connection: sqlite3.Connection, name: str, node: str) -> None:
    connection.execute("UPDATE holds SET node = NULL WHERE name = ? AND node = ?", (name, node))


def reserve(
    connection: sqlite3.Connection, id: str, charges: Sequence[Charge], note: CallNote | None = None
) -> str | None:
    if connection.execute("SELECT 1 FROM reservations WHERE id = ?", (id,)).fetchone():
        return None
    wanted: Counter[str] = Counter()
    for charge in charges:
        wanted[charge.budget] += charge.amount
        have = balance(connection, charge.budget)
        if charge.limit is not None and have.spent + have.reserved + wanted[charge.budget] > charge.limit:
            return charge.budget
    for budget, amount in wanted.items():
        connection.execute("INSERT INTO reservations VALUES (?, ?, ?)", (id, budget, amount))
        _add(connection, budget, reserved=amount)
    if note is not None:
        connection.execute(
            "INSERT OR REPLACE INTO calls (id, beat_at, cost, reserved, note) VALUES (?, ?, ?, ?, ?)",
            (id, time.time(), note.cost, max(wanted.values(), default=0), encode_note(note)),
        )
    return None


def progress(connection: sqlite3.Connection, costs: Mapping[str, int], provider_ids: Mapping[str, str]) -> None:
    now = time.time()
    connection.executemany(
        "UPDATE calls SET cost = max(cost, ?), beat_at = ?, provider_id = coalesce(?, provider_id)"
        " WHERE id = ? AND lost_at IS NULL",
        [(cost, now, provider_ids.get(id), id) for id, cost in costs.items()],
    )


def settle(connection: sqlite3.Connection, id: str, amounts: Mapping[str, int]) -> None:
    reserved = dict(connection.execute("SELECT budget, amount FROM reservations WHERE id = ?", (id,)).fetchall())
    if reserved:
        connection.execute("DELETE FROM reservations WHERE id = ?", (id,))
        connection.execute("DELETE FROM calls WHERE id = ? AND lost_at IS NULL", (id,))
    else:
        correct(connection, id, max(amounts.values(), default=0), "end", again=False)
        return
    for budget in {**reserved, **amounts}:
        _add(connection, budget, spent=amounts.get(budget, 0), reserved=-reserved.get(budget, 0))


def lose(connection: sqlite3.Connection, id: str, cost: int, note: CallNote, told: bool) -> bool:
    budgets = [name for (name,) in connection.execute("SELECT budget FROM reservations WHERE id = ?", (id,))]
    if not budgets:
        return False
    (most,) = connection.execute("SELECT max(amount) FROM reservations WHERE id = ?", (id,)).fetchone()
    provider_id = connection.execute("SELECT max(provider_id) FROM calls WHERE id = ?", (id,)).fetchone()[0]
    settle(connection, id, dict.fromkeys(budgets, cost))
    connection.execute(
        "INSERT OR REPLACE INTO calls (id, beat_at, cost, reserved, lost_at, charged, told, note, provider_id, started)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (id, (now := time.time()), cost, most, now, cost, told, encode_note(note), provider_id, note.started),
    )
    return True


def correct(connection: sqlite3.Connection, id: str, cost: int, by: SettledBy, *, again: bool) -> LostCall | None:
    call = _lost_call(connection, id)
    if call is None or (call.settled is not None and not again):
        return None
    connection.execute("UPDATE calls SET cost = ?, settled = ? WHERE id = ?", (cost, by, id))
    for budget in call.lasting:
        _add(connection, budget, spent=cost - call.cost)
    return msgspec.structs.replace(call, cost=cost, settled=by)


def tell(connection: sqlite3.Connection, ids: Sequence[str]) -> None:
    connection.executemany("UPDATE calls SET told = 1 WHERE id = ?", [(id,) for id in ids])


def lost(connection: sqlite3.Connection, prefix: str, started: tuple[float, float] | None) -> list[LostCall]:
    where, ids = _beginning("id", prefix)
    if started is not None:
        where, ids = f"{where} AND started >= ? AND started < ?", [*ids, *started]
    return [read_lost(row) for row in connection.execute(f"{_LOST} AND {where} ORDER BY lost_at, id", ids)]


def prune_lost(connection: sqlite3.Connection, before: float) -> int:
    old = "lost_at IS NOT NULL AND started < ? AND settled IS NOT NULL"
    return connection.execute(f"DELETE FROM calls WHERE {old}", (before,)).rowcount


def open_calls(connection: sqlite3.Connection, prefix: str, is_gone: Callable[[str], bool]) -> list[OpenCall]:
    where, ids = _beginning("r.id", prefix)
    rows = connection.execute(
        "SELECT r.id, budget, amount, note, cost, beat_at FROM reservations r LEFT JOIN calls c ON c.id = r.id"
        f" WHERE {where} ORDER BY r.id",
        ids,
    ).fetchall()
    return group_calls(rows, time.time(), is_gone)


def balance(connection: sqlite3.Connection, budget: str) -> Balance:
    row = connection.execute("SELECT spent, reserved FROM budgets WHERE name = ?", (budget,)).fetchone()
    return Balance(*row) if row else Balance(0, 0)


def balances(connection: sqlite3.Connection, prefix: str) -> dict[str, Balance]:
    where, names = _beginning("name", prefix)
    rows = connection.execute(
        f"SELECT name, spent, reserved FROM budgets WHERE {where} AND (spent <> 0 OR reserved <> 0)", names
    )
    return {name: Balance(spent, reserved) for name, spent, reserved in rows}


def reserved(connection: sqlite3.Connection, prefix: str) -> dict[str, dict[str, int]]:
    where, ids = _beginning("id", prefix)
    return _by_id(connection.execute(f"SELECT id, budget, amount FROM reservations WHERE {where}", ids))


def forget(connection: sqlite3.Connection, budget: str) -> None:
    connection.execute("DELETE FROM budgets WHERE name = ? AND reserved = 0", (budget,))


def take(connection: sqlite3.Connection, bucket: str, amount: float, rate: float, burst: float) -> float:
    check_take(bucket, amount, rate, burst)
    now = time.monotonic()
    level, at = connection.execute("SELECT level, at FROM buckets WHERE name = ?", (bucket,)).fetchone() or (burst, now)
    level = min(level + max(now - at, 0.0) * rate, burst)  # the monotonic clock restarts with the machine
    taken = level >= amount
    connection.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?)", (bucket, level - amount * taken, now))
    return 0.0 if taken else (amount - level) / rate


def dump(connection: sqlite3.Connection) -> SharedDump:
    """Return one consistent view."""
    connection.execute("BEGIN")
    try:
        return _dump(connection)
    finally:
        connection.execute("COMMIT")


def _dump(connection: sqlite3.Connection) -> SharedDump:
    return SharedDump(
        settings=dict(connection.execute("SELECT name, value FROM settings").fetchall()),
        budgets={name: (spent, held) for name, spent, held in connection.execute("SELECT * FROM budgets")},
        reservations=_by_id(connection.execute("SELECT id, budget, amount FROM reservations")),
        calls=tuple(read_lost(row) for row in connection.execute(f"{_LOST} ORDER BY id")),
    )


def restore(connection: sqlite3.Connection, dump: SharedDump) -> None:
    connection.executemany("INSERT OR IGNORE INTO settings VALUES (?, ?)", dump.settings.items())
    connection.execute("DELETE FROM budgets")
    connection.execute("DELETE FROM reservations")
    budgets = [(name, *amounts) for name, amounts in dump.budgets.items()]
    connection.executemany("INSERT INTO budgets VALUES (?, ?, ?)", budgets)
    held = [(id, name, amount) for id, amounts in dump.reservations.items() for name, amount in amounts.items()]
    connection.executemany("INSERT INTO reservations VALUES (?, ?, ?)", held)
    connection.execute("DELETE FROM calls")
    connection.executemany(
        f"INSERT INTO calls (beat_at, {LOST_COLUMNS}) VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [lost_row(call) for call in dump.calls],
    )


def _beginning(column: str, prefix: str) -> tuple[str, list[str | float]]:
    first, past = beginning(prefix)
    return (f"{column} >= ?", [first]) if past is None else (f"{column} >= ? AND {column} < ?", [first, past])


def _by_id(rows: Iterable[tuple[str, str, int]]) -> dict[str, dict[str, int]]:
    reservations: dict[str, dict[str, int]] = {}
    for id, budget, amount in rows:
        reservations.setdefault(id, {})[budget] = amount
    return reservations


def _lost_call(connection: sqlite3.Connection, id: str) -> LostCall | None:
    row = connection.execute(f"{_LOST} AND id = ?", (id,)).fetchone()
    return None if row is None else read_lost(row)


def _add(connection: sqlite3.Connection, budget: str, *, spent: int = 0, reserved: int = 0) -> None:
    connection.execute(
        "INSERT INTO budgets VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
        " SET spent = spent + excluded.spent, reserved = reserved + excluded.reserved",
        (budget, spent, reserved),
    )
