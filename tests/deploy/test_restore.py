"""Restore a backup to a point in time as docs/operate/backups.md has it: base backup, archived WAL, a moment, and all
is as it was then."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.harness.postgres.server import PostgresServer

from roost.agent.definition import Agent
from roost.errors import NotFound
from roost.kernel.check import check
from roost.log.protocols import Record
from roost.models.request import Request
from roost.runtime import Runtime
from roost.stores.open import open_store
from roost.testing.scripted import Answer, ScriptedModel

_FAST = ("--checkpoint=fast", "--no-sync")
_ARCHIVE = "mkdir -p ../archive && test ! -f ../archive/%f && cp %p ../archive/.%f && mv ../archive/.%f ../archive/%f"


@pytest.fixture
def source() -> Iterator[PostgresServer]:
    settings = {"wal_level": "replica", "archive_mode": "on", "archive_command": _ARCHIVE}
    with PostgresServer(fsync=False, settings=settings) as server:
        yield server


def clerk(delay: float = 0.0) -> Agent:
    def answer(request: Request) -> Answer:
        said = str(request.messages[-1])
        return Answer(text="answered", delay=delay if "slowly" in said else 0.0)

    return Agent("clerk", model=ScriptedModel(answer))


async def ask(url: str, query: str, *arguments: object) -> object:
    connection = await asyncpg.connect(url, timeout=60)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def logs(url: str) -> dict[str, list[Record]]:
    store = await open_store(url)
    try:
        return {session: await store.logs.read(session) async for session in store.portable.sessions()}
    finally:
        await store.close()


async def archived(url: str) -> None:
    """All that is committed now is in the archive."""
    last = await ask(url, "SELECT pg_walfile_name(pg_switch_wal())")
    async with asyncio.timeout(60):
        while str(await ask(url, "SELECT last_archived_wal FROM pg_stat_archiver") or "") < str(last):
            await asyncio.sleep(0.05)


def restore(server: PostgresServer, backup: Path, archive: Path, moment: str) -> None:
    """Make the server that was killed anew from the backup and the archive, up to that moment."""
    shutil.rmtree(server.data)
    backup.rename(server.data)
    with (server.data / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"restore_command = 'cp {archive}/%f %p'\n")
        settings.write(f"recovery_target_time = '{moment}'\nrecovery_target_action = 'promote'\n")
    (server.data / "recovery.signal").touch()
    server.start()


async def test_everything_is_as_it_was_at_a_moment(source: PostgresServer, tmp_path: Path) -> None:
    url = await source.database()
    runtime = Runtime(tmp_path / "one", agents=[clerk(delay=60)], store=url)
    await runtime.start()
    try:
        kept, deleted = await runtime.session("clerk"), await runtime.session("clerk")
        await kept.ask("before the backup")
        await deleted.ask("hello")
        await asyncio.to_thread(source.run, "pg_basebackup", "-D", str(source.folder / "base"), *_FAST)
        await kept.ask("after the backup")
        waiting = await runtime.session("clerk")
        await runtime.sessions.send(waiting.id, "answer slowly")
        async with asyncio.timeout(60):
            while (await runtime.sessions.get(waiting.id)).head < 4:
                await asyncio.sleep(0.02)
        moment = str(await ask(url, "SELECT clock_timestamp()::text"))
        expected = await logs(url)
        await kept.ask("too late")
        late = await runtime.session("clerk")
        await late.ask("much too late")
        await runtime.sessions.delete(deleted.id)
    finally:
        await runtime.stop(grace=0.1)
    await archived(url)
    await asyncio.to_thread(source.kill)
    await asyncio.to_thread(restore, source, source.folder / "base", source.folder / "archive", moment)
    async with asyncio.timeout(60):
        while await ask(url, "SELECT pg_is_in_recovery()"):
            await asyncio.sleep(0.05)

    assert await logs(url) == expected
    found = await check(url)
    assert (found.sessions, found.faults) == (3, [])
    async with Runtime(tmp_path / "two", agents=[clerk()], store=url) as runtime:
        assert await runtime.open(kept.id).ask("and again") == "answered"
        async with asyncio.timeout(60):
            while (await runtime.sessions.get(waiting.id)).phase != "idle":
                await asyncio.sleep(0.05)
        with pytest.raises(NotFound):
            await runtime.sessions.get(late.id)
        assert (await runtime.sessions.get(deleted.id)).head == len(expected[deleted.id])
    assert (await check(url)).faults == []
