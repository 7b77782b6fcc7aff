"""Budgets and model calls in the SQLite store. Each write checks before it writes."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from roost.log.ledger import Balance, CallNote, Charge, LostCall, OpenCall, SettledBy
from roost.stores.call_rows import LOST_COLUMNS, amounts_by_id, encode_note, group_calls, read_lost
from roost.stores.conditions import starting_with
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.database import Part, reads, writes

LOST = f"SELECT {LOST_COLUMNS} FROM calls WHERE lost_at IS NOT NULL"


class SqliteLedger(Part):
    @writes
    def reserve(self, group: Group, id: str, charges: Sequence[Charge], note: CallNote | None = None) -> str | None:
        connection = group.connection
        if connection.execute("SELECT 1 FROM reservations WHERE id = ?", (id,)).fetchone():
            return None
        wanted: Counter[str] = Counter()
        for charge in charges:
            wanted[charge.budget] += charge.amount
            have = _balance(connection, charge.budget)
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

    @writes
    def progress(self, group: Group, costs: Mapping[str, int], provider_ids: Mapping[str, str] | None = None) -> None:
        now, named = time.time(), provider_ids or {}
        group.connection.executemany(
            "UPDATE calls SET cost = max(cost, ?), beat_at = ?, provider_id = coalesce(?, provider_id)"
            " WHERE id = ? AND lost_at IS NULL",
            [(cost, now, named.get(id), id) for id, cost in costs.items()],
        )

    @writes
    def settle(self, group: Group, id: str, amounts: Mapping[str, int]) -> None:
        _settle(group.connection, id, amounts)

    @writes
    def lose(self, group: Group, id: str, cost: int, note: CallNote, *, told: bool) -> bool:
        connection = group.connection
        budgets = [name for (name,) in connection.execute("SELECT budget FROM reservations WHERE id = ?", (id,))]
        if not budgets:
            return False
        (most,) = connection.execute("SELECT max(amount) FROM reservations WHERE id = ?", (id,)).fetchone()
        provider_id = connection.execute("SELECT max(provider_id) FROM calls WHERE id = ?", (id,)).fetchone()[0]
        _settle(connection, id, dict.fromkeys(budgets, cost))
        connection.execute(
            "INSERT OR REPLACE INTO calls"
            " (id, beat_at, cost, reserved, lost_at, charged, told, note, provider_id, started)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (id, (now := time.time()), cost, most, now, cost, told, encode_note(note), provider_id, note.started),
        )
        return True

    @writes
    def correct(self, group: Group, id: str, cost: int, by: SettledBy, *, again: bool = True) -> LostCall | None:
        return _correct(group.connection, id, cost, by, again=again)

    @writes
    def tell(self, group: Group, ids: Sequence[str]) -> None:
        group.connection.executemany("UPDATE calls SET told = 1 WHERE id = ?", [(id,) for id in ids])

    @reads
    def lost(
        self, connection: sqlite3.Connection, prefix: str, *, started: tuple[float, float] | None = None
    ) -> list[LostCall]:
        where = starting_with("id", prefix)
        if started is not None:
            where.add("started >= ? AND started < ?", *started)
        found = connection.execute(f"{LOST} AND {where} ORDER BY lost_at, id", where.values)
        return [read_lost(row) for row in found]

    @writes
    def prune_lost(self, group: Group, before: float) -> int:
        old = "lost_at IS NOT NULL AND started < ? AND settled IS NOT NULL"
        return group.connection.execute(f"DELETE FROM calls WHERE {old}", (before,)).rowcount

    @reads
    def open_calls(self, connection: sqlite3.Connection, prefix: str) -> list[OpenCall]:
        where = starting_with("r.id", prefix)
        rows = connection.execute(
            "SELECT r.id, budget, amount, note, cost, beat_at FROM reservations r LEFT JOIN calls c ON c.id = r.id"
            f" WHERE {where} ORDER BY r.id",
            where.values,
        ).fetchall()
        return group_calls(rows, time.time(), self.database.nodes.is_free)

    @reads
    def balance(self, connection: sqlite3.Connection, budget: str) -> Balance:
        return _balance(connection, budget)

    @reads
    def balances(self, connection: sqlite3.Connection, prefix: str) -> dict[str, Balance]:
        where = starting_with("name", prefix)
        rows = connection.execute(
            f"SELECT name, spent, reserved FROM budgets WHERE {where} AND (spent <> 0 OR reserved <> 0)", where.values
        )
        return {name: Balance(spent, reserved) for name, spent, reserved in rows}

    @reads
    def reserved(self, connection: sqlite3.Connection, prefix: str) -> dict[str, dict[str, int]]:
        where = starting_with("id", prefix)
        rows = connection.execute(f"SELECT id, budget, amount FROM reservations WHERE {where}", where.values)
        return amounts_by_id(rows)

    @writes
    def forget(self, group: Group, budget: str) -> None:
        group.connection.execute("DELETE FROM budgets WHERE name = ? AND reserved = 0", (budget,))


def _balance(connection: sqlite3.Connection, budget: str) -> Balance:
    row = connection.execute("SELECT spent, reserved FROM budgets WHERE name = ?", (budget,)).fetchone()
    return Balance(*row) if row else Balance(0, 0)


def _settle(connection: sqlite3.Connection, id: str, amounts: Mapping[str, int]) -> None:
    reserved = dict(connection.execute("SELECT budget, amount FROM reservations WHERE id = ?", (id,)).fetchall())
    if reserved:
        connection.execute("DELETE FROM reservations WHERE id = ?", (id,))
        connection.execute("DELETE FROM calls WHERE id = ? AND lost_at IS NULL", (id,))
    else:
        _correct(connection, id, max(amounts.values(), default=0), "end", again=False)
        return
    for budget in {**reserved, **amounts}:
        _add(connection, budget, spent=amounts.get(budget, 0), reserved=-reserved.get(budget, 0))


def _correct(connection: sqlite3.Connection, id: str, cost: int, by: SettledBy, *, again: bool) -> LostCall | None:
    call = _lost_call(connection, id)
    if call is None or (call.settled is not None and not again):
        return None
    connection.execute("UPDATE calls SET cost = ?, settled = ? WHERE id = ?", (cost, by, id))
    for budget in call.lasting:
        _add(connection, budget, spent=cost - call.cost)
    return msgspec.structs.replace(call, cost=cost, settled=by)


def _lost_call(connection: sqlite3.Connection, id: str) -> LostCall | None:
    row = connection.execute(f"{LOST} AND id = ?", (id,)).fetchone()
    return None if row is None else read_lost(row)


def _add(connection: sqlite3.Connection, budget: str, *, spent: int = 0, reserved: int = 0) -> None:
    connection.execute(
        "INSERT INTO budgets VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
        " SET spent = spent + excluded.spent, reserved = reserved + excluded.reserved",
        (budget, spent, reserved),
    )
