"""What a PostgreSQL journal does on the side: what nobody else finishes, and what it keeps in mind."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from roost.log.dispatch import NodeCard
from roost.log.ledger import CallNote, Charge
from roost.log.protocols import Append
from roost.log.store import Store
from roost.stores.postgres.database import Address, Pool
from roost.stores.postgres.store import open_postgres
from roost.stores.postgres.upkeep import PURGEABLE
from roost.stores.postgres.writer import GroupWriter
from roost.testing.forks import fork, grown, log_of
from roost.testing.stores import bodies, eventually, names, new, own, said


async def test_what_a_node_that_died_left_of_a_log_is_removed_by_another(url: str, journal: Store) -> None:
    admin = await asyncpg.connect(url, server_settings={"search_path": "roost"})
    dying = await open_postgres(url)
    await new(dying, "s")
    claim = await own(dying, "s")
    await dying.logs.append(
        Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies(*["x"] * 9000), release=True)
    )
    await dying.sessions.delete("s")
    await dying.close()
    assert await admin.fetchval("SELECT count(*) FROM events") > 0
    await asyncio.gather(journal.sessions.purge(), journal.sessions.purge())
    assert await admin.fetchval("SELECT count(*) FROM events") == 0
    assert await admin.fetchval("SELECT count(*) FROM garbage") == 0
    await journal.sessions.purge()
    await admin.close()


async def test_a_fork_has_no_row_of_what_it_shares(url: str, journal: Store) -> None:
    """And what no session's log contains any more goes."""
    admin = await asyncpg.connect(url, server_settings={"search_path": "roost"})

    async def rows() -> list[int]:
        return [row[0] for row in await admin.fetch("SELECT count(*) FROM events GROUP BY s ORDER BY s")]

    async def gone(session: str) -> list[int]:
        await journal.sessions.delete(session)
        await journal.sessions.purge()
        await eventually(lambda: admin.fetchval(f"SELECT count(*) = 0 FROM ({PURGEABLE}) AS found"))
        return await rows()

    await grown(journal, "s", 5000)
    await fork(journal, "s", 4000, "f")
    await fork(journal, "f", 4001, "g")
    await fork(journal, "f", 1000, "h")
    assert await rows() == [5000, 1, 1, 1]
    assert await gone("s") == [4000, 1, 1, 1]
    assert await gone("f") == [4000, 1, 1, 1]
    assert await gone("g") == [1000, 1]
    assert await admin.fetchval("SELECT head FROM garbage") == 1000
    assert await log_of(journal, "h") == [*(f"s{number}" for number in range(2, 1001)), "h1001"]
    assert await gone("h") == []
    for table in ("garbage", "lineage", "snapshots", "sessions"):
        assert await admin.fetchval(f"SELECT count(*) FROM {table}") == 0
    await admin.close()


async def test_a_writer_that_forgets_the_numbers_it_knew_goes_on_with_it(url: str, journal: Store) -> None:
    """It knows a hundred thousand, and begins anew in the midst of a group."""
    claims = {session: await _owned(journal, session) for session in ("known", "unknown")}
    admin = await asyncpg.connect(url, server_settings={"search_path": "roost"})
    pool = Pool(Address.parse(url, "full"), 1)
    groups: list[list[str]] = []
    writer = GroupWriter(pool, 1, lambda appends, *_: groups.append([append.session for append in appends]))
    writer.know("known", await admin.fetchval("SELECT s FROM sessions WHERE id = 'known'"))
    for number in range(99_999):
        writer.know(f"other-{number}", -number)
    appends = [Append(session=name, epoch=epoch, expected=1, bodies=bodies("a")) for name, epoch in claims.items()]
    assert await asyncio.gather(*map(writer.submit, appends)) == [2, 2]
    for session in claims:
        assert names(await journal.logs.read(session)) == ["a"]
    assert len(writer.numbers) < 99_999
    assert groups == [["known", "unknown"]]
    await writer.close()
    await pool.close()
    await admin.close()


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
async def test_a_database_that_isolates_more_by_default_refuses_nothing_for_it(url: str, level: str) -> None:
    admin = await asyncpg.connect(url, server_settings={"search_path": "roost"})
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = '{level}'")
    await admin.execute(
        "CREATE OR REPLACE FUNCTION setting_1(a_name text, a_value text) RETURNS text LANGUAGE sql AS"
        " $$ SELECT current_setting('transaction_isolation') $$"
    )
    journal = await open_postgres(url)
    assert await journal.coordination.setting("any") == "read committed"
    await journal.dispatch.beat(NodeCard(id="n"), ttl=60)
    await new(journal, "s")
    await asyncio.gather(*(journal.inboxes.accept("s", said()) for _ in range(40)))
    assert len(await journal.inboxes.pending("s")) == 40
    (claim,) = await eventually(lambda: journal.dispatch.claim("n"))
    assert len(claim.inbox) == 40
    await journal.close()
    await admin.close()


async def _owned(journal: Store, session: str) -> int:
    await new(journal, session)
    return (await own(journal, session)).epoch


async def test_a_settlement_and_a_correction_of_one_call_do_not_wait_for_each_other(url: str, journal: Store) -> None:
    """Both stand behind a budget that somebody holds. The call is lost and was reserved again, as by a node that was
    cut off from the database. Each took the budgets and the call in another order: the server broke a deadlock."""
    admin = await asyncpg.connect(url, server_settings={"search_path": "roost"})
    note = CallNote(owner="n", started=1.0, lasting=("month",))
    charges = [Charge("month", 60)]
    await journal.ledger.reserve("call:s:1", charges, note)
    assert await journal.ledger.lose("call:s:1", 20, note, told=True)
    await journal.ledger.reserve("call:s:1", charges, note)

    async def waiting(count: int) -> None:
        blocked = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
        await eventually(lambda: _is(admin, blocked, count))

    async with admin.transaction():
        await admin.execute("SELECT FROM budgets WHERE name = 'month' FOR UPDATE")
        settled = asyncio.create_task(journal.ledger.settle("call:s:1", {"month": 5}))
        await waiting(1)
        corrected = asyncio.create_task(journal.ledger.correct("call:s:1", 7, "hand"))
        await waiting(2)
    async with asyncio.timeout(60):
        await asyncio.gather(settled, corrected)
    assert await _deadlocks(admin) == 0
    assert (await journal.ledger.balance("month")).spent == 5 + 7
    await admin.close()


async def _is(admin: asyncpg.Connection, sql: str, wanted: int) -> bool:
    return await admin.fetchval(sql) == wanted


async def _deadlocks(admin: asyncpg.Connection) -> int:
    """Once the server has counted: a connection tells it after a second at the latest."""
    await asyncio.sleep(1.5)
    return await admin.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
