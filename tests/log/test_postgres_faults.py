"""The database and the way to it break in every manner; what was acknowledged is there once, and no call hangs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Iterator

import asyncpg
import pytest

from roost.errors import Fenced, NotFound, RoostError, SequenceConflict, StoreFailed, StoreUnreachable
from roost.log.dispatch import NodeCard
from roost.log.journal import Append, Change, SessionQuery
from roost.log.postgres import PostgresJournal
from roost.testing.postgres import PostgresServer, no_volume
from roost.testing.proxy import TcpProxy
from roost.testing.stores import bodies, eventually, names, new, own, said

BOUND = 6.0
"""Seconds after which every call has answered, whatever the database does."""
_server = PostgresServer(fsync=False)


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[PostgresServer]:
    with _server:
        yield _server


async def _prepare(url: str) -> None:
    await (await PostgresJournal.open(url)).close()


@pytest.fixture
async def url() -> str:
    return await _server.database(_prepare)


@pytest.fixture
async def journal(url: str) -> AsyncIterator[PostgresJournal]:
    journal = await PostgresJournal.open(url)
    yield journal
    await journal.close()


class _Load:
    """Owners that append one numbered event after the other and repeat what has no answer."""

    def __init__(self, journal: PostgresJournal, sessions: int) -> None:
        self._journal = journal
        self.acknowledged = {f"s{number}": 0 for number in range(sessions)}
        self.unreachable = 0
        self._stop = False

    async def __aenter__(self) -> _Load:
        await self._journal.beat(NodeCard(id="loaded"), ttl=3600)
        epochs: dict[str, int] = {}
        for session in self.acknowledged:
            await new(self._journal, session)
            (claim,) = await self._journal.claim("loaded", session=session)
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
                assert await self._journal.append(append) == number + 2
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
            while records := await self._journal.read(session, after=len(found) + 1):
                found += names(records)
            assert found == [f"{place}" for place in range(number)]


async def _within(seconds: float, call: Awaitable[object]) -> tuple[object, float]:
    """Its result or its error, and how long it took, which is no more than `seconds`."""
    began = time.monotonic()
    async with asyncio.timeout(seconds + 5):
        (result,) = await asyncio.gather(call, return_exceptions=True)
    took = time.monotonic() - began
    assert took <= seconds, (call, took)
    return result, took


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
async def test_server_restarted_under_load(journal: PostgresJournal, how: str) -> None:
    async with _Load(journal, 20) as load:
        await load.more()
        await asyncio.to_thread(_server.kill if how == "kill" else lambda: _server.stop(how))  # type: ignore[arg-type]
        await asyncio.to_thread(_server.start)
        await load.more()
    await load.check()


async def test_backends_ended_in_the_middle_of_appends(journal: PostgresJournal, url: str) -> None:
    admin = await asyncpg.connect(url)
    async with _Load(journal, 50) as load:
        for _ in range(15):
            await asyncio.sleep(0.03)
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
    async with TcpProxy.to(url) as proxy:
        journal = await PostgresJournal.open(proxy.through(url))
        await new(journal, "s")
        claim = await own(journal, "s")
        item = await journal.accept("s", said(), key="k")
        append = Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("a"), consume=[item.id], release=True)
        proxy.hold(up=False)
        writing = asyncio.create_task(journal.append(append))
        await asyncio.sleep(0.3)
        proxy.cut()
        proxy.heal()
        assert await writing == 2
        assert names(await journal.read("s")) == ["a"]
        assert await journal.append(append) == 2
        assert names(await journal.read("s")) == ["a"]
        info = await journal.get("s")
        assert (info.pending, info.owner) == (0, None)
        await journal.close()


async def test_no_call_hangs_when_nothing_arrives(url: str) -> None:
    async with TcpProxy.to(url) as proxy:
        journal = await PostgresJournal.open(proxy.through(url))
        await new(journal, "s")
        claim = await own(journal, "s")
        proxy.hold()
        append = Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("a"))
        calls: list[Awaitable[object]] = [
            journal.append(append),
            journal.accept("s", said()),
            journal.accept("s", said(), key="k"),
            journal.claim("n"),
            journal.beat(NodeCard(id="n"), ttl=1),
            journal.get("s"),
            journal.read("s"),
            journal.fire(0.0),
            journal.hold("duty", "n"),
            journal.dump_shared(),
            PostgresJournal.open(proxy.through(url)),
        ]
        for result, _ in await asyncio.gather(*(_within(BOUND + 0.5, call) for call in calls)):
            assert isinstance(result, StoreUnreachable), result
        proxy.heal()
        await eventually(lambda: _answers(journal))
        assert await journal.append(append) == 2
        await journal.close()


async def test_a_slow_database_is_waited_for(url: str) -> None:
    """More at once than it does in the time that one waits for a connection to a database that is away."""
    async with TcpProxy.to(url) as proxy:
        journal = await PostgresJournal.open(proxy.through(url))
        for number in range(4):
            await new(journal, f"s{number}")
        proxy.delay(0.08)
        began = time.monotonic()
        await asyncio.gather(*(journal.accept(f"s{number % 4}", said()) for number in range(80)))
        assert time.monotonic() - began > 2.5
        proxy.heal()
        await journal.close()


async def test_a_node_lives_however_busy_its_connections_are(url: str, journal: PostgresJournal) -> None:
    """What it says of itself, and asks about the others for that, waits behind nobody."""
    await new(journal, "s")
    await journal.beat(NodeCard(id="n"), ttl=60)
    admin = await asyncpg.connect(url, server_settings={"search_path": "roost"})
    async with admin.transaction():
        await admin.execute("SELECT FROM sessions FOR UPDATE")
        waiting = asyncio.gather(*(journal.accept("s", said()) for _ in range(300)))
        await asyncio.sleep(0.2)
        for _ in range(5):
            await _within(0.5, journal.beat(NodeCard(id="n"), ttl=60))
            async with asyncio.timeout(0.5):
                (node,) = await journal.nodes()
            assert node.alive
    assert sorted(one.id for one in await waiting) == list(range(1, 301))
    await admin.close()


async def test_a_process_that_stands_still_is_not_a_database_that_does(url: str, journal: PostgresJournal) -> None:
    """When it goes on, the answers are there, and its connections are kept: the one above all that its life is."""
    other = await PostgresJournal.open(url)
    await other.beat(NodeCard(id="other"), ttl=60)
    await new(journal, "s")
    await journal.accept("s", said())
    await journal.beat(NodeCard(id="n"), ttl=60)
    admin = await asyncpg.connect(url)
    before = {pid for (pid,) in await admin.fetch(_CONNECTED)}
    claiming = asyncio.gather(journal.claim("n"), journal.beat(NodeCard(id="n"), ttl=60))
    await asyncio.sleep(0.001)
    time.sleep(4.5)
    ((claim,), _) = await claiming
    await asyncio.sleep(0.3)
    assert before <= {pid for (pid,) in await admin.fetch(_CONNECTED)}
    assert await journal.append(Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("a"))) == 2
    await admin.close()
    await other.close()


async def test_closing_does_not_wait_for_a_database_that_is_gone(url: str) -> None:
    async with TcpProxy.to(url) as proxy:
        journal = await PostgresJournal.open(proxy.through(url))
        await journal.beat(NodeCard(id="n"), ttl=1)
        proxy.hold()
        await _within(BOUND, journal.close())


async def test_refused_connections_are_told_soon_and_heal(url: str) -> None:
    async with TcpProxy.to(url) as proxy:
        journal = await PostgresJournal.open(proxy.through(url))
        await new(journal, "s")
        proxy.refuse()
        proxy.cut()
        await asyncio.sleep(0.1)  # of what is under way when a connection breaks nobody knows the end
        result, took = await _within(3.0, journal.accept("s", said()))
        assert isinstance(result, StoreUnreachable)
        assert took > 1.0
        proxy.heal()
        await journal.accept("s", said())
        await eventually(lambda: _beats(journal))
        await journal.close()


async def test_a_claim_without_answer_leaves_no_session_behind(url: str) -> None:
    """The claim arrives at the database after its caller has given up."""
    async with TcpProxy.to(url) as proxy:
        journal = await PostgresJournal.open(proxy.through(url))
        await new(journal, "s")
        await journal.accept("s", said())
        await journal.beat(NodeCard(id="n"), ttl=3600)
        proxy.hold()
        result, _ = await _within(BOUND, journal.claim("n"))
        assert isinstance(result, StoreUnreachable)
        proxy.heal()
        await eventually(lambda: _answers(journal))
        await journal.beat(NodeCard(id="n"), ttl=3600)
        (claim,) = await eventually(lambda: journal.claim("n"))
        assert await journal.append(Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("a"))) == 2
        await journal.close()


async def test_a_cancelled_claim_leaves_no_session_behind(journal: PostgresJournal) -> None:
    await journal.beat(NodeCard(id="n"), ttl=3600)
    for number in range(20):
        await new(journal, f"s{number}")
        await journal.accept(f"s{number}", said())
        claiming = asyncio.create_task(journal.claim("n"))
        await asyncio.sleep(0.0005 * number)
        if claiming.cancel():
            await asyncio.gather(claiming, return_exceptions=True)
            claims = [] if claiming.cancelled() else await claiming
            claims += await eventually(lambda: journal.claim("n"))
        else:
            claims = await claiming
        assert [claim.info.id for claim in claims] == [f"s{number}"]


async def test_zombie_is_fenced_after_a_partition(url: str, journal: PostgresJournal) -> None:
    """Its connections live and nothing gets through; the lease runs out; the other one takes over."""
    async with TcpProxy.to(url) as proxy:
        zombie = await PostgresJournal.open(proxy.through(url))
        await new(journal, "s")
        await journal.accept("s", said())
        await zombie.beat(NodeCard(id="zombie"), ttl=1.0)
        (old,) = await zombie.claim("zombie")
        await journal.beat(NodeCard(id="heir"), ttl=60)
        assert await journal.claim("heir") == []
        proxy.hold()
        late = asyncio.create_task(
            zombie.append(Append(session="s", epoch=old.epoch, expected=1, bodies=bodies("late")))
        )
        began = time.monotonic()
        (fresh,) = await eventually(lambda: journal.claim("heir"))
        assert 0.5 < time.monotonic() - began < 2.5
        await journal.append(Append(session="s", epoch=fresh.epoch, expected=1, bodies=bodies("good")))
        proxy.heal()
        with pytest.raises(Fenced):
            await late
        with pytest.raises(Fenced):
            await zombie.append(Append(session="s", epoch=old.epoch, expected=1, bodies=bodies("late")))
        assert names(await journal.read("s")) == ["good"]
        await zombie.close()


_CONNECTED = """
SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'roost-%' AND datname = current_database() ORDER BY pid"""
_OWNER = """
import asyncio, sys
from roost.log.dispatch import NodeCard
from roost.log.postgres import PostgresJournal
async def main():
    journal = await PostgresJournal.open(sys.argv[1])
    await journal.beat(NodeCard(id=sys.argv[2]), ttl=float(sys.argv[3]))
    assert await journal.claim(sys.argv[2])
    print('owned', flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_killed_owner_is_buried_at_once(url: str, journal: PostgresJournal) -> None:
    """Nobody asks for anything: the neighbour's look-out finds it, whatever is left of its lease of an hour."""
    looked = asyncio.Event()
    journal.watch(lambda change: looked.set() if change.session == "" else None)
    await journal.beat(NodeCard(id="heir"), ttl=3600)
    times: list[float] = []
    for number in range(3):
        await new(journal, f"s{number}")
        await journal.accept(f"s{number}", said())
        owner = await _owner(url, f"owner-{number}")
        assert (await journal.get(f"s{number}")).owner == f"owner-{number}"
        looked.clear()
        owner.kill()
        began = time.monotonic()
        async with asyncio.timeout(10):
            await looked.wait()
        assert (await journal.get(f"s{number}")).owner is None
        times.append(time.monotonic() - began)
        await owner.wait()
    assert min(times) < 0.3, times
    assert [node.card.id for node in await journal.nodes()] == ["heir"]


async def test_a_node_whose_connection_is_cut_keeps_its_sessions(url: str, journal: PostgresJournal) -> None:
    """It is back before the others, whose look-outs see its lock free, take that for its death."""
    admin = await asyncpg.connect(url)
    name = await admin.fetchval(
        "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'roost-live-%'"
        " AND datname = current_database()"
    )
    other = await PostgresJournal.open(url)
    await other.beat(NodeCard(id="other"), ttl=3600)
    kept = 0
    for number in range(5):
        await new(journal, f"s{number}")
        old = await own(journal, f"s{number}", "n")
        await asyncio.sleep(1.1)
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", name)
        await asyncio.sleep(0.3)
        await eventually(lambda: _beats(journal, "n"))
        append = Append(session=f"s{number}", epoch=old.epoch, expected=1, bodies=bodies("a"))
        with contextlib.suppress(Fenced):  # on a machine that stands still for longer than it has
            kept += await journal.append(append) == 2
        assert await _alive(other, "n")
    assert kept >= 4
    await admin.close()
    await other.close()


@pytest.mark.parametrize("how", ["restart", "crash"])
async def test_a_restarted_server_costs_nobody_its_sessions(url: str, how: str) -> None:
    """All locks are free when it is back, and nobody takes that for death; nor when one of them stays away for long."""
    async with TcpProxy.to(url) as proxy:
        journals = [await PostgresJournal.open(url if number else proxy.through(url)) for number in range(4)]
        epochs: list[int] = []
        for number, journal in enumerate(journals):
            await new(journal, f"s{number}")
            await journal.accept(f"s{number}", said())
            await journal.beat(NodeCard(id=f"n{number}"), ttl=60)
            (claim,) = await journal.claim(f"n{number}")
            epochs.append(claim.epoch)
        assert await journals[0].hold("duty", "n0")
        proxy.refuse()
        await (asyncio.to_thread(_server.restart, "immediate") if how == "restart" else _crash(url))
        for number, journal in enumerate(journals[1:], 1):
            await eventually(lambda journal=journal: _answers(journal))
            assert await journal.claim(f"n{number}", session="s0") == []
            assert await journal.hold("duty", f"n{number}") is None
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert [await journal.claim(f"n{number}") for number, journal in enumerate(journals[1:], 1)] == [[]] * 3
            await asyncio.sleep(0.1)
        proxy.heal()
        await eventually(lambda: _answers(journals[0]))
        for number, journal in enumerate(journals):
            append = Append(session=f"s{number}", epoch=epochs[number], expected=1, bodies=bodies("a"))
            assert await journal.append(append) == 2
            await journal.beat(NodeCard(id=f"n{number}"), ttl=60)
        await journals[0].close()
        (taken,) = await eventually(lambda: journals[1].claim("n1", session="s0"))
        assert taken.epoch == epochs[0] + 1
        for journal in journals[1:]:
            await journal.close()


async def test_who_dies_while_the_server_is_down_lives_to_the_end_of_its_lease(
    url: str, journal: PostgresJournal
) -> None:
    await journal.beat(NodeCard(id="heir"), ttl=3600)
    await new(journal, "s")
    await journal.accept("s", said())
    began = time.monotonic()
    owner = await _owner(url, "owner", ttl=5)
    await asyncio.to_thread(_server.stop)
    owner.kill()
    await owner.wait()
    await asyncio.to_thread(_server.start)
    await eventually(lambda: _answers(journal))
    assert await journal.claim("heir") == []
    (claim,) = await eventually(lambda: journal.claim("heir"))
    assert claim.info.id == "s"
    assert 5 <= time.monotonic() - began < 9


async def _owner(url: str, node: str, ttl: float = 3600) -> asyncio.subprocess.Process:
    """A process with a node that has taken whatever work there is."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OWNER, url, node, str(ttl), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    assert await owner.stdout.readline() == b"owned\n"
    return owner


async def _crash(url: str) -> None:
    """One of the server's processes is killed: it ends all others and begins anew, without a restart."""
    victim = await asyncpg.connect(url)
    os.kill(victim.get_server_pid(), signal.SIGKILL)
    await asyncio.sleep(0.1)
    victim.terminate()


async def test_any_host_of_the_address_will_do(url: str) -> None:
    journal = await PostgresJournal.open(url.replace("127.0.0.1", "127.0.0.1:1,127.0.0.1"))
    await new(journal, "s")
    await journal.close()


async def test_lost_notifications_are_made_up_for(url: str, journal: PostgresJournal) -> None:
    """The writer dies between commit and notification: who watches the session looks for itself."""
    await new(journal, "s")
    changes: list[Change] = []
    journal.watch(changes.append, session="s")
    other = await PostgresJournal.open(url)
    await asyncio.sleep(0.2)
    admin = await asyncpg.connect(url, server_settings={"search_path": "roost"})
    await asyncio.sleep(1.5)
    changes.clear()
    await admin.execute("UPDATE sessions SET head = head + 1 WHERE id = 's'")
    await eventually(lambda: asyncio.sleep(0, changes))
    assert changes[0] == Change("s", None, ())
    await admin.close()
    await other.close()


async def test_deadlock_storm(url: str, journal: PostgresJournal) -> None:
    """Two journals with the same sessions in opposite orders, and an operator who locks them in yet another."""
    other = await PostgresJournal.open(url)
    sessions = [f"s{number}" for number in range(12)]
    for session in sessions:
        await new(journal, session)
    await journal.beat(NodeCard(id="a"), ttl=3600)
    await other.beat(NodeCard(id="b"), ttl=3600)
    written = dict.fromkeys(sessions, 0)
    until = time.monotonic() + 2.5

    async def one(store: PostgresJournal, node: str, session: str) -> None:
        while time.monotonic() < until:
            for claim in await store.claim(node, session=session):
                item = await store.accept(session, said())
                write = Append(session=session, epoch=claim.epoch, expected=claim.info.head, bodies=bodies("x"))
                write.consume, write.release = [item.id], True
                with contextlib.suppress(Fenced, SequenceConflict):
                    await store.append(write)
                    written[session] += 1
            await asyncio.sleep(0)

    async def leaver() -> None:
        while time.monotonic() < until:
            await other.leave("b")
            await other.beat(NodeCard(id="b"), ttl=3600)
            await asyncio.sleep(0.1)

    await asyncio.gather(
        _locker(url, sessions, until),
        leaver(),
        *(one(journal, "a", session) for session in sessions),
        *(one(other, "b", session) for session in reversed(sessions)),
    )
    assert sum(written.values()) > 50
    for session in sessions:
        assert names(await journal.read(session)) == ["x"] * written[session]
    await other.close()


async def test_a_bad_append_does_not_harm_its_group(journal: PostgresJournal) -> None:
    """One that the database refuses outright, and one whose partition is gone."""
    for session in ("good", "bad"):
        await new(journal, session)
    good, bad = await own(journal, "good"), await own(journal, "bad")
    too_far = Append(session="bad", epoch=bad.epoch, expected=1, bodies=bodies("x"), consume=[2**70])
    results = await asyncio.gather(
        journal.append(Append(session="good", epoch=good.epoch, expected=1, bodies=bodies("a"))),
        journal.append(too_far),
        return_exceptions=True,
    )
    assert results[0] == 2
    assert isinstance(results[1], RoostError)
    assert (await journal.get("bad")).head == 1


async def test_a_read_only_server_is_named(journal: PostgresJournal, url: str) -> None:
    await new(journal, "s")
    admin = await asyncpg.connect(url)
    await admin.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND datname = current_database()"
    )
    await asyncio.sleep(0.1)
    with pytest.raises(StoreFailed) as refused:
        await journal.accept("s", said())
    assert refused.value.code == "read_only"
    assert (await journal.get("s")).id == "s"
    await admin.execute(f"ALTER DATABASE {url.rpartition('/')[2]} RESET default_transaction_read_only")
    await eventually(lambda: _accepts(journal))
    await admin.close()


