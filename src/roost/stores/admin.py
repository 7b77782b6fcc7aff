"""Looking after a store from outside: its layout, and what is wrong with its rows. What the logs in it say is checked
above, by `roost.kernel.check`. Nothing here writes but `migrate`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from roost.stores.findings import Fault, Layout
from roost.stores.open import is_postgres, open_store, sqlite_path


async def layout(where: str | Path) -> Layout:
    """Raises `StoreFailed` when the store cannot be read or a newer Roost made it."""
    if is_postgres(where):
        from roost.stores.postgres import admin

        return await admin.layout(str(where))
    from roost.stores.sqlite.admin import layout as of_file

    return await asyncio.to_thread(of_file, sqlite_path(where))


async def migrate(where: str | Path) -> Layout:
    """Bring the tables up to date, while daemons are at work or not. Returns what was found and done."""
    before = await layout(where)
    await (await open_store(where)).close()
    return before


async def row_faults(where: str | Path, tick: Callable[[], None] = lambda: None) -> list[Fault]:
    """What is wrong with the rows, seen at one moment. The layout must be the newest. Daemons may be at work. `tick` is
    called now and then, in any thread. Raises `StoreFailed`."""
    if is_postgres(where):
        from roost.stores.postgres import admin

        return await admin.faults(str(where))
    from roost.stores.sqlite.admin import faults as of_file

    return await asyncio.to_thread(of_file, sqlite_path(where), tick)


def shown(where: str | Path) -> str:
    """An address as it may be printed: without the password, which may also be in the query, and without what follows
    it; whatever signs are in it."""
    text = str(where)
    if not is_postgres(text):
        return text
    scheme, _, rest = text.partition("://")
    who, at, place = rest.rpartition("@")
    return f"{scheme}://{who.partition(':')[0]}{at}{place.partition('?')[0]}"
