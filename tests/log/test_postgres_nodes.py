"""Who counts as dead, and who lives: whatever happens to the server, the connections and the processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Iterator

import asyncpg
import pytest

from roost.errors import Fenced, StoreUnreachable
from roost.log.dispatch import NodeCard
from roost.log.protocols import Append, Change, NewSession
from roost.log.store import Store
from roost.stores.postgres.store import open_postgres
from roost.testing.stores import bodies, created, eventually, names, new, own, said
from tests.harness.postgres.server import PostgresServer
from tests.harness.proxy import TcpProxy

from .asking import answers, beats

_server = PostgresServer(fsync=False)


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[PostgresServer]:
    with _server:
        yield _server


_CONNECTED = """
SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'roost-%' AND datname = current_database() ORDER BY pid"""
_OWNER = """
import asyncio, sys
from roost.log.dispatch import NodeCard
from roost.stores.postgres.store import open_postgres
from roost.log.store import Store
async def main():
    journal = await open_postgres(sys.argv[1])
    await journal.dispatch.beat(NodeCard(id=sys.argv[2]), ttl=float(sys.argv[3]))
    assert await journal.dispatch.claim(sys.argv[2])
    print('owned', flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_node_lives_however_busy_its_connections_are(url: str, journal: Store) -> None:
    """What it says of itself, and asks about the others for that, waits behind nobody."""
    await new(journal, "s")
    await journal.dispatch.beat(NodeCard(id="n"), ttl=60)
    admin = await asyncpg.connect(url, server_settings={"search_path": "roost"})
    async with admin.transaction():
        await admin.execute("SELECT FROM sessions FOR UPDATE")
        waiting = asyncio.gather(*(journal.inboxes.accept("s", said()) for _ in range(300)))
        await asyncio.sleep(0.2)
        for _ in range(5):
            async with asyncio.timeout(30):
                await journal.dispatch.beat(NodeCard(id="n"), ttl=60)
                (node,) = await journal.dispatch.nodes()
            assert node.alive
    assert sorted(one.id for one in await waiting) == list(range(1, 301))
    await admin.close()


async def test_a_process_that_stands_still_is_not_a_database_that_does(url: str, journal: Store) -> None:
    """When it goes on, the answers are there, and its connections are kept: the one above all that its life is."""
    other = await open_postgres(url)
    await other.dispatch.beat(NodeCard(id="other"), ttl=60)
    await new(journal, "s")
    await journal.inboxes.accept("s", said())
    await journal.dispatch.beat(NodeCard(id="n"), ttl=60)
    admin = await asyncpg.connect(url)
    before = {pid for (pid,) in await admin.fetch(_CONNECTED)}
    claiming = asyncio.gather(journal.dispatch.claim("n"), journal.dispatch.beat(NodeCard(id="n"), ttl=60))
    await asyncio.sleep(0.001)
    time.sleep(4.5)
    ((claim,), _) = await claiming
    await asyncio.sleep(0.3)
    assert before <= {pid for (pid,) in await admin.fetch(_CONNECTED)}
    assert await journal.logs.append(Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("a"))) == 2
    await admin.close()
    await other.close()


async def test_zombie_is_fenced_after_a_partition(url: str, journal: Store) -> None:
    """Its connections live and nothing gets through; the lease runs out; the other one takes over."""
    async with TcpProxy.to(url) as proxy:
        zombie = await open_postgres(proxy.through(url))
        await new(journal, "s")
        await journal.inboxes.accept("s", said())
        await zombie.dispatch.beat(NodeCard(id="zombie"), ttl=2.0)
        (old,) = await zombie.dispatch.claim("zombie")
        await journal.dispatch.beat(NodeCard(id="heir"), ttl=60)
        assert await journal.dispatch.claim("heir") == []
        proxy.hold()
        late = asyncio.create_task(
            zombie.logs.append(Append(session="s", epoch=old.epoch, expected=1, bodies=bodies("late")))
        )
        (fresh,) = await eventually(lambda: journal.dispatch.claim("heir"))
        await journal.logs.append(Append(session="s", epoch=fresh.epoch, expected=1, bodies=bodies("good")))
        proxy.heal()
        with pytest.raises((Fenced, StoreUnreachable)):  # the second when the partition outlasts its patience
            await late
        with pytest.raises(Fenced):
            await zombie.logs.append(Append(session="s", epoch=old.epoch, expected=1, bodies=bodies("late")))
        assert names(await journal.logs.read("s")) == ["good"]
        await zombie.close()


