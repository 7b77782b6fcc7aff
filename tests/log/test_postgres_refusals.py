"""What the database refuses for good does not keep it, or this process, busy for ever."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest

from roost.errors import StoreUnreachable
from roost.log.journal import Change
from roost.log.postgres import PostgresJournal
from roost.testing.stores import eventually, new


async def test_a_statement_that_breaks_every_connection_is_given_up(database: str) -> None:
    """As one does that crashes the server's process: the next connection is there at once, and breaks too."""
    journal = await PostgresJournal.open(database)
    admin = await asyncpg.connect(database, server_settings={"search_path": "roost"})
    await admin.execute(
        "CREATE SEQUENCE tries; CREATE OR REPLACE FUNCTION setting_1(a_name text, a_value text) RETURNS text"
        " LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('tries'); RETURN pg_terminate_backend(pg_backend_pid()); END $$"
    )
    began = time.monotonic()
    with pytest.raises(StoreUnreachable):
        await asyncio.wait_for(journal.setting("a"), 10)
    assert time.monotonic() - began < 6.0
    assert await admin.fetchval("SELECT last_value FROM tries") <= 10
    await admin.close()
    await journal.close()


async def test_a_name_that_the_database_refuses_does_not_end_the_look_out(database: str) -> None:
    journal, other = await PostgresJournal.open(database), await PostgresJournal.open(database)
    admin = await asyncpg.connect(database, server_settings={"search_path": "roost"})
    await new(journal, "s")
    changes: list[Change] = []
    journal.watch(changes.append, session="s")
    stop = journal.watch(changes.append, session="a\x00b")
    await asyncio.sleep(2.5)
    stop()
    await eventually(lambda: asyncio.sleep(0, changes))
    changes.clear()
    await admin.execute("UPDATE sessions SET head = head + 1 WHERE id = 's'")
    assert await eventually(lambda: asyncio.sleep(0, changes))
    await admin.close()
    await other.close()
    await journal.close()
