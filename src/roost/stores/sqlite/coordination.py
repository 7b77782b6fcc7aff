"""Settings, duties and rates in the SQLite store. Each write checks before it writes."""

from __future__ import annotations

import sqlite3
import time

from roost.log.coordination import check_take
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.database import Part, writes


class SqliteCoordination(Part):
    async def setting(self, name: str, value: str | None = None, *, replace: bool = False) -> str | None:
        if value is None:
            return await self.database.read(lambda connection: _setting(connection, name))
        return await self._set(name, value, "REPLACE" if replace else "IGNORE")

    @writes
    def _set(self, group: Group, name: str, value: str, otherwise: str) -> str | None:
        group.connection.execute(f"INSERT OR {otherwise} INTO settings VALUES (?, ?)", (name, value))
        return _setting(group.connection, name)

    @writes
    def hold(self, group: Group, name: str, node: str) -> int | None:
        connection = group.connection
        row = connection.execute("SELECT node, fence FROM holds WHERE name = ?", (name,)).fetchone()
        holder, fence = row or (None, 0)
        if holder == node:
            return fence
        if holder is not None and not self.database.owner_is_dead(connection, holder):
            return None
        connection.execute("INSERT OR REPLACE INTO holds VALUES (?, ?, ?)", (name, node, fence + 1))
        return fence + 1

    @writes
    def drop(self, group: Group, name: str, node: str) -> None:
        group.connection.execute("UPDATE holds SET node = NULL WHERE name = ? AND node = ?", (name, node))

    @writes
    def take(self, group: Group, bucket: str, amount: float, *, rate: float, burst: float) -> float:
        check_take(bucket, amount, rate, burst)
        now = time.monotonic()
        found = group.connection.execute("SELECT level, at FROM buckets WHERE name = ?", (bucket,)).fetchone()
        level, at = found or (burst, now)
        level = min(level + max(now - at, 0.0) * rate, burst)  # the monotonic clock restarts with the machine
        taken = level >= amount
        group.connection.execute(
            "INSERT OR REPLACE INTO buckets VALUES (?, ?, ?)", (bucket, level - amount * taken, now)
        )
        return 0.0 if taken else (amount - level) / rate


def _setting(connection: sqlite3.Connection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])
