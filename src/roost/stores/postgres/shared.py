"""Cluster-wide state: settings, duties, budgets, rates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from roost.log.portable import SharedDump
from roost.log.shared import Balance, CallNote, Charge, LostCall, OpenCall, SettledBy, beginning, check_take
from roost.stores.call_rows import LOST_COLUMNS, encode_note, group_calls, lost_row, read_lost
from roost.stores.postgres.database import Link, Pool

_REPLACE = (
    "INSERT INTO settings VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value RETURNING value"
)


_LOST = f"SELECT {LOST_COLUMNS} FROM calls WHERE lost_at IS NOT NULL"
_PROGRESS = (
    "UPDATE calls c SET cost = greatest(c.cost, p.cost), beat_at = clock_1(),"
    " provider_id = coalesce(p.provider_id, c.provider_id)"
    " FROM unnest($1::text[], $2::numeric[], $3::text[]) AS p (id, cost, provider_id)"
    " WHERE c.id = p.id AND c.lost_at IS NULL"
)
_PUT_LOST = f"INSERT INTO calls (beat_at, {LOST_COLUMNS}) VALUES (0, $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"


async def setting(pool: Pool, name: str, value: str | None, replace: bool) -> str | None:
    if replace and value is not None:
        return await pool.run(lambda link: link.fetchval(_REPLACE, name, value))
    return await pool.run(lambda link: link.fetchval("SELECT setting_1($1, $2)", name, value))


async def hold(pool: Pool, name: str, node: str) -> int | None:
    return await pool.run(lambda link: link.fetchval("SELECT hold_1($1, $2)", name, node))


async def drop(pool: Pool, name: str, node: str) -> None:
    await pool.run(lambda link: link.execute("UPDATE holds SET node = NULL WHERE name = $1 AND node = $2", name, node))


async def reserve(pool: Pool, id: str, charges: Sequence[Charge], note: CallNote | None = None) -> str | None:
    return await pool.run(
        lambda link: link.fetchval(
            "SELECT reserve_3($1, $2, $3, $4, $5, $6)",
            id,
            [charge.budget for charge in charges],
            [charge.amount for charge in charges],
            [charge.limit for charge in charges],
            None if note is None else note.cost,
            None if note is None else encode_note(note),
        )
    )


async def progress(pool: Pool, costs: Mapping[str, int], provider_ids: Mapping[str, str]) -> None:
    named = [provider_ids.get(id) for id in costs]
    await pool.run(lambda link: link.execute(_PROGRESS, list(costs), list(costs.values()), named))


async def settle(pool: Pool, id: str, amounts: Mapping[str, int]) -> None:
    await pool.run(lambda link: link.execute("SELECT settle_3($1, $2, $3)", id, list(amounts), list(amounts.values())))


async def lose(pool: Pool, id: str, cost: int, note: CallNote, told: bool) -> bool:
    return await pool.run(
        lambda link: link.fetchval("SELECT lose_3($1, $2, $3, $4)", id, cost, encode_note(note), told)
    )


async def correct(pool: Pool, id: str, cost: int, by: SettledBy, *, again: bool) -> LostCall | None:
    async def write(link: Link) -> LostCall | None:
        if (row := await link.fetchrow(f"{_LOST} AND id = $1", id)) is None:
            return None
        call = read_lost(row)
        done = await link.fetchval("SELECT correct_4($1, $2, $3, $4, $5)", id, cost, by, list(call.lasting), again)
        return msgspec.structs.replace(call, cost=cost, settled=by) if done else None

    return await pool.run(write)


async def tell(pool: Pool, ids: Sequence[str]) -> None:
    await pool.run(lambda link: link.execute("UPDATE calls SET told = true WHERE id = ANY ($1)", list(ids)))


async def lost(pool: Pool, prefix: str, started: tuple[float, float] | None) -> list[LostCall]:
    where, ids = _beginning("id", prefix)
    values: list[str | float] = [*ids]
    if started is not None:
        place = len(ids)
        where, values = f"{where} AND started >= ${place + 1} AND started < ${place + 2}", [*ids, *started]
    rows: Any = await pool.run(lambda link: link.fetch(f"{_LOST} AND {where} ORDER BY lost_at, id", *values))
    return [read_lost(row) for row in rows]


async def prune_lost(pool: Pool, before: float) -> int:
    sql = "DELETE FROM calls WHERE lost_at IS NOT NULL AND started < $1 AND settled IS NOT NULL"
    return int((await pool.run(lambda link: link.execute(sql, before))).rpartition(" ")[2])


async def open_calls(pool: Pool, prefix: str) -> list[OpenCall]:
    where, ids = _beginning("r.id", prefix)
    sql = (
        "SELECT r.id, budget, amount, note, cost, beat_at FROM reservations r LEFT JOIN calls c ON c.id = r.id"
        f" WHERE {where} ORDER BY r.id"
    )

    async def read(link: Link) -> list[OpenCall]:
        rows: list[Any] = await link.fetch(sql, *ids)
        if not rows:
            return []
        owners = sorted({call.note.owner for call in group_calls(rows, 0.0, lambda _: False) if call.note is not None})
        now = await link.fetchval("SELECT clock_1()")
        free: Any = await link.fetch("SELECT n, unlocked_3(n) FROM unnest($1::text[]) AS o (n)", owners)
        gone: dict[str, bool] = dict(free)
        return group_calls(rows, now, gone.__getitem__)

    return await pool.run(read)


async def balance(pool: Pool, budget: str) -> Balance:
    row: Any = await pool.run(lambda link: link.fetchrow("SELECT spent, reserved FROM budgets WHERE name = $1", budget))
    return Balance(int(row[0]), int(row[1])) if row else Balance(0, 0)


async def balances(pool: Pool, prefix: str) -> dict[str, Balance]:
    where, names = _beginning("name", prefix)
    sql = f"SELECT name, spent, reserved FROM budgets WHERE {where} AND (spent <> 0 OR reserved <> 0)"
    rows: Any = await pool.run(lambda link: link.fetch(sql, *names))
    return {name: Balance(int(spent), int(reserved)) for name, spent, reserved in rows}


async def reserved(pool: Pool, prefix: str) -> dict[str, dict[str, int]]:
    where, ids = _beginning("id", prefix)
    sql = f"SELECT id, budget, amount FROM reservations WHERE {where}"
    rows: Any = await pool.run(lambda link: link.fetch(sql, *ids))
    return _by_id(rows)


async def forget(pool: Pool, budget: str) -> None:
    # The function takes a range of names; this range contains only `budget`.
    await pool.run(lambda link: link.execute("SELECT forget_1($1, $2)", budget, f"{budget}\x01"))


async def take(pool: Pool, bucket: str, amount: float, rate: float, burst: float) -> float:
    check_take(bucket, amount, rate, burst)
    return await pool.run(
        lambda link: link.fetchval("SELECT take_1($1, $2, $3, $4)", bucket, amount, rate, burst), repeat=False
    )


async def dump(pool: Pool) -> SharedDump:
    async def ask(link: Link) -> tuple[list[LostCall], list[Any], list[Any], list[Any]]:
        async with link.transaction(isolation="repeatable_read", readonly=True):
            return (
                [read_lost(row) for row in await link.fetch(f"{_LOST} ORDER BY id")],
                await link.fetch("SELECT name, value FROM settings"),
                await link.fetch("SELECT name, spent, reserved FROM budgets"),
                await link.fetch("SELECT id, budget, amount FROM reservations"),
            )

    calls, settings, budgets, held = await pool.run(ask)
    return SharedDump(
        settings=dict(settings),
        budgets={name: (int(spent), int(reserved)) for name, spent, reserved in budgets},
        reservations=_by_id(held),
        calls=tuple(calls),
    )


async def restore(pool: Pool, dump: SharedDump) -> None:
    budgets = [(name, Decimal(spent), Decimal(held)) for name, (spent, held) in dump.budgets.items()]
    reservations = [
        (id, name, Decimal(amount)) for id, amounts in dump.reservations.items() for name, amount in amounts.items()
    ]

    async def write(link: Link) -> None:
        async with link.transaction():
            await link.executemany("INSERT INTO settings VALUES ($1, $2) ON CONFLICT DO NOTHING", dump.settings.items())
            await link.execute("DELETE FROM reservations")
            await link.execute("DELETE FROM budgets")
            await link.executemany("INSERT INTO budgets VALUES ($1, $2, $3)", budgets)
            await link.executemany("INSERT INTO reservations VALUES ($1, $2, $3)", reservations)
            await link.execute("DELETE FROM calls")
            await link.executemany(_PUT_LOST, [lost_row(call) for call in dump.calls])

    await pool.run(write)


def _beginning(column: str, prefix: str) -> tuple[str, list[str]]:
    first, past = beginning(prefix)
    return (f"{column} >= $1", [first]) if past is None else (f"{column} >= $1 AND {column} < $2", [first, past])


def _by_id(rows: Iterable[tuple[str, str, Decimal]]) -> dict[str, dict[str, int]]:
    reservations: dict[str, dict[str, int]] = {}
    for id, budget, amount in rows:
        reservations.setdefault(id, {})[budget] = int(amount)
    return reservations
