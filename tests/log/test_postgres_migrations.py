"""Tables are made, changed and thrown away while nodes work on them."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator, Sequence

import asyncpg
import msgspec
import pytest

from roost.errors import ConfigError, NotFound, RoostError, StoreFailed, StoreUnreachable
from roost.log.dispatch import NodeCard
from roost.log.documents import Put
from roost.log.events import encode_event
from roost.log.inputs import encode_input
from roost.log.ledger import CallNote
from roost.log.protocols import Append, Delivery, NewSession, Record, SessionQuery, Snapshot
from roost.log.store import Store
from roost.stores.admin import shown
from roost.stores.call_rows import encode_note
from roost.stores.conditions import Conditions, numbered
from roost.stores.postgres import partitions
from roost.stores.postgres.database import Address
from roost.stores.postgres.migrate import MIGRATIONS, Migration, Step, migrate
from roost.stores.postgres.store import open_postgres
from roost.stores.session_rows import sessions_sql
from roost.testing.forks import fork, grown, log_of
from roost.testing.stores import bodies, created, eventually, names, new, own, said
from tests.harness.postgres.server import PostgresServer


@pytest.fixture
async def admin(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, server_settings={"search_path": "roost"})
    yield connection
    await connection.close()


_NEW = len(MIGRATIONS) + 1
_NEXT = Migration(
    _NEW,
    (
        Step("ALTER TABLE sessions ADD COLUMN mood text; CREATE TABLE moods (s bigint PRIMARY KEY)"),
        Step(
            "UPDATE sessions SET mood = 'calm' WHERE s IN (SELECT s FROM sessions WHERE mood IS NULL LIMIT 20"
            " FOR UPDATE SKIP LOCKED)",
            "pieces",
        ),
        Step("DROP INDEX CONCURRENTLY IF EXISTS sessions_mood", "alone"),
        Step("CREATE INDEX CONCURRENTLY sessions_mood ON sessions (mood)", "alone"),
    ),
)


async def _open_and_close(url: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    await (await open_postgres(url, migrations=migrations)).close()


class _Writing:
    """Sessions that go on while the tables change; the longest that an append took is in `slowest`."""

    def __init__(self, journal: Store, sessions: int = 5) -> None:
        self._journal = journal
        self._sessions = sessions
        self._stop = False
        self.slowest = 0.0
        self.written = 0

    async def __aenter__(self) -> _Writing:
        await self._journal.dispatch.beat(NodeCard(id="w"), ttl=3600)
        self._tasks = [asyncio.create_task(self._run(f"w{number}")) for number in range(self._sessions)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def _run(self, session: str) -> None:
        await new(self._journal, session)
        (claim,) = await self._journal.dispatch.claim("w", session=session)
        loop, head = asyncio.get_running_loop(), 1
        while not self._stop:
            began = loop.time()
            head = await self._journal.logs.append(
                Append(session=session, epoch=claim.epoch, expected=head, bodies=bodies("x"))
            )
            self.slowest = max(self.slowest, loop.time() - began)
            self.written += 1


async def test_many_openers_of_a_new_database(database: str) -> None:
    url = database
    await asyncio.gather(*(_open_and_close(url) for _ in range(8)))
    journal = await open_postgres(url)
    await new(journal, "s")
    await journal.close()


async def test_lost_calls_of_the_third_layout_are_found_by_their_start(server: PostgresServer) -> None:
    """Also one that a node of that layout loses after the change."""
    third = await server.database(_nothing)
    await _open_and_close(third, MIGRATIONS[:3])
    old = await asyncpg.connect(third, server_settings={"search_path": "roost"})
    note = encode_note(CallNote(owner="n", started=700.5, lasting=("month:a",)))
    reserve = "SELECT reserve_3($1, '{month:a}', '{60}', '{null}', 5, $2)"
    for id in ("call:s:1", "call:s:2"):
        await old.execute(reserve, id, note)
    await old.execute("SELECT lose_3('call:s:1', 5, $1, true)", note)
    journal = await open_postgres(third)
    await old.execute("SELECT lose_3('call:s:2', 6, $1, true)", note)
    await old.execute("SELECT correct_3('call:s:2', 9, 'hand', '{month:a}')")
    found = await journal.ledger.lost("call:", started=(700.0, 701.0))
    assert [(call.id, call.started, call.cost) for call in found] == [("call:s:1", 700.5, 5), ("call:s:2", 700.5, 9)]
    assert await journal.ledger.lost("call:", started=(701.0, 1000.0)) == []
    assert (await journal.ledger.balance("month:a")).spent == 14
    await journal.close()
    await old.close()


async def test_labels_of_the_fourth_layout_are_found(server: PostgresServer) -> None:
    """Also those of a session that a node of that layout makes after the change."""
    fourth = await server.database(_nothing)
    await _open_and_close(fourth, MIGRATIONS[:4])
    old = await asyncpg.connect(fourth, server_settings={"search_path": "roost"})
    create = "SELECT create_1($1, NULL, 'a', '1', NULL, NULL, NULL, $2, '{}', '{}')"
    for id, labels in (("one", '{"user": "ann", "x": ""}'), ("two", '{"user": "bob"}'), ("none", "{}")):
        await old.execute(create, id, labels)
    journal = await open_postgres(fourth)

    async def found() -> list[str]:
        return [one.id for one in await journal.sessions.find(SessionQuery(label=("user", "ann")))]

    assert await found() == ["one"]
    await old.execute(create, "three", '{"user": "ann"}')
    assert await found() == ["three", "one"]
    await old.execute("SELECT delete_1('one', NULL)")
    assert await found() == ["three"]
    assert await old.fetchval("SELECT count(*) FROM session_labels") == 2
    await journal.close()
    await old.close()


async def test_documents_come_while_a_node_of_the_fifth_layout_works(server: PostgresServer) -> None:
    fifth = await server.database(_nothing)
    old = await open_postgres(fifth, migrations=MIGRATIONS[:5])
    await new(old, "s")
    claim = await own(old, "s")
    journal = await open_postgres(fifth)
    heard = asyncio.Event()
    journal.documents.watch("k", heard.set)
    await journal.documents.write([Put(kind="k", id="i", body=b"x", keys={"a": "1"})])
    assert heard.is_set()
    assert await old.logs.append(Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("on"))) == 2
    assert names(await journal.logs.read("s")) == ["on"]
    await old.close()
    await _open_and_close(fifth, MIGRATIONS[:5])
    assert await journal.documents.get("k", "i") is not None
    await journal.close()


async def test_a_search_by_a_label_reads_no_other_sessions(journal: Store, admin: asyncpg.Connection) -> None:
    many = """INSERT INTO sessions (updated_at, created_at, id, agent, version, labels)
        SELECT n, n, 's' || n, 'clerk', '1', jsonb_build_object('user', 'u' || n % 3, 'chat', 'c' || n / 3)
        FROM generate_series(1, 20000) n"""
    await admin.execute(many)
    for known in (False, True):
        if known:
            await admin.execute("ANALYZE sessions, session_labels")
        for label, limit in ((("chat", "c7"), 50), (("user", "u1"), 50), (("user", "none"), 50)):
            where = Conditions()
            sql = sessions_sql(SessionQuery(agent="clerk", label=label, before="s15000", limit=limit), where)
            rows = await admin.fetch(f"EXPLAIN {numbered(sql)}", *where.values)
            plan = "\n".join(row[0] for row in rows)
            assert "Scan Backward using session_labels_pkey" in plan, plan
            assert not any(step in plan for step in ("Seq Scan", "Sort")), plan


async def _nothing(_: str) -> None:
    """The database stays empty."""


async def test_schemas_of_one_database_are_apart(url: str, journal: Store) -> None:
    other = await open_postgres(f"{url}?schema=other_one")
    await new(journal, "s")
    await own(journal, "s", "n")
    with pytest.raises(NotFound):
        await other.sessions.get("s")
    await other.dispatch.beat(NodeCard(id="n"), ttl=60)
    assert [node.alive for node in await other.dispatch.nodes()] == [True]
    await other.close()
    assert [node.alive for node in await journal.dispatch.nodes()] == [True]
    with pytest.raises(ConfigError):
        await open_postgres(f'{url}?schema=Odd"')


async def test_migration_under_load(url: str, journal: Store, admin: asyncpg.Connection) -> None:
    """A node of the version before goes on during and after it, and what it makes later is understood."""
    for number in range(100):
        await new(journal, f"old{number}")
    async with _Writing(journal) as writing:
        await asyncio.gather(*(_open_and_close(url, [*MIGRATIONS, _NEXT]) for _ in range(3)))
        before = writing.written
        await eventually(lambda: asyncio.sleep(0, writing.written > before))
    assert writing.slowest < 15.0
    assert await admin.fetchval("SELECT count(*) FROM sessions WHERE mood = 'calm'") >= 100
    assert await admin.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'sessions_mood'::regclass")
    await new(journal, "later")
    await _open_and_close(url)  # and may be started anew


async def test_a_lock_that_is_not_to_be_had_does_not_stop_the_others(
    url: str, journal: Store, admin: asyncpg.Connection
) -> None:
    """A long query holds the table; the migration tries again and again instead of queueing up before the writers."""
    async with _Writing(journal) as writing:
        async with admin.transaction():
            await admin.execute("SELECT count(*) FROM sessions")
            migrating = asyncio.create_task(_open_and_close(url, [*MIGRATIONS, _NEXT]))
            await asyncio.sleep(0.5)
            before = writing.written
            await eventually(lambda: asyncio.sleep(0, writing.written > before))
            assert not migrating.done()
        await migrating
    assert writing.slowest < 15.0


_KILLED = """
import asyncio, sys
from roost.stores.postgres.store import open_postgres
from roost.log.store import Store
from roost.stores.postgres.migrate import MIGRATIONS, Migration, Step
steps = (
    Step("CREATE TABLE one (a int); INSERT INTO one VALUES (1)"),
    Step("INSERT INTO one VALUES (2); SELECT pg_sleep(%s)"),
    Step("INSERT INTO one VALUES (3)"),
)
asyncio.run(open_postgres(sys.argv[1], migrations=[*MIGRATIONS, Migration(len(MIGRATIONS) + 1, steps)]))
"""


async def test_a_migration_cut_off_is_resumed(url: str, admin: asyncpg.Connection) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _KILLED % 60, url)
    async with asyncio.timeout(100):
        while not await admin.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'roost-open' AND wait_event = 'PgSleep'"
        ):
            await asyncio.sleep(0.02)
    process.kill()
    await process.wait()
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'roost-open'")
    again = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED % 0, url, stderr=asyncio.subprocess.DEVNULL
    )
    await again.wait()
    assert [row[0] for row in await admin.fetch("SELECT a FROM one ORDER BY a")] == [1, 2, 3]


async def _first_layout(url: str, link: asyncpg.Connection) -> None:
    await migrate(link, "roost", MIGRATIONS[:1])
    await partitions.ensure(link)
    await link.execute("SET search_path = roost")
    for session in ("lived", "gone"):
        await link.execute(
            "SELECT FROM create_1($1, $1, 'a', '1', NULL, NULL, NULL, '{}', '{}', $2)",
            session,
            [encode_event(created())],
        )
    await link.execute(
        "SELECT FROM beat_1('n', 60, '', '{}', 9, false, 3, $1, true)", msgspec.json.encode(NodeCard(id="n"))
    )
    await link.execute("SELECT FROM claim_1('n', 'lived', 1, 0)")
    await link.execute(
        "SELECT FROM append_1('{1}', '{1}', '{1}', '{3}', '{0}', '{running}', '{idle}', '{1,1,1}', '{2,3,4}', $1, '{}',"
        " '{}', '{}')",
        bodies("one", "two", "three"),
    )
    await link.execute("SELECT FROM accept_1('lived', 'k', NULL, 0, $1, 1000)", encode_input(said()))
    await link.execute("INSERT INTO snapshots VALUES (1, 2, 9, 'folded')")
    await link.execute("SELECT FROM delete_1('gone', NULL)")


async def test_what_the_first_layout_holds_goes_on(database: str) -> None:
    """And a node of the version before, which is at work, harms no fork."""
    link = await Address.parse(database, "full").connect("old")
    await link.execute("CREATE SCHEMA roost")
    await _first_layout(database, link)
    journal = await open_postgres(database)
    assert names(await journal.logs.read("lived")) == ["one", "two", "three"]
    assert await journal.logs.snapshot("lived", at=2) == Snapshot(2, 9, b"folded")
    assert (await journal.inboxes.accept("lived", said(), key="other")).id == 2
    sent = [Delivery("lived", said("end"), "end")]
    append = Append(session="lived", epoch=1, expected=4, bodies=bodies("on"), deliver=sent)
    assert await journal.logs.append(append) == 5
    assert [item.id for item in await journal.inboxes.pending("lived")] == [1, 2, 3]
    await fork(journal, "lived", 4, "f")
    head, events, seqs = await link.fetchrow("SELECT * FROM read_1('f', 1, 100, 100000)")
    assert (head, seqs, names(list(map(Record, seqs, events)))) == (5, [2, 3, 4, 5], ["one", "two", "three", "f5"])
    assert await link.fetchval("SELECT (delete_1('lived', 1)).outcome") == "deleted"
    assert await link.fetchval("SELECT purge_1(1, 2000)")
    await journal.sessions.purge()
    assert await log_of(journal, "f") == ["one", "two", "three", "f5"]
    assert await link.fetchval("SELECT count(*) FROM events") == 5
    assert await link.fetchval("SELECT (delete_1('f', NULL)).outcome") == "deleted"
    await journal.sessions.purge()
    assert await link.fetchval("SELECT count(*) FROM events") == 0
    await journal.close()
    await link.close()


async def test_newer_tables_are_refused_unless_they_suit_older_readers(url: str) -> None:
    await _open_and_close(url, [*MIGRATIONS, Migration(_NEW, (Step("SELECT 1"),), oldest_reader=1)])
    await _open_and_close(url)
    await _open_and_close(url, [*MIGRATIONS, Migration(_NEW + 1, (Step("SELECT 1"),), oldest_reader=_NEW + 1)])
    with pytest.raises(StoreFailed, match="upgrade Roost") as refused:
        await open_postgres(url)
    assert refused.value.code == "store_too_new"


async def test_what_cannot_be_opened_says_why(url: str, admin: asyncpg.Connection, server: PostgresServer) -> None:
    with pytest.raises(StoreFailed, match="createdb"):
        await open_postgres(server.url("no_such_database"))
    with pytest.raises(StoreUnreachable):
        await open_postgres("postgresql://postgres@127.0.0.1:1/postgres")
    await admin.execute("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN")
    with pytest.raises(StoreFailed, match="GRANT") as refused:
        await open_postgres(url.replace("postgres@", "guest@") + "?schema=guests")
    assert refused.value.code == "store_refused"
    with pytest.raises(StoreFailed, match="sslmode"):
        await open_postgres(f"{url}?sslmode=perhaps")


async def test_a_database_that_cannot_hold_every_text_is_refused(
    admin: asyncpg.Connection, server: PostgresServer
) -> None:
    name = f"latin_{secrets.token_hex(4)}"
    await admin.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        with pytest.raises(StoreFailed, match="createdb --encoding UTF8"):
            await open_postgres(server.url(name))
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("password", ["hush/1", "hu:sh/", "h?ush", "hush#1", "[hush", "hush]", "hu[s]h@"])
async def test_a_password_that_breaks_the_address_is_not_told(password: str) -> None:
    address = f"postgresql://roost:{password}@127.0.0.1:1/roost"
    with pytest.raises(RoostError) as refused:
        await open_postgres(address)
    assert "cannot be read" in str(refused.value)
    assert "hu" not in str(refused.value)
    assert shown(address) == "postgresql://roost@127.0.0.1:1/roost"


def test_an_address_is_shown_without_its_password() -> None:
    assert shown("postgresql://u:p%40@a,b:1/d?sslmode=require") == "postgresql://u@a,b:1/d"
    assert shown("postgresql:///d?user=u&password=hush") == "postgresql:///d"
    assert shown("/some/roost.db") == "/some/roost.db"


# Partitions


async def _small(admin: asyncpg.Connection, size: int = 20) -> None:
    await admin.execute("UPDATE store SET partition_sessions = $1", size)
    await admin.execute("DROP TABLE events_1; DELETE FROM partitions")


async def test_partitions_are_made_ahead_under_load(url: str, admin: asyncpg.Connection) -> None:
    await _small(admin)
    first, second = [await open_postgres(url) for _ in range(2)]

    async def make(store: Store, prefix: str) -> None:
        for number in range(150):
            await new(store, f"{prefix}{number}")

    async with _Writing(first) as writing:
        await asyncio.gather(*(make(store, f"{store is first}-{part}-") for store in (first, second) for part in "abc"))
    assert writing.slowest < 15.0
    tables = await admin.fetch("SELECT first, past, name FROM partitions ORDER BY first")
    assert [row["past"] for row in tables[:-1]] == [row["first"] for row in tables[1:]]
    assert len(tables) > 900 / 20
    assert await first.logs.read("True-a-149")
    for store in (first, second):
        await store.close()


async def test_more_sessions_at_once_than_a_partition_has(url: str, admin: asyncpg.Connection) -> None:
    await _small(admin, 4)
    journal = await open_postgres(url)
    await asyncio.gather(*(new(journal, f"s{number}") for number in range(100)))
    assert len(await journal.logs.read("s99")) == 1
    await journal.close()


async def test_a_detached_partition_leaves_the_rest_going(url: str, admin: asyncpg.Connection) -> None:
    await _small(admin)
    journal = await open_postgres(url)
    for number in range(60):
        await new(journal, f"s{number}")
        await journal.inboxes.accept(f"s{number}", said())
    await admin.execute("ALTER TABLE events DETACH PARTITION events_1 CONCURRENTLY")
    await journal.dispatch.beat(NodeCard(id="n"), ttl=60)
    claims = {claim.info.id: claim for claim in await journal.dispatch.claim("n", limit=100)}
    assert "s59" in claims
    assert "s0" not in claims
    assert (await journal.sessions.get("s0")).state == "error"
    with pytest.raises(StoreFailed) as refused:
        await journal.logs.read("s0")
    assert refused.value.code == "events_detached"
    append = Append(session="s59", epoch=claims["s59"].epoch, expected=1, bodies=bodies("a"))
    assert await journal.logs.append(append) == 2
    await admin.execute("ALTER TABLE events ATTACH PARTITION events_1 FOR VALUES FROM (1) TO (21)")
    assert len(await journal.logs.read("s0")) == 1
    await journal.close()


async def test_an_append_to_a_detached_partition_harms_no_other(url: str, admin: asyncpg.Connection) -> None:
    await _small(admin)
    journal = await open_postgres(url)
    for number in range(60):
        await new(journal, f"s{number}")
    gone, good = await own(journal, "s0"), await own(journal, "s59")
    await admin.execute("ALTER TABLE events DETACH PARTITION events_1 CONCURRENTLY")
    results = await asyncio.gather(
        *(
            journal.logs.append(Append(session=claim.info.id, epoch=claim.epoch, expected=1, bodies=bodies("a")))
            for claim in (gone, good)
        ),
        return_exceptions=True,
    )
    assert isinstance(results[0], StoreFailed)
    assert results[1] == 2
    assert (await journal.sessions.get("s0")).head == 1
    await journal.close()


async def test_partitions_of_deleted_sessions_are_dropped(url: str, admin: asyncpg.Connection) -> None:
    await _small(admin)
    journal = await open_postgres(url)
    for number in range(100):
        await new(journal, f"s{number}")
    for number in range(50):
        await journal.sessions.delete(f"s{number}")
    assert await admin.fetchval("SELECT to_regclass('events_1')") == "events_1"
    await eventually(lambda: admin.fetchval("SELECT count(*) = 0 FROM garbage"))
    async with _Writing(journal) as writing:
        await _open_and_close(url)
        other = await open_postgres(url)
        await eventually(lambda: admin.fetchval("SELECT to_regclass('events_21') IS NULL"))
    assert writing.slowest < 15.0
    assert [name for (name,) in await admin.fetch("SELECT name FROM partitions ORDER BY first LIMIT 1")] == [
        "events_41"
    ]
    assert await admin.fetchval("SELECT to_regclass('events_1')") is None
    await other.close()
    assert len(await journal.logs.read("s50")) == 1
    await journal.close()


async def test_the_partition_of_a_source_stays_while_forks_need_it(url: str, admin: asyncpg.Connection) -> None:
    await _small(admin)
    journal = await open_postgres(url)
    for number in range(100):
        await new(journal, f"s{number}")
    await fork(journal, "s3", 1, "f")
    for number in range(50):
        await journal.sessions.delete(f"s{number}")
    await eventually(lambda: admin.fetchval("SELECT count(*) = 1 FROM garbage"))
    other = await open_postgres(url)
    await eventually(lambda: admin.fetchval("SELECT to_regclass('events_21') IS NULL"))
    assert await log_of(other, "f") == ["f2"]
    assert await admin.fetchval("SELECT count(*) FROM events_1") == 1
    await other.sessions.delete("f")
    await eventually(lambda: admin.fetchval("SELECT count(*) = 0 FROM garbage"))
    await journal.close()
    await other.close()
    await _open_and_close(url)
    await (journal := await open_postgres(url)).sessions.get("s50")
    await eventually(lambda: admin.fetchval("SELECT to_regclass('events_1') IS NULL"))
    await journal.close()


async def test_a_fork_costs_the_same_wherever_it_begins(url: str, journal: Store) -> None:
    """Counted in the pages that the server touches."""
    await grown(journal, "s", 5000)
    link = await Address.parse(url, "full").connect("test")

    async def pages(at: int) -> int:
        (plan,) = await link.fetchrow(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT fork_2('s', $1, $2, NULL, 'a', '1', NULL, NULL, NULL, '{}',"
            " '{}', '{}', $1, 1, 'state', 'created', 'idle')",
            at,
            f"fork at {at}",
        )
        node = msgspec.json.decode(plan)[0]["Plan"]
        return node["Shared Hit Blocks"] + node["Shared Read Blocks"]

    few = [await pages(at) for at in range(1, 20)][-1]
    assert await pages(5000) <= few + 6
    await link.close()


async def test_a_step_costs_the_same_however_much_there_is(url: str, journal: Store) -> None:
    """Counted in the pages that the server touches, which no busy machine can disturb."""
    await new(journal, "s")
    claim = await own(journal, "s")
    link = await Address.parse(url, "full").connect("test")
    s = await link.fetchval("SELECT s FROM sessions")

    async def pages(expected: int) -> int:
        """Of one append, by the plans that the journal's connections have."""
        (plan,) = await link.fetchrow(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT append_1(ARRAY[$1::bigint], ARRAY[$2::bigint],"
            " ARRAY[$3::bigint], '{1}', '{0}', '{NULL}', '{NULL}', ARRAY[$1::bigint], ARRAY[$3::bigint + 1],"
            " ARRAY[$4::bytea], '{}', '{}', '{}')",
            s,
            claim.epoch,
            expected,
            b"x" * 1000,
        )
        node = msgspec.json.decode(plan)[0]["Plan"]
        return node["Shared Hit Blocks"] + node["Shared Read Blocks"]

    few = [await pages(1 + place) for place in range(20)][-1]
    await link.execute("""
        WITH made AS (INSERT INTO sessions (head, updated_at, created_at, id, agent, version)
            SELECT 10, 0, 0, 'many' || n, 'a', '1' FROM generate_series(1, 20000) n RETURNING s)
        INSERT INTO events SELECT s, seq, 'body' FROM made, generate_series(1, 10) AS seq""")
    many = [await pages(21 + place) for place in range(20)][-1]
    assert (await journal.sessions.get("s")).head == 41
    assert many <= few + 6, (few, many)  # the trees are a level higher
    await link.close()


async def test_the_first_event_says_how_the_session_began(journal: Store) -> None:
    await journal.sessions.create(NewSession(id="s", agent="a", version="1"), [created(), created()])
    assert (await journal.sessions.get("s")).head == 2
    assert names(await journal.logs.read("s")) == []
