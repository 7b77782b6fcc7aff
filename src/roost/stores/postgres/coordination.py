"""Settings, duties and rates in the PostgreSQL store."""

from __future__ import annotations

from roost.log.coordination import check_take
from roost.stores.postgres.database import Pool

_REPLACE = (
    "INSERT INTO settings VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value RETURNING value"
)


class PostgresCoordination:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def setting(self, name: str, value: str | None = None, *, replace: bool = False) -> str | None:
        if replace and value is not None:
            return await self._pool.run(lambda link: link.fetchval(_REPLACE, name, value))
        return await self._pool.run(lambda link: link.fetchval("SELECT setting_1($1, $2)", name, value))

    async def hold(self, name: str, node: str) -> int | None:
        return await self._pool.run(lambda link: link.fetchval("SELECT hold_1($1, $2)", name, node))

    async def drop(self, name: str, node: str) -> None:
        await self._pool.run(
            lambda link: link.execute("UPDATE holds SET node = NULL WHERE name = $1 AND node = $2", name, node)
        )

    async def take(self, bucket: str, amount: float, *, rate: float, burst: float) -> float:
        check_take(bucket, amount, rate, burst)
        return await self._pool.run(
            lambda link: link.fetchval("SELECT take_1($1, $2, $3, $4)", bucket, amount, rate, burst), repeat=False
        )
