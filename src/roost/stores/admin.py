"""Maintain a store without opening it as a journal: its table layout, and faults in its rows. `roost.kernel.check`
checks the content of the logs. Only `migrate` writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from roost.stores.findings import Fault, Layout
from roost.stores.open import is_postgres, open_store, sqlite_path


async def layout(where: str | Path) -> Layout:
    """Return the layout of the tables. Raises `StoreFailed` when the store cannot be read or a newer Roost made it."""
    if is_postgres(where):
        from roost.stores.postgres import admin

        return await admin.layout(str(where))
    from roost.stores.sqlite.admin import layout as of_file

    return await asyncio.to_thread(of_file, sqlite_path(where))


async def migrate(where: str | Path) -> Layout:
    """Bring the tables up to date. Daemons may run meanwhile. Returns the layout before."""
    before = await layout(where)
    await (await open_store(where)).close()
    return before


async def row_faults(where: str | Path, tick: Callable[[], None] = lambda: None) -> list[Fault]:
    """Return faults in the rows, from one consistent view. The layout must be the newest. Daemons may run meanwhile.
    `tick` is called now and then, in any thread. Raises `StoreFailed`."""
    if is_postgres(where):
        from roost.stores.postgres import admin

        return await admin.faults(str(where))
    from roost.stores.sqlite.admin import faults as of_file

    return await asyncio.to_thread(of_file, sqlite_path(where), tick)


def shown(where: str | Path) -> str:
    """Return an address that is safe to print, for any characters in it: without the password and without the query,
    which may hold the password too."""
    text = str(where)
    if not is_postgres(text):
        return text
    scheme, _, rest = text.partition("://")
    who, at, place = rest.rpartition("@")
    return f"{scheme}://{who.partition(':')[0]}{at}{place.partition('?')[0]}"
