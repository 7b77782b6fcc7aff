"""Budgets and model calls in the PostgreSQL store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from roost.log.ledger import Balance, CallNote, Charge, LostCall, OpenCall, SettledBy
from roost.stores.call_rows import LOST_COLUMNS, amounts_by_id, encode_note, group_calls, read_lost
from roost.stores.conditions import numbered, starting_with
from roost.stores.postgres.database import Link, Pool

LOST = f"SELECT {LOST_COLUMNS} FROM calls WHERE lost_at IS NOT NULL"
_PROGRESS = (
    "UPDATE calls c SET cost = greatest(c.cost, p.cost), beat_at = clock_1(),"
    " provider_id = coalesce(p.provider_id, c.provider_id)"
    " FROM unnest($1::text[], $2::numeric[], $3::text[]) AS p (id, cost, provider_id)"
    " WHERE c.id = p.id AND c.lost_at IS NULL"
)


class PostgresLedger:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def reserve(self, id: str, charges: Sequence[Charge], note: CallNote | None = None) -> str | None:
        return await self._pool.run(
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

    async def progress(self, costs: Mapping[str, int], provider_ids: Mapping[str, str] | None = None) -> None:
        named = [(provider_ids or {}).get(id) for id in costs]
        await self._pool.run(lambda link: link.execute(_PROGRESS, list(costs), list(costs.values()), named))

    async def settle(self, id: str, amounts: Mapping[str, int]) -> None:
        await self._pool.run(
            lambda link: link.execute("SELECT settle_3($1, $2, $3)", id, list(amounts), list(amounts.values()))
        )

    async def lose(self, id: str, cost: int, note: CallNote, *, told: bool) -> bool:
        return await self._pool.run(
            lambda link: link.fetchval("SELECT lose_3($1, $2, $3, $4)", id, cost, encode_note(note), told)
        )

    async def correct(self, id: str, cost: int, by: SettledBy, *, again: bool = True) -> LostCall | None:
        async def write(link: Link) -> LostCall | None:
            if (row := await link.fetchrow(f"{LOST} AND id = $1", id)) is None:
                return None
            call = read_lost(row)
            done = await link.fetchval("SELECT correct_4($1, $2, $3, $4, $5)", id, cost, by, list(call.lasting), again)
            return msgspec.structs.replace(call, cost=cost, settled=by) if done else None

        return await self._pool.run(write)

    async def tell(self, ids: Sequence[str]) -> None:
        await self._pool.run(lambda link: link.execute("UPDATE calls SET told = true WHERE id = ANY ($1)", list(ids)))

    async def lost(self, prefix: str, *, started: tuple[float, float] | None = None) -> list[LostCall]:
        where = starting_with("id", prefix)
        if started is not None:
            where.add("started >= ? AND started < ?", *started)
        sql = numbered(f"{LOST} AND {where} ORDER BY lost_at, id")
        rows: Any = await self._pool.run(lambda link: link.fetch(sql, *where.values))
        return [read_lost(row) for row in rows]

    async def prune_lost(self, before: float) -> int:
        sql = "DELETE FROM calls WHERE lost_at IS NOT NULL AND started < $1 AND settled IS NOT NULL"
        return int((await self._pool.run(lambda link: link.execute(sql, before))).rpartition(" ")[2])

    async def open_calls(self, prefix: str) -> list[OpenCall]:
        where = starting_with("r.id", prefix)
        sql = numbered(
            "SELECT r.id, budget, amount, note, cost, beat_at FROM reservations r LEFT JOIN calls c ON c.id = r.id"
            f" WHERE {where} ORDER BY r.id"
        )

        async def read(link: Link) -> list[OpenCall]:
            rows: list[Any] = await link.fetch(sql, *where.values)
            if not rows:
                return []
            owners = sorted(
                {call.note.owner for call in group_calls(rows, 0.0, lambda _: False) if call.note is not None}
            )
            now = await link.fetchval("SELECT clock_1()")
            free: Any = await link.fetch("SELECT n, unlocked_3(n) FROM unnest($1::text[]) AS o (n)", owners)
            gone: dict[str, bool] = dict(free)
            return group_calls(rows, now, gone.__getitem__)

        return await self._pool.run(read)

    async def balance(self, budget: str) -> Balance:
        row: Any = await self._pool.run(
            lambda link: link.fetchrow("SELECT spent, reserved FROM budgets WHERE name = $1", budget)
        )
        return Balance(int(row[0]), int(row[1])) if row else Balance(0, 0)

    async def balances(self, prefix: str) -> dict[str, Balance]:
        where = starting_with("name", prefix)
        sql = numbered(f"SELECT name, spent, reserved FROM budgets WHERE {where} AND (spent <> 0 OR reserved <> 0)")
        rows: Any = await self._pool.run(lambda link: link.fetch(sql, *where.values))
        return {name: Balance(int(spent), int(reserved)) for name, spent, reserved in rows}

    async def reserved(self, prefix: str) -> dict[str, dict[str, int]]:
        where = starting_with("id", prefix)
        sql = numbered(f"SELECT id, budget, amount FROM reservations WHERE {where}")
        rows: Any = await self._pool.run(lambda link: link.fetch(sql, *where.values))
        return amounts_by_id(rows)

    async def forget(self, budget: str) -> None:
        # The function takes a range of names; this range contains only `budget`.
        await self._pool.run(lambda link: link.execute("SELECT forget_1($1, $2)", budget, f"{budget}\x01"))
