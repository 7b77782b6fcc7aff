"""Open a store by its address."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from roost.errors import ConfigError
from roost.install import install_extra
from roost.log.store_protocol import Durability, Store


async def open_store(
    where: str | Path, *, durability: Durability = "full", on_full: Callable[[], bool] = lambda: False
) -> Store:
    """`where`: a path or `sqlite:///path` for a SQLite file, `postgresql://…` for a PostgreSQL database. Brings the
    tables up to date. `on_full` is called, in a thread, when the disk of a file is full: whether it made some
    room there, so that what failed is tried again. Raises `StoreFailed`, and `ConfigError` for any other address."""
    if is_postgres(where):
        try:
            from roost.stores.postgres.store import PostgresJournal
        except ModuleNotFoundError as error:
            if error.name != "asyncpg":
                raise
            raise ConfigError(f"PostgreSQL needs asyncpg: {install_extra('postgres')}") from error
        return await PostgresJournal.open(str(where), durability=durability)
    path = sqlite_path(where)
    from roost.stores.sqlite.store import SqliteJournal

    return await SqliteJournal.open(path, durability=durability, on_full=on_full)


def sqlite_path(where: str | Path) -> Path:
    """The file that an address without PostgreSQL names. Raises `ConfigError`, also for a relative path that looks like
    an address without its beginning."""
    scheme, separator, rest = str(where).partition("://")
    if separator and scheme != "sqlite":
        raise ConfigError(f"{scheme}:// is no store: give postgresql://user@host/database, or the path of a file")
    if isinstance(where, str) and not separator and (not where.strip() or re.match(r"[^/]*[:@]", where)):
        raise ConfigError("that is no store: give postgresql://user@host/database, or the path of a file as ./name")
    return Path(rest.removeprefix("/") if separator else str(where))


def is_postgres(where: str | Path) -> bool:
    return str(where).startswith(("postgresql://", "postgres://"))