async def test_a_killed_owner_is_buried_at_once(url: str, journal: Store) -> None:
    """Nobody asks for anything: the neighbour's look-out finds it, whatever is left of its lease of an hour."""
    looked = asyncio.Event()
    journal.changes.watch(lambda change: looked.set() if change.session == "" else None)
    await journal.dispatch.beat(NodeCard(id="heir"), ttl=3600)
    times: list[float] = []
    for number in range(3):
        await new(journal, f"s{number}")
        await journal.inboxes.accept(f"s{number}", said())
        owner = await _owner(url, f"owner-{number}")
        assert (await journal.sessions.get(f"s{number}")).owner == f"owner-{number}"
        looked.clear()
        owner.kill()
        began = time.monotonic()
        async with asyncio.timeout(30):
            await looked.wait()
        assert (await journal.sessions.get(f"s{number}")).owner is None
        times.append(time.monotonic() - began)
        await owner.wait()
    assert min(times) < 0.9, times
    assert [node.card.id for node in await journal.dispatch.nodes()] == ["heir"]


async def test_a_node_whose_connection_is_cut_keeps_its_sessions(url: str, journal: Store) -> None:
    """It is back before the others, whose look-outs see its lock free, take that for its death."""
    admin = await asyncpg.connect(url)
    name = await admin.fetchval(
        "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'roost-live-%'"
        " AND datname = current_database()"
    )
    other = await open_postgres(url)
    await other.dispatch.beat(NodeCard(id="other"), ttl=3600)
    kept = slow = 0
    for number in range(5):
        await new(journal, f"s{number}")
        old = await own(journal, f"s{number}", "n")
        await asyncio.sleep(1.1)
        await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1", name)
        took = await _to_connect(url)
        await asyncio.sleep(0.3)
        await eventually(lambda: beats(journal, "n"))
        append = Append(session=f"s{number}", epoch=old.epoch, expected=1, bodies=bodies("a"))
        try:
            kept += await journal.logs.append(append) == 2
        except Fenced:
            slow += took > 0.05  # the machine was busy: a node has 0.1 s, and does more than connect
        assert await _alive(other, "n")
    assert kept + slow >= 4
    await admin.close()
    await other.close()


async def _to_connect(url: str) -> float:
    """Return the seconds that a connection takes now: some 10 ms where there is nothing else to do."""
    began = time.monotonic()
    link = await asyncpg.connect(url)
    took = time.monotonic() - began
    await link.close()
    return took


@pytest.mark.parametrize("how", ["restart", "crash"])
async def test_a_restarted_server_costs_nobody_its_sessions(url: str, how: str) -> None:
    """All locks are free when it is back, and nobody takes that for death; nor when one of them stays away for long."""
    async with TcpProxy.to(url) as proxy:
        journals = [await open_postgres(url if number else proxy.through(url)) for number in range(4)]
        epochs: list[int] = []
        for number, journal in enumerate(journals):
            await new(journal, f"s{number}")
            await journal.inboxes.accept(f"s{number}", said())
            await journal.dispatch.beat(NodeCard(id=f"n{number}"), ttl=60)
            (claim,) = await journal.dispatch.claim(f"n{number}")
            epochs.append(claim.epoch)
        assert await journals[0].coordination.hold("duty", "n0")
        proxy.refuse()
        await (asyncio.to_thread(_server.restart, "immediate") if how == "restart" else _crash(url))
        for number, journal in enumerate(journals[1:], 1):
            await eventually(lambda journal=journal: answers(journal))
            assert await journal.dispatch.claim(f"n{number}", session="s0") == []
            assert await journal.coordination.hold("duty", f"n{number}") is None
        until = time.monotonic() + 3
        while time.monotonic() < until:
            assert [await journal.dispatch.claim(f"n{number}") for number, journal in enumerate(journals[1:], 1)] == [
                []
            ] * 3
            await asyncio.sleep(0.1)
        proxy.heal()
        await eventually(lambda: answers(journals[0]))
        for number, journal in enumerate(journals):
            append = Append(session=f"s{number}", epoch=epochs[number], expected=1, bodies=bodies("a"))
            assert await journal.logs.append(append) == 2
            await journal.dispatch.beat(NodeCard(id=f"n{number}"), ttl=60)
        await journals[0].close()
        (taken,) = await eventually(lambda: journals[1].dispatch.claim("n1", session="s0"))
        assert taken.epoch == epochs[0] + 1
        for journal in journals[1:]:
            await journal.close()


