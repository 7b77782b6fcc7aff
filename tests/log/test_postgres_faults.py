"""The database and the way to it break in every manner; what was acknowledged is there once, and no call hangs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Iterator

import asyncpg
import pytest

from roost.errors import Fenced, NotFound, RoostError, SequenceConflict, StoreFailed, StoreUnreachable
from roost.log.dispatch import NodeCard
from roost.log.documents import Document, Put, Remove
from roost.log.protocols import Append, Change, SessionQuery
from roost.log.store import Store
from roost.stores.postgres.store import open_postgres
from roost.testing.stores import bodies, eventually, names, new, own, said
from tests.harness.postgres.server import PostgresServer
from tests.harness.postgres.volume import no_volume
from tests.harness.proxy import TcpProxy

from .asking import answers, beats

BOUND = 6.0
"""Seconds after which every call has answered, whatever the database does, on a machine that is idle."""
_BUSY = 3.0
"""How many times longer a busy machine may take."""
_server = PostgresServer(fsync=False)


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[PostgresServer]:
    with _server:
        yield _server


class _Load:
    """Owners that append one numbered event after the other and repeat what has no answer."""

    def __init__(self, journal: Store, sessions: int) -> None:
        self._journal = journal
        self.acknowledged = {f"s{number}": 0 for number in range(sessions)}
        self.unreachable = 0
        self._stop = False

    async def __aenter__(self) -> _Load:
        await self._journal.dispatch.beat(NodeCard(id="loaded"), ttl=3600)
        epochs: dict[str, int] = {}
        for session in self.acknowledged:
            await new(self._journal, session)
            (claim,) = await self._journal.dispatch.claim("loaded", session=session)
            epochs[session] = claim.epoch
        self._tasks = [asyncio.create_task(self._run(*one)) for one in epochs.items()]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.gather(*self._tasks)

    async def _run(self, session: str, epoch: int) -> None:
        number = 0
        while not self._stop:
            append = Append(session=session, epoch=epoch, expected=number + 1, bodies=bodies(f"{number}"))
            try:
                assert await self._journal.logs.append(append) == number + 2
            except StoreUnreachable:
                self.unreachable += 1
                continue
            number += 1
            self.acknowledged[session] = number

    async def more(self, count: int = 20) -> None:
        """Until every session has got so much further."""
        goal = {session: number + count for session, number in self.acknowledged.items()}
        async with asyncio.timeout(60):
            while any(self.acknowledged[session] < number for session, number in goal.items()):
                await asyncio.sleep(0.01)

    async def check(self) -> None:
        for session, number in self.acknowledged.items():
            found: list[str] = []
            while records := await self._journal.logs.read(session, after=len(found) + 1):
                found += names(records)
            assert found == [f"{place}" for place in range(number)]


async def _within(seconds: float, call: Awaitable[object]) -> tuple[object, float]:
    """Its result or its error, and how long it took, which is no more than `seconds` on an idle machine."""
    began = time.monotonic()
    async with asyncio.timeout(seconds * _BUSY):
        (result,) = await asyncio.gather(call, return_exceptions=True)
    return result, time.monotonic() - began


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
async def test_server_restarted_under_load(journal: Store, how: str) -> None:
    async with _Load(journal, 20) as load:
        await load.more()
        await asyncio.to_thread(_server.kill if how == "kill" else lambda: _server.stop(how))  # type: ignore[arg-type]
        await asyncio.to_thread(_server.start)
        await load.more()
    await load.check()


async def test_backends_ended_in_the_middle_of_appends(journal: Store, url: str) -> None:
    admin = await asyncpg.connect(url)
    async with _Load(journal, 50) as load:
        for _ in range(15):
            await load.more(1)  # no append is hit for ever, however slow the machine is
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid()"
            )
        await load.more()
    assert not load.unreachable
    await load.check()
    await admin.close()


async def test_unknown_outcome_repeated_is_written_once(url: str) -> None:
    """The answer is lost, the commit is not."""
    async with _owner(url) as (proxy, journal, other, epoch):
        item = await journal.inboxes.accept("s", said(), key="k")
        append = Append(session="s", epoch=epoch, expected=1, bodies=bodies("a"), consume=[item.id], release=True)
        proxy.hold(up=False)
        writing = asyncio.create_task(journal.logs.append(append))
        await eventually(lambda: _is_free(other))
        proxy.cut()
        proxy.heal()
        assert await writing == 2
        assert names(await journal.logs.read("s")) == ["a"]
        assert await journal.logs.append(append) == 2
        assert names(await journal.logs.read("s")) == ["a"]
        info = await journal.sessions.get("s")
        assert (info.pending, info.owner) == (0, None)


async def test_documents_without_an_answer_are_written_once(url: str) -> None:
    """The answer to the commit is lost: the repetition sees that the transaction is committed."""
    admin = await asyncpg.connect(url, server_settings={"search_path": "roost"})
    await admin.execute("""
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON document_keys DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION slow()""")
    commits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE state = 'active' AND query ILIKE 'commit%'"
    async with _owner(url) as (proxy, journal, other, _):
        heard: list[int] = []
        journal.documents.watch("k", lambda: heard.append(1))
        await journal.documents.write([Put(kind="k", id="a", body=b"1", revision=0)])
        for turn, write in enumerate(
            (Put(kind="k", id="a", body=b"2", revision=1), Remove(kind="k", id="a", revision=2))
        ):
            before = await other.documents.get("k", "a")
            again = Put(kind="k", id="b", body=b"b", keys={"x": "y"}, revision=turn)
            writing = asyncio.create_task(journal.documents.write([write, again]))
            await eventually(lambda: admin.fetchval(commits))
            proxy.hold(up=False)
            await eventually(lambda before=before: _differs(other, before))
            proxy.cut()
            proxy.heal()
            _, second = await writing
            assert second is not None
            assert second == await other.documents.get("k", "b")
            assert second.revision == turn + 1
        assert await other.documents.get("k", "a") is None
        assert len(heard) >= 3
    await admin.close()


async def test_documents_whose_connection_breaks_before_the_commit_are_written_once(url: str) -> None:
    async with _owner(url) as (proxy, journal, other, _):
        await journal.documents.write([Put(kind="k", id="a", body=b"1", revision=0)])
        proxy.hold(up=False)
        writing = asyncio.create_task(journal.documents.write([Put(kind="k", id="a", body=b"2", revision=1)]))
        await asyncio.sleep(0.2)
        assert not writing.done()
        proxy.cut()
        proxy.heal()
        await writing
        assert await other.documents.get("k", "a") == (await writing)[0]


async def _differs(store: Store, before: Document | None) -> bool:
    return await store.documents.get("k", "a") != before


async def test_a_release_without_answer_is_a_success_though_another_took_the_session(url: str) -> None:
    async with _owner(url) as (proxy, journal, other, epoch):
        append = Append(session="s", epoch=epoch, expected=1, bodies=bodies("end"), release=True)
        proxy.hold(up=False)
        writing = asyncio.create_task(journal.logs.append(append))
        await eventually(lambda: _is_free(other))
        claim = await own(other, "s", "other")
        await other.logs.append(Append(session="s", epoch=claim.epoch, expected=2, bodies=bodies("more")))
        proxy.cut()
        proxy.heal()
        assert await writing == 2
        assert names(await other.logs.read("s")) == ["end", "more"]
        with pytest.raises(Fenced):
            await journal.logs.append(append)


async def test_a_release_of_nothing_more_without_answer_is_a_success(url: str) -> None:
    async with _owner(url) as (proxy, journal, other, epoch):
        proxy.hold(up=False)
        writing = asyncio.create_task(journal.logs.append(Append(session="s", epoch=epoch, expected=1, release=True)))
        await eventually(lambda: _is_free(other))
        proxy.cut()
        proxy.heal()
        assert await writing == 1


@contextlib.asynccontextmanager
async def _owner(url: str) -> AsyncGenerator[tuple[TcpProxy, Store, Store, int]]:
    """A journal behind a proxy, which has released before and owns `s` at an epoch; and one that nothing disturbs."""
    async with TcpProxy.to(url) as proxy:
        journal, other = await open_postgres(proxy.through(url)), await open_postgres(url)
        for session in ("before", "s"):
            await new(journal, session)
            claim = await own(journal, session)
            if session == "before":  # the statement is known to the connection
                first = Append(session=session, epoch=claim.epoch, expected=1, bodies=bodies("x"), release=True)
                await journal.logs.append(first)
        yield proxy, journal, other, claim.epoch
        await journal.close()
        await other.close()


async def _is_free(journal: Store) -> bool:
    return (await journal.sessions.get("s")).owner is None


async def test_no_call_hangs_when_nothing_arrives(url: str) -> None:
    async with TcpProxy.to(url) as proxy:
        journal = await open_postgres(proxy.through(url))
        await new(journal, "s")
        claim = await own(journal, "s")
        proxy.hold()
        append = Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("a"))
        calls: list[Awaitable[object]] = [
            journal.logs.append(append),
            journal.inboxes.accept("s", said()),
            journal.inboxes.accept("s", said(), key="k"),
            journal.dispatch.claim("n"),
            journal.dispatch.beat(NodeCard(id="n"), ttl=1),
            journal.sessions.get("s"),
            journal.logs.read("s"),
            journal.dispatch.fire(0.0),
            journal.coordination.hold("duty", "n"),
            journal.portable.dump_shared(),
            open_postgres(proxy.through(url)),
        ]
        for result, _ in await asyncio.gather(*(_within(BOUND + 0.5, call) for call in calls)):
            assert isinstance(result, StoreUnreachable), result
        proxy.heal()
        await eventually(lambda: answers(journal))
        assert await journal.logs.append(append) == 2
        await journal.close()


async def test_a_slow_database_is_waited_for(url: str) -> None:
    """More at once than it does in the time that one waits for a connection to a database that is away."""
    async with TcpProxy.to(url) as proxy:
        journal = await open_postgres(proxy.through(url))
        for number in range(4):
            await new(journal, f"s{number}")
        proxy.delay(0.08)
        began = time.monotonic()
        await asyncio.gather(*(journal.inboxes.accept(f"s{number % 4}", said()) for number in range(80)))
        assert time.monotonic() - began > 2.5
        proxy.heal()
        await journal.close()


async def test_a_connection_that_is_answered_late_is_waited_for(url: str) -> None:
    """For as long as for a statement: a server with much else to do accepts a connection at once and answers later."""
    async with TcpProxy.to(url) as proxy:
        journal = await open_postgres(proxy.through(url))
        await new(journal, "s")
        proxy.hold()
        reads = [_within(BOUND, journal.sessions.get("s")) for _ in range(3)]  # at most one has a connection already
        for result, took in await asyncio.gather(*reads, _within(BOUND, open_postgres(proxy.through(url)))):
            assert isinstance(result, StoreUnreachable), result
            assert took > 3.0
        proxy.heal()
        await journal.close()


async def test_closing_does_not_wait_for_a_database_that_is_gone(url: str) -> None:
    async with TcpProxy.to(url) as proxy:
        journal = await open_postgres(proxy.through(url))
        await asyncio.gather(*(new(journal, f"s{number}") for number in range(8)))
        claim = await own(journal, "s1", "n")
        await journal.logs.append(Append(session="s1", epoch=claim.epoch, expected=1, bodies=bodies("a")))
        proxy.hold()
        await _within(BOUND, journal.close())


async def test_refused_connections_are_told_soon_and_heal(url: str) -> None:
    async with TcpProxy.to(url) as proxy:
        journal = await open_postgres(proxy.through(url))
        await new(journal, "s")
        proxy.refuse()
        proxy.cut()
        await asyncio.sleep(0.1)  # of what is under way when a connection breaks nobody knows the end
        result, took = await _within(3.0, journal.inboxes.accept("s", said()))
        assert isinstance(result, StoreUnreachable)
        assert took > 1.0
        proxy.heal()
        await journal.inboxes.accept("s", said())
        await eventually(lambda: beats(journal))
        await journal.close()


async def test_a_claim_without_answer_leaves_no_session_behind(url: str) -> None:
    """The claim arrives at the database after its caller has given up."""
    async with TcpProxy.to(url) as proxy:
        journal = await open_postgres(proxy.through(url))
        await new(journal, "s")
        await journal.inboxes.accept("s", said())
        await journal.dispatch.beat(NodeCard(id="n"), ttl=3600)
        proxy.hold()
        result, _ = await _within(BOUND, journal.dispatch.claim("n"))
        assert isinstance(result, StoreUnreachable)
        proxy.heal()
        await eventually(lambda: answers(journal))
        await journal.dispatch.beat(NodeCard(id="n"), ttl=3600)
        (claim,) = await eventually(lambda: journal.dispatch.claim("n"))
        assert await journal.logs.append(Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("a"))) == 2
        await journal.close()


async def test_a_cancelled_claim_leaves_no_session_behind(journal: Store) -> None:
    await journal.dispatch.beat(NodeCard(id="n"), ttl=3600)
    for number in range(20):
        await new(journal, f"s{number}")
        await journal.inboxes.accept(f"s{number}", said())
        claiming = asyncio.create_task(journal.dispatch.claim("n"))
        await asyncio.sleep(0.0005 * number)
        if claiming.cancel():
            await asyncio.gather(claiming, return_exceptions=True)
            claims = [] if claiming.cancelled() else await claiming
            claims += await eventually(lambda: journal.dispatch.claim("n"))
        else:
            claims = await claiming
        assert [claim.info.id for claim in claims] == [f"s{number}"]


async def test_any_host_of_the_address_will_do(url: str) -> None:
    journal = await open_postgres(url.replace("127.0.0.1", "127.0.0.1:1,127.0.0.1"))
    await new(journal, "s")
    await journal.close()


async def test_lost_notifications_are_made_up_for(url: str, journal: Store) -> None:
    """The writer dies between commit and notification: who watches the session looks for itself."""
    await new(journal, "s")
    changes: list[Change] = []
    journal.changes.watch(changes.append, session="s")
    other = await open_postgres(url)
    await asyncio.sleep(0.2)
    admin = await asyncpg.connect(url, server_settings={"search_path": "roost"})
    await asyncio.sleep(1.5)
    changes.clear()
    await admin.execute("UPDATE sessions SET head = head + 1 WHERE id = 's'")
    await eventually(lambda: asyncio.sleep(0, changes))
    assert changes[0] == Change("s", None, ())
    await admin.close()
    await other.close()


async def test_deadlock_storm(url: str, journal: Store) -> None:
    """Two journals with the same sessions in opposite orders, and an operator who locks them in yet another."""
    other = await open_postgres(url)
    sessions = [f"s{number}" for number in range(12)]
    for session in sessions:
        await new(journal, session)
    await journal.dispatch.beat(NodeCard(id="a"), ttl=3600)
    await other.dispatch.beat(NodeCard(id="b"), ttl=3600)
    written = dict.fromkeys(sessions, 0)
    until = time.monotonic() + 2.5

    async def one(store: Store, node: str, session: str) -> None:
        while time.monotonic() < until:
            for claim in await store.dispatch.claim(node, session=session):
                item = await store.inboxes.accept(session, said())
                write = Append(session=session, epoch=claim.epoch, expected=claim.info.head, bodies=bodies("x"))
                write.consume, write.release = [item.id], True
                with contextlib.suppress(Fenced, SequenceConflict):
                    await store.logs.append(write)
                    written[session] += 1
            await asyncio.sleep(0)

    async def leaver() -> None:
        while time.monotonic() < until:
            await other.dispatch.leave("b")
            await other.dispatch.beat(NodeCard(id="b"), ttl=3600)
            await asyncio.sleep(0.1)

    await asyncio.gather(
        _locker(url, sessions, until),
        leaver(),
        *(one(journal, "a", session) for session in sessions),
        *(one(other, "b", session) for session in reversed(sessions)),
    )
    assert sum(written.values()) > 50
    for session in sessions:
        assert names(await journal.logs.read(session)) == ["x"] * written[session]
    await other.close()


async def test_a_bad_append_does_not_harm_its_group(journal: Store) -> None:
    """One that the database refuses outright, and one whose partition is gone."""
    for session in ("good", "bad"):
        await new(journal, session)
    good, bad = await own(journal, "good"), await own(journal, "bad")
    too_far = Append(session="bad", epoch=bad.epoch, expected=1, bodies=bodies("x"), consume=[2**70])
    results = await asyncio.gather(
        journal.logs.append(Append(session="good", epoch=good.epoch, expected=1, bodies=bodies("a"))),
        journal.logs.append(too_far),
        return_exceptions=True,
    )
    assert results[0] == 2
    assert isinstance(results[1], RoostError)
    assert (await journal.sessions.get("bad")).head == 1


async def test_a_read_only_server_is_named(journal: Store, url: str) -> None:
    await new(journal, "s")
    admin = await asyncpg.connect(url)
    await admin.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
    await admin.execute(
        "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND datname = current_database()"
    )
    await asyncio.sleep(0.1)
    with pytest.raises(StoreFailed) as refused:
        await journal.inboxes.accept("s", said())
    assert refused.value.code == "read_only"
    assert (await journal.sessions.get("s")).id == "s"
    await admin.execute(f"ALTER DATABASE {url.rpartition('/')[2]} RESET default_transaction_read_only")
    await eventually(lambda: _accepts(journal))
    await admin.close()


async def test_text_that_the_database_cannot_hold_is_the_callers_error(journal: Store) -> None:
    for session in ("a\x00b", "a\ud800b"):
        with pytest.raises(RoostError) as refused:
            await new(journal, session)
        assert refused.value.code == "invalid"
    await new(journal, "fine")
    with pytest.raises(NotFound):
        await journal.sessions.get("other")
    assert [one.id for one in await journal.sessions.find(SessionQuery())] == ["fine"]


@pytest.mark.skipif(bool(no_volume()), reason=str(no_volume()))
async def test_full_disk_refuses_and_recovers() -> None:
    with PostgresServer(fsync=False, disk=160, settings={"wal_recycle": "off", "max_wal_size": "48MB"}) as server:
        journal = await open_postgres(await server.database())
        async with _Load(journal, 5) as load:
            await load.more(5)
        await new(journal, "full")
        claim = await own(journal, "full", "loaded")
        server.fill_disk()
        big = bodies("x" * 400_000)
        refused: RoostError | None = None
        head = 1
        async with asyncio.timeout(60):
            while refused is None:
                try:
                    head = await journal.logs.append(
                        Append(session="full", epoch=claim.epoch, expected=head, bodies=big)
                    )
                except RoostError as error:
                    refused = error
        assert refused.code in ("disk_full", "store_unreachable")
        server.free_disk()
        if not server.running:
            await asyncio.to_thread(server.start)
        await eventually(lambda: answers(journal))
        await load.check()
        assert (await journal.sessions.get("full")).head in (head, head + 1)
        await journal.close()


async def _locker(url: str, sessions: list[str], until: float) -> None:
    """Locks in an order of its own, and is the one that the server sacrifices."""
    admin = await asyncpg.connect(url, server_settings={"search_path": "roost", "deadlock_timeout": "10ms"})
    while time.monotonic() < until:
        with contextlib.suppress(asyncpg.DeadlockDetectedError):
            async with admin.transaction():
                for session in reversed(sessions):
                    await admin.execute("SELECT FROM sessions WHERE id = $1 FOR UPDATE", session)
        await asyncio.sleep(0.02)
    await admin.close()


async def _accepts(journal: Store) -> bool:
    try:
        await journal.inboxes.accept("s", said())
    except StoreFailed:
        return False
    return True
