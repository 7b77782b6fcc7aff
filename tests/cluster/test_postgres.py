"""The throw-away server: every way in which it is broken is real, and nothing of it stays."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from roost.errors import ConfigError
from tests.harness.postgres.binaries import find_binaries
from tests.harness.postgres.server import PostgresServer
from tests.harness.postgres.volume import no_volume
from tests.harness.postgres.watchdog import family


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as one:
        yield one


async def ask(url: str, query: str) -> object:
    connection = await asyncpg.connect(url, timeout=60)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_it_syncs_unless_told_otherwise_and_has_two_doors(server: PostgresServer) -> None:
    assert await ask(server.url(), "SHOW fsync") == "on"
    assert await ask(server.socket_url(), "SHOW synchronous_commit") == "on"
    assert str(server.run("psql", "-Atc", "SELECT 1")) == "1\n"


async def test_databases_are_fresh_and_copies_of_what_was_prepared(server: PostgresServer) -> None:
    prepared: list[str] = []

    async def prepare(url: str) -> None:
        prepared.append(url)
        await ask(url, "CREATE TABLE one (n int)")

    first, second = await server.database(prepare), await server.database(prepare)
    await ask(first, "INSERT INTO one VALUES (1)")
    assert await ask(second, "SELECT count(*) FROM one") == 0
    assert len(prepared) == 1
    with pytest.raises(asyncpg.UndefinedTableError):
        await ask(await server.database(), "SELECT count(*) FROM one")


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
async def test_what_was_committed_outlives_its_end(server: PostgresServer, how: str) -> None:
    url = await server.database()
    await ask(url, "CREATE TABLE one (n int)")
    await ask(url, "INSERT INTO one VALUES (1)")
    connection = await asyncpg.connect(url)
    if how == "kill":
        server.kill()
    else:
        server.stop("fast" if how == "fast" else "immediate")
    assert not server.running
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await connection.fetchval("SELECT 1")
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await ask(url, "SELECT 1")
    server.start()
    assert await ask(url, "SELECT count(*) FROM one") == 1


async def test_suspended_it_says_nothing_and_then_goes_on(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.url())
    server.suspend()
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncpg.connect(server.url()), 0.3)
        answer = asyncio.create_task(connection.fetchval("SELECT 1"))
        await asyncio.sleep(0.2)
        assert not answer.done()
    finally:
        server.resume()
    assert await answer == 1
    await connection.close()


@pytest.mark.skipif(no_volume() is not None, reason=str(no_volume()))
async def test_a_full_disk_refuses_writes_until_there_is_room() -> None:
    with PostgresServer(disk=256, settings={"max_wal_size": "64MB"}) as server:
        await ask(server.url(), "CREATE TABLE one (n text)")
        server.fill_disk()
        with pytest.raises((asyncpg.PostgresError, OSError, asyncpg.InterfaceError)):
            await ask(server.url(), "INSERT INTO one SELECT repeat('x', 1000) FROM generate_series(1, 50000)")
        server.free_disk()
        server.start()
        await ask(server.url(), "INSERT INTO one VALUES ('x')")
        assert await ask(server.url(), "SELECT count(*) FROM one") == 1
    assert not os.path.ismount(server.folder / "disk")


async def test_while_it_recovers_a_start_waits_until_it_answers(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.url())
    os.kill(await connection.fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)
    with pytest.raises((asyncpg.PostgresError, OSError, asyncpg.InterfaceError)):
        await connection.fetchval("SELECT 1")
    while server.running:  # it ends all other processes, and recovers
        try:
            await ask(server.url(), "SELECT 1")
        except (asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
            break
    assert server.running
    await asyncio.to_thread(server.start)
    assert await ask(server.url(), "SELECT 1") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as somebody else")
async def test_root_runs_programs_that_only_root_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    original = find_binaries().bin
    place = tmp_path / "site" / original.parent.parent.name
    subprocess.run(["mkdir", "-p", place], check=True)
    subprocess.run(["cp", "-al", original.parent, place / original.parent.name], check=True)
    libraries = original.parent.parent.with_name(original.parent.parent.name + ".libs")
    if libraries.exists():
        subprocess.run(["cp", "-al", libraries, place.with_name(libraries.name)], check=True)
    monkeypatch.setenv("ROOST_TEST_POSTGRES_BIN", str(place / original.parent.name / "bin"))
    with PostgresServer(fsync=False) as server:
        assert await ask(server.url(), "SELECT 1") == 1
    cache = find_binaries().bin.parents[2]
    assert cache.parent == Path("/var/tmp")
    shutil.rmtree(cache)


async def test_on_a_server_that_is_not_ours_nothing_is_left(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOST_TEST_POSTGRES", server.url() + "?application_name=theirs")
    borrowed = PostgresServer.shared()
    borrowed.start()
    made = await borrowed.database()
    assert await ask(made, "SHOW application_name") == "theirs"
    with pytest.raises(ConfigError, match="ROOST_TEST_POSTGRES"):
        borrowed.run("psql")
    await asyncio.to_thread(borrowed.close)
    assert server.running
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await ask(made, "SELECT 1")


def test_programs_that_are_not_there_are_named_with_the_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROOST_TEST_POSTGRES_BIN", str(tmp_path))
    with pytest.raises(ConfigError, match="pip install"):
        find_binaries()


def test_a_setting_that_is_wrong_shows_the_servers_own_words() -> None:
    server = PostgresServer(settings={"max_connections": "none"})
    try:
        with pytest.raises(ConfigError, match="max_connections"):
            server.start()
    finally:
        server.close()
    assert not server.folder.exists()


_OWNER = """
import sys, time
from tests.harness.postgres.server import PostgresServer
from tests.harness.postgres.volume import no_volume
server = PostgresServer(fsync=False, disk=None if no_volume() else 200)
server.start()
if "suspend" in sys.argv:
    server.suspend()
print(server.folder, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("state", ["running", "suspend"])
def test_nothing_stays_when_its_owner_is_killed(state: str) -> None:
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, state], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    folder = owner.stdout.readline().strip()
    assert len(family(folder)) > 3
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    deadline = time.monotonic() + 20
    while (family(folder) or Path(folder).exists()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not family(folder)
    assert not Path(folder).exists()