async def test_a_promoted_standby_costs_nobody_his_sessions(url: str) -> None:
    """It knows of no lock that the former primary held."""
    async with _standby() as port:
        hosts = (
            url.replace(f":{_server.port}/", f":{_server.port},127.0.0.1:{port}/") + "?target_session_attrs=read-write"
        )
        journals = [await open_postgres(hosts) for _ in range(3)]
        epochs: list[int] = []
        for number, journal in enumerate(journals):
            await new(journal, f"s{number}")
            await journal.dispatch.beat(NodeCard(id=f"n{number}"), ttl=60)
            (claim,) = await journal.dispatch.claim(f"n{number}", session=f"s{number}")
            epochs.append(claim.epoch)
        await asyncio.sleep(0.5)
        await asyncio.to_thread(_server.stop, "immediate")
        await asyncio.to_thread(_server.run, "pg_ctl", "-D", str(_server.folder / "standby"), "promote")
        await asyncio.sleep(2.5)
        for number, journal in enumerate(journals):
            await eventually(lambda journal=journal: answers(journal))
            assert await journal.dispatch.claim(f"n{number}") == []
            append = Append(session=f"s{number}", epoch=epochs[number], expected=1, bodies=bodies("a"))
            assert await journal.logs.append(append) == 2
        for journal in journals:
            await journal.close()


@contextlib.asynccontextmanager
async def _standby() -> AsyncGenerator[int]:
    """A copy that follows the server, at this port."""
    data = str(_server.folder / "standby")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-p {port} -k {_server.folder} -c listen_addresses=127.0.0.1 -c max_connections=200"
    await asyncio.to_thread(_server.run, "pg_basebackup", "-D", data, "-R", "-X", "stream", "-c", "fast")
    await asyncio.to_thread(_server.run, "pg_ctl", "-D", data, "-o", options, "-l", f"{data}.log", "-w", "start")
    try:
        yield port
    finally:
        await asyncio.to_thread(_server.run, "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        if not _server.running:
            await asyncio.to_thread(_server.start)


async def test_who_dies_while_the_server_is_down_lives_to_the_end_of_its_lease(url: str, journal: Store) -> None:
    await journal.dispatch.beat(NodeCard(id="heir"), ttl=3600)
    await new(journal, "s")
    await journal.inboxes.accept("s", said())
    began = time.monotonic()
    owner = await _owner(url, "owner", ttl=3)
    await asyncio.to_thread(_server.stop)
    owner.kill()
    await owner.wait()
    await asyncio.to_thread(_server.start)
    await eventually(lambda: answers(journal))
    (claim,) = await eventually(lambda: journal.dispatch.claim("heir"))
    assert claim.info.id == "s"
    assert time.monotonic() - began >= 3


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


async def _alive(journal: Store, node: str) -> bool:
    return any(one.alive and one.card.id == node for one in await journal.dispatch.nodes())


@pytest.mark.parametrize("how", ["claim", "backlog"])
async def test_whoever_buries_a_node_tells_all(url: str, journal: Store, how: str) -> None:
    """Also one that can run none of what it left; the others would look for that a while later only."""
    unfit, fit = await open_postgres(url), await open_postgres(url)
    admin = await asyncpg.connect(url, server_settings={"search_path": "roost"})
    heard: list[Change] = []
    fit.changes.watch(heard.append)
    for number in range(5):
        await journal.dispatch.beat(NodeCard(id="dies", offers=("x",)), ttl=60)
        await journal.sessions.create(NewSession(id=f"s{number}", agent="a", version="1", needs=("x",)), [created()])
        await journal.inboxes.accept(f"s{number}", said())
        await journal.dispatch.claim("dies", session=f"s{number}")
        await unfit.dispatch.beat(NodeCard(id="unfit"), ttl=60)
        await asyncio.sleep(0.15)
        heard.clear()
        await admin.execute("UPDATE nodes SET alive_until = 1 WHERE id = 'dies'")
        await (unfit.dispatch.claim("unfit") if how == "claim" else unfit.dispatch.backlog())
        await eventually(lambda: asyncio.sleep(0, Change("", None, None) in heard))
    await admin.close()
    await fit.close()
    await unfit.close()