async def test_text_that_the_database_cannot_hold_is_the_callers_error(journal: PostgresJournal) -> None:
    for session in ("a\x00b", "a\ud800b"):
        with pytest.raises(RoostError) as refused:
            await new(journal, session)
        assert refused.value.code == "invalid"
    await new(journal, "fine")
    with pytest.raises(NotFound):
        await journal.get("other")
    assert [one.id for one in await journal.find(SessionQuery())] == ["fine"]


@pytest.mark.skipif(bool(no_volume()), reason=str(no_volume()))
async def test_full_disk_refuses_and_recovers() -> None:
    with PostgresServer(fsync=False, disk=160, settings={"wal_recycle": "off", "max_wal_size": "48MB"}) as server:
        journal = await PostgresJournal.open(await server.database())
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
                    head = await journal.append(Append(session="full", epoch=claim.epoch, expected=head, bodies=big))
                except RoostError as error:
                    refused = error
        assert refused.code in ("disk_full", "store_unreachable")
        server.free_disk()
        if not server.running:
            await asyncio.to_thread(server.start)
        await eventually(lambda: _answers(journal))
        await load.check()
        assert (await journal.get("full")).head in (head, head + 1)
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


async def _answers(journal: PostgresJournal) -> bool:
    try:
        await journal.backlog()
    except StoreUnreachable:
        return False
    return True


async def _beats(journal: PostgresJournal, node: str = "n") -> bool:
    try:
        await journal.beat(NodeCard(id=node), ttl=60)
    except StoreUnreachable:
        return False
    return True


async def _accepts(journal: PostgresJournal) -> bool:
    try:
        await journal.accept("s", said())
    except StoreFailed:
        return False
    return True


async def _alive(journal: PostgresJournal, node: str) -> bool:
    return any(one.alive and one.card.id == node for one in await journal.nodes())


async def _true(value: bool) -> bool:
    return value
