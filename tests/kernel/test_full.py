"""A disk that is full, or nearly: what keeps files says so, leaves nothing of a half, and leaves room for the log."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.errors import StoreFailed
from roost.log import events as ev
from roost.log.protocols import SessionQuery
from roost.runtime import Runtime
from roost.testing.scripted import ScriptedModel
from tests.disks import disk_of

from .filing import look, obey
from .nodes import node
from .support import BRISK, asleep, events
from .test_travel import one_store
from .undoing import sh

MB = 1_000_000
FULL = "head -c {}000000 /dev/urandom > big"


@pytest.fixture
def small(store: None) -> Iterator[Path]:
    """100 MiB of their own."""
    with disk_of("size=100m") as folder:
        yield folder


@asynccontextmanager
async def clerk(folder: Path) -> AsyncGenerator[Runtime]:
    agent = Agent("clerk", model=ScriptedModel(obey), tools=[sh, look], permissions="all")
    async with node(folder, "one", agent, config=BRISK) as runtime:
        yield runtime


def kept(folder: Path) -> int:
    """Bytes of all snapshots."""
    return sum(one.stat().st_size for one in folder.glob("one/workspaces.memory/*/snapshots/**/*") if one.is_file())


async def test_a_fork_whose_files_cannot_be_kept(small: Path) -> None:
    async with clerk(small) as runtime:
        session, sessions = await runtime.session("clerk"), runtime.sessions
        checkpoints = runtime.checkpoints
        await session.ask(f"sh echo 1 > a\nsh {FULL.format(60)}")
        await asleep(runtime, session)
        before = {one.id for one in await sessions.find(SessionQuery())}
        for _ in range(2):
            with pytest.raises(StoreFailed, match="the disk is full") as full:
                await checkpoints.fork(session.id)
            assert (full.value.code, full.value.status) == ("disk_full", 507)
        assert {one.id for one in await sessions.find(SessionQuery())} == before
        made = await checkpoints.make(session.id, "bad")
        assert (made.files, "the disk is full" in (made.why_no_files or "")) == (False, True)
        old = await checkpoints.fork(session.id, "bad")  # that was asked for: the log says what became of it
        log = await events(runtime.open(old.id), runtime)
        (why,) = [one.why_no_files for one in log if isinstance(one, ev.SessionForked)]
        assert why is not None


async def test_what_is_kept_leaves_room_for_the_log(small: Path) -> None:
    """And nothing of what could not be kept."""
    reserve = small / "one/reserve"
    async with clerk(small) as runtime:
        session, sessions = await runtime.session("clerk"), runtime.sessions
        checkpoints = runtime.checkpoints
        await session.ask("sh echo 1 > a")
        await checkpoints.make(session.id, "small")
        before = kept(small)
        await session.ask(f"sh {FULL.format(60)}")
        assert reserve.stat().st_size
        assert (await checkpoints.make(session.id, "large")).files is False
        assert kept(small) == before
        assert shutil.disk_usage(small).free > 6 * MB
        await session.ask("sh truncate -s 32000000 big")
        assert (await checkpoints.make(session.id, "fits")).files
        fork = await checkpoints.fork(session.id, "fits", wait=0.5)  # there is no room for its folder
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await runtime.open(fork.id).ask("look ls")
        assert shutil.disk_usage(small).free > 4 * MB
        assert reserve.exists()
        await sessions.delete(session.id)
        async with asyncio.timeout(30):
            await until_free(small, 30 * MB)
            assert await runtime.open(fork.id).ask("look ls") == "a\nbig"


@one_store
async def test_a_full_disk_can_be_made_free(small: Path) -> None:
    reserve = small / "one/reserve"
    async with clerk(small) as runtime:
        session = await runtime.session("clerk")
        await session.ask(f"sh {FULL.format(20)}")
        await asleep(runtime, session)
        assert reserve.exists()
        fill(small)
        await runtime.node.store.coordination.setting("large", "x" * 100_000)
        assert not reserve.exists()
        fill(small)
        with pytest.raises(StoreFailed, match="the disk is full"):
            await many(runtime)
    (small / "filling").unlink()
    fill(small, but=4 * MB)
    reserve.write_bytes(bytes(shutil.disk_usage(small).free))
    async with clerk(small) as runtime:
        assert not reserve.exists()
        await runtime.sessions.delete(session.id)
        await until_free(small, 18 * MB)


async def many(runtime: Runtime) -> None:
    for number in range(100):
        await runtime.node.store.coordination.setting(f"large-{number}", "x" * 100_000)


def fill(folder: Path, but: int = 0) -> None:
    with (folder / "filling").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while (left := shutil.disk_usage(folder).free - but) > 0:
            file.write(bytes(min(left, MB)))


async def until_free(folder: Path, free: int) -> None:
    async with asyncio.timeout(30):
        while shutil.disk_usage(folder).free < free:
            await asyncio.sleep(0.05)
