"""What the database refuses for good does not keep it, or this process, busy for ever."""

from __future__ import annotations

import asyncio
import os
import resource
from urllib.parse import urlsplit

import asyncpg
import pytest

from roost.errors import ConfigError, StoreUnreachable
from roost.log.protocols import Change
from roost.stores.postgres.store import open_postgres
from roost.testing.stores import eventually, new


async def test_a_statement_that_breaks_every_connection_is_given_up(database: str) -> None:
    """As one does that crashes the server's process: the next connection is there at once, and breaks too."""
    journal = await open_postgres(database)
    admin = await asyncpg.connect(database, server_settings={"search_path": "roost"})
    await admin.execute(
        "CREATE SEQUENCE tries; CREATE OR REPLACE FUNCTION setting_1(a_name text, a_value text) RETURNS text"
        " LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('tries'); RETURN pg_terminate_backend(pg_backend_pid()); END $$"
    )
    with pytest.raises(StoreUnreachable):
        await asyncio.wait_for(journal.coordination.setting("a"), 60)
    assert await admin.fetchval("SELECT last_value FROM tries") <= 10
    await admin.close()
    await journal.close()


async def test_a_name_that_the_database_refuses_does_not_end_the_look_out(database: str) -> None:
    journal, other = await open_postgres(database), await open_postgres(database)
    admin = await asyncpg.connect(database, server_settings={"search_path": "roost"})
    await new(journal, "s")
    changes: list[Change] = []
    journal.changes.watch(changes.append, session="s")
    stop = journal.changes.watch(changes.append, session="a\x00b")
    await asyncio.sleep(2.5)
    stop()
    await eventually(lambda: asyncio.sleep(0, changes))
    changes.clear()
    await admin.execute("UPDATE sessions SET head = head + 1 WHERE id = 's'")
    assert await eventually(lambda: asyncio.sleep(0, changes))
    await admin.close()
    await other.close()
    await journal.close()


async def test_a_process_without_file_descriptors_says_so_of_itself(database: str) -> None:
    await (await open_postgres(database)).close()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(StoreUnreachable, match="LimitNOFILE"):
            await open_postgres(database)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize(("place", "code"), [("nobody@{}/x", "store_refused"), ("postgres@{}/none", "store_missing")])
async def test_who_is_not_let_in_may_try_again(database: str, place: str, code: str) -> None:
    """On a node that ran until now it is a password that changes, or a database that is being restored."""
    parts = urlsplit(database)
    with pytest.raises(StoreUnreachable) as caught:
        await open_postgres(f"postgresql://{place.format(parts.netloc.rpartition('@')[2])}")
    assert (caught.value.code, caught.value.status) == (code, 503)


async def test_a_certificate_that_is_not_there_is_named(database: str) -> None:
    more = "&" if "?" in database else "?"
    with pytest.raises(ConfigError, match=r"sslrootcert='/none/ca\.pem'"):
        await open_postgres(f"{database}{more}sslmode=verify-full&sslrootcert=/none/ca.pem")
