"""Open a store by its address."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from roost.errors import ConfigError
from roost.install import install_extra
from roost.log.store import Durability, Store


async def open_store(
    where: str | Path, *, durability: Durability = "full", on_full: Callable[[], bool] = lambda: False
) -> Store:
    """Open a store and bring its tables up to date. where: a path or `sqlite:///path` for a SQLite file,
    `postgresql://…` for a PostgreSQL database. on_full: called in a thread when the file's disk is full; returns
    whether it freed space, in which case the failed write is retried. Raises `StoreFailed`, and `ConfigError` for any
    other address."""
    if is_postgres(where):
        try:
            from roost.stores.postgres.store import open_postgres
        except ModuleNotFoundError as error:
            if error.name != "asyncpg":
                raise
            raise ConfigError(f"PostgreSQL needs asyncpg: {install_extra('postgres')}") from error
        return await open_postgres(str(where), durability=durability)
    path = sqlite_path(where)
    from roost.stores.sqlite.store import open_sqlite

    return await open_sqlite(path, durability=durability, on_full=on_full)


def sqlite_path(where: str | Path) -> Path:
    """Return the file that a non-PostgreSQL address names. Raises `ConfigError`, also for a relative path that looks
    like an address without its scheme."""
    scheme, separator, rest = str(where).partition("://")
    if separator and scheme != "sqlite":
        raise ConfigError(f"{scheme}:// is no store: give postgresql://user@host/database, or the path of a file")
    if isinstance(where, str) and not separator and (not where.strip() or re.match(r"[^/]*[:@]", where)):
        raise ConfigError("that is no store: give postgresql://user@host/database, or the path of a file as ./name")
    return Path(rest.removeprefix("/") if separator else str(where))


def is_postgres(where: str | Path) -> bool:
    return str(where).startswith(("postgresql://", "postgres://"))
