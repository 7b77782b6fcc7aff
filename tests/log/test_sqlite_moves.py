from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.errors import Conflict, NotFound
from roost.log.protocols import Record
from roost.log.store import Store
from roost.stores.sqlite.store import open_sqlite
from roost.testing.portable import PortableConformance, content, lived, move, pages
from roost.testing.stores import eventually

HALF = """
import asyncio, sys
from roost.log.protocols import Record
from roost.stores.sqlite.store import open_sqlite
from roost.testing.portable import pages

async def main():
    source, target = [await open_sqlite(path) for path in sys.argv[1:]]
    dump = await source.portable.dump("s")

    async def events():
        async for records in pages(source, dump, 1):
            yield records
            if records[-1].seq == 3:
                print("half", flush=True)
                await asyncio.sleep(60)

    await target.portable.restore(dump, events())

asyncio.run(main())
"""


class TestSqlitePortable(PortableConformance):
    async def open(self, folder: Path) -> Store:
        return await open_sqlite(folder / "roost.db")


async def test_a_restore_whose_process_was_killed_is_done_again(tmp_path: Path) -> None:
    paths = [tmp_path / "from.db", tmp_path / "to.db"]
    source = await open_sqlite(paths[0])
    await lived(source)
    mover = subprocess.Popen([sys.executable, "-c", HALF, *map(str, paths)], stdout=subprocess.PIPE)
    assert mover.stdout is not None
    assert await asyncio.to_thread(mover.stdout.readline) == b"half\n"
    mover.kill()
    mover.wait()
    mover.stdout.close()
    target = await open_sqlite(paths[1])
    with pytest.raises(NotFound):
        await target.sessions.get("s")
    await move(source, target)
    assert await content(target) == await content(source)
    await only_one_log_is_left(paths[1])
    await source.close()
    await target.close()


async def test_a_restore_that_another_one_replaced_leaves_nothing(tmp_path: Path) -> None:
    source = await open_sqlite(tmp_path / "from.db")
    target = await open_sqlite(tmp_path / "to.db")
    await lived(source)
    dump = await source.portable.dump("s")

    async def events() -> AsyncIterator[list[Record]]:
        async for records in pages(source, dump, 1):
            yield records
            if records[-1].seq == 2:
                await move(source, target)

    with pytest.raises(Conflict):
        await target.portable.restore(dump, events())
    assert await content(target) == await content(source)
    await only_one_log_is_left(tmp_path / "to.db")
    await source.close()
    await target.close()


async def only_one_log_is_left(path: Path) -> None:
    """What a former try wrote is removed in the background."""
    connection = sqlite3.connect(path)

    async def tidy() -> bool:
        return connection.execute("SELECT count(*), count(DISTINCT s) FROM events").fetchone() == (4, 1)

    await eventually(tidy)
    connection.close()
