"""Backup and point-in-time restore as docs/operate.md has it: base backup, archived WAL, a moment, and all is as it was
then."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from roost.agent.definition import Agent
from roost.errors import NotFound
from roost.kernel.check import check
from roost.kernel.runtime import Runtime
from roost.llm.ir import Request
from roost.log.journal import Record
from roost.log.store import open_store
from roost.testing.postgres import PostgresServer
from roost.testing.scripted import Answer, ScriptedModel

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
    connection = await asyncpg.connect(url, timeout=20)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def logs(url: str) -> dict[str, list[Record]]:
    store = await open_store(url)
    try:
        return {session: await store.read(session) async for session in store.sessions()}
    finally:
        await store.close()


async def archived(url: str) -> None:
    """All that is committed now is in the archive."""
    last = await ask(url, "SELECT pg_walfile_name(pg_switch_wal())")
    async with asyncio.timeout(30):
        while str(await ask(url, "SELECT last_archived_wal FROM pg_stat_archiver") or "") < str(last):
            await asyncio.sleep(0.05)


def restored(backup: Path, archive: Path, moment: str) -> PostgresServer:
    """A new server, made from the backup and the archive, up to that moment."""
    settings = {
        "restore_command": f"cp {archive}/%f %p",
        "recovery_target_time": moment,
        "recovery_target_action": "promote",
    }
    server = PostgresServer(fsync=False, settings=settings)
    server.start()
    server.stop()
    owner = server.data.stat()
    shutil.rmtree(server.data)
    shutil.copytree(backup, server.data)
    (server.data / "recovery.signal").touch()
    for place in (server.data, *server.data.rglob("*")):
        os.chown(place, owner.st_uid, owner.st_gid)
    server.data.chmod(0o700)
    server.start()
    return server


async def test_everything_is_as_it_was_at_a_moment(source: PostgresServer, tmp_path: Path) -> None:
    url = await source.database()
    runtime = Runtime(tmp_path / "one", agents=[clerk(delay=60)], store=url)
    await runtime.start()
    try:
        kept, deleted = await runtime.session("clerk"), await runtime.session("clerk")
        await kept.ask("before the backup")
        await deleted.ask("hello")
        await asyncio.to_thread(source.run, "pg_basebackup", "-D", str(source.folder / "base"), "-c", "fast")
        await kept.ask("after the backup")
        waiting = await runtime.session("clerk")
        await runtime.sessions.send(waiting.id, "answer slowly")
        async with asyncio.timeout(20):
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

    server = await asyncio.to_thread(restored, source.folder / "base", source.folder / "archive", moment)
    try:
        there = server.url(url.rpartition("/")[2])
        assert await logs(there) == expected
        found = await check(there)
        assert (found.sessions, found.faults) == (3, [])
        async with Runtime(tmp_path / "two", agents=[clerk()], store=there) as runtime:
            assert await runtime.open(kept.id).ask("and again") == "answered"
            async with asyncio.timeout(30):
                while (await runtime.sessions.get(waiting.id)).phase != "idle":
                    await asyncio.sleep(0.05)
            with pytest.raises(NotFound):
                await runtime.sessions.get(late.id)
            assert (await runtime.sessions.get(deleted.id)).head == len(expected[deleted.id])
        assert (await check(there)).faults == []
    finally:
        await asyncio.to_thread(server.close)
