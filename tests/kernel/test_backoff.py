"""A node whose machine cannot run a session leaves it to others, and to itself later."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from roost.errors import ConfigError
from roost.runtime import Runtime, SessionHandle
from roost.server.app_state import Api
from roost.testing.clock import MovedClock
from tests.harness.s3 import S3Server

from .filing import clerk
from .nodes import node
from .support import BRISK, asleep, place

one_store = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@pytest.fixture
def shared(tmp_path: Path) -> str:
    (tmp_path / "shared").mkdir()
    return f"file://{tmp_path}/shared"


def at(folder: Path, name: str, shared: str) -> contextlib.AbstractAsyncContextManager[Runtime]:
    return node(folder, name, clerk(), config=BRISK, snapshots=shared)


def spoil(home: Path) -> None:
    """Nothing can be made in the folder of workspaces, not even by root."""
    home.mkdir(exist_ok=True)
    (home / "workspaces").write_text("a file")
    (home / "workspaces.memory").write_text("a file")


def mend(home: Path) -> None:
    (home / "workspaces").unlink()
    (home / "workspaces.memory").unlink()


@contextlib.asynccontextmanager
async def orphans(folder: Path, shared: str, count: int) -> AsyncGenerator[list[str]]:
    """Sessions with files, whose home is away."""
    async with at(folder, "first", shared) as runtime:
        sessions = [await runtime.session("clerk") for _ in range(count)]
        await asyncio.gather(*(one.ask("sh echo 1 > a") for one in sessions))
        for one in sessions:
            await asleep(runtime, one)
    yield [one.id for one in sessions]


async def answered(session: SessionHandle, item: int) -> str:
    async with asyncio.timeout(30):
        return await session.answer(item)


async def test_a_session_goes_to_a_node_that_can_run_it(
    tmp_path: Path, shared: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(tmp_path / "bad")
    async with orphans(tmp_path, shared, 1) as (session,), at(tmp_path, "bad", shared) as bad:
        item = (await bad.open(session).send("look cat a")).id
        await until_seen(caplog, "cannot be taken up on this machine")
        async with at(tmp_path, "good", shared) as good:
            assert await answered(good.open(session), item) == "1"
            for _ in range(3):
                item = (await bad.open(session).send("look cat a")).id
                assert await answered(good.open(session), item) == "1"
            assert bad.node.membership.card().room > 0, "one session alone may be at fault itself"
    assert len([one for one in caplog.records if "taken up on this machine" in one.message]) == 1


@one_store
async def test_a_lone_node_tries_again_after_seconds(tmp_path: Path, shared: str, clock: MovedClock) -> None:
    spoil(tmp_path / "bad")
    async with orphans(tmp_path, shared, 1) as (session,), at(tmp_path, "bad", shared) as bad:
        epoch = (await bad.sessions.get(session)).epoch
        item = (await bad.open(session).send("look cat a")).id
        began = clock()
        while (tries := (await bad.sessions.get(session)).epoch - epoch) < 3:
            await clock.sleep(0.2)
        assert clock() - began > 1, "the second and the third try each had to wait"
        assert tries <= 8
        mend(tmp_path / "bad")
        assert await clock.hurry(answered(bad.open(session), item)) == "1"


async def test_a_node_that_fails_with_several_offers_no_room_and_says_so(
    tmp_path: Path, shared: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(tmp_path / "bad")
    async with orphans(tmp_path, shared, 12) as sessions, at(tmp_path, "bad", shared) as bad:
        api = Api(bad, lambda: None)
        assert await api.status() == "ok"
        items = [(await bad.open(one).send("look cat a")).id for one in sessions]
        async with asyncio.timeout(30):
            while bad.node.membership.card().room:
                await asyncio.sleep(0.01)
        assert await api.status() == "degraded"
        assert "cannot be taken up" in (api.reason("degraded") or "")
        async with asyncio.timeout(30):  # the others hear of it
            while [one.card.room for one in await bad.node.store.dispatch.nodes()] != [0]:
                await asyncio.sleep(0.01)
        async with at(tmp_path, "good", shared) as good:
            for session, item in zip(sessions, items, strict=True):
                assert await answered(good.open(session), item) == "1"
        mend(tmp_path / "bad")
        await bad.open(sessions[0]).ask("look cat a")
        async with asyncio.timeout(30):
            while await api.status() != "ok":
                await asyncio.sleep(0.05)
        assert bad.node.membership.card().room > 0
    assert len([one for one in caplog.records if "taken up on this machine" in one.message]) <= 4


async def test_what_is_held_is_let_go_of_when_another_node_comes_or_it_is_deleted(tmp_path: Path, shared: str) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/workspaces.memory").write_text("a file")
    async with orphans(tmp_path, shared, 2) as (session, other), at(tmp_path, "bad", shared) as bad:
        item = (await bad.open(session).send("look cat a")).id
        await bad.open(other).send("look cat a")
        async with asyncio.timeout(30):
            while {session, other} - set(bad.node.slots.of("backing_off")):
                await asyncio.sleep(0.01)
        await bad.open(other).delete()
        async with at(tmp_path, "good", shared) as good:
            assert await answered(good.open(session), item) == "1"


# The file systems of a home


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A file system of its own."""
    folder.mkdir(parents=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        assert os.stat(folder).st_dev != os.stat(folder.parent).st_dev
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def restored_and_deleted(tmp_path: Path, shared: str) -> None:
    async with orphans(tmp_path, shared, 1) as (session,), at(tmp_path, "here", shared) as here:
        assert await here.open(session).ask("look cat a") == "1"
        await here.open(session).ask("sh echo 2 > b")
        await asleep(here, here.open(session))
        async with asyncio.timeout(30):
            await here.open(session).delete()
        left = [str(path) for path in (tmp_path / "here/workspaces").rglob("*") if not path.name.startswith(".")]
        assert left == []


@one_store
async def test_workspaces_may_be_a_volume_of_their_own(tmp_path: Path, shared: str) -> None:
    with mounted(tmp_path / "here/workspaces"):
        await restored_and_deleted(tmp_path, shared)


@one_store
async def test_nothing_is_renamed_into_or_out_of_the_workspaces(
    tmp_path: Path, shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where nothing can be mounted: a rename across the border fails as between two file systems."""
    root, rename, crossed = str(tmp_path / "here/workspaces") + "/", os.rename, list[object]()

    def strict(source: os.PathLike[str] | str, target: os.PathLike[str] | str) -> None:
        if os.fspath(source).startswith(root) != os.fspath(target).startswith(root):
            crossed.append((source, target))
            raise OSError(18, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", strict)
    await restored_and_deleted(tmp_path, shared)
    assert crossed == []


@one_store
async def test_what_a_former_version_threw_away_is_taken_over(tmp_path: Path, shared: str) -> None:
    async with orphans(tmp_path, shared, 1) as (session,):
        pass
    first = tmp_path / "first"
    (first / "workspaces.bin/ses_gone").mkdir(parents=True)
    shutil.move(first / "workspaces" / session, first / "workspaces.bin" / session)
    (first / "workspaces/.bin" / session / "half").mkdir(parents=True)  # of a move that was cut off
    async with at(tmp_path, "first", shared) as runtime:
        assert await runtime.open(session).ask("look ls") == "a"
        assert not (first / "workspaces.bin").exists()
        async with asyncio.timeout(30):
            while os.listdir(first / "workspaces/.bin"):
                await asyncio.sleep(0.01)


# One snapshot store for all nodes


async def refused(folder: Path, match: str, snapshots: str | None) -> None:
    runtime = Runtime(folder / "late", agents=[clerk()], store=place.url or folder / "roost.db", snapshots=snapshots)
    with pytest.raises(ConfigError, match=match):
        await runtime.start()


async def test_nodes_of_one_database_keep_files_in_one_place(tmp_path: Path, shared: str) -> None:
    (tmp_path / "other").mkdir()
    async with at(tmp_path, "one", shared):
        await refused(tmp_path, "not that of this database's other nodes", f"file://{tmp_path}/other")
        await refused(tmp_path, "give --snapshots", None)
        async with at(tmp_path, "two", shared):
            pass
    shutil.copytree(tmp_path / "shared", tmp_path / "other", dirs_exist_ok=True)
    async with at(tmp_path, "one", f"file://{tmp_path}/other"):
        pass


async def test_nodes_that_start_at_once_agree(tmp_path: Path, shared: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        nodes = [stack.enter_async_context(at(tmp_path, f"n{n}", shared)) for n in range(4)]
        assert len(await asyncio.gather(*nodes)) == 4


@one_store
async def test_two_databases_may_share_a_folder_of_files(tmp_path: Path, shared: str) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for _ in range(2):
            async with node(
                tmp_path / name, "home", clerk(), config=BRISK, snapshots=shared, store=tmp_path / f"{name}.db"
            ):
                pass


@one_store
async def test_a_bucket_that_cannot_be_used_is_said_at_the_start(tmp_path: Path, s3: S3Server) -> None:
    url = s3.url("backoff")
    await refused(tmp_path, "bucket does not exist", url.replace(f"s3://{s3.bucket}/", "s3://nobody-made-this/"))
    await refused(tmp_path, "AWS_SECRET_ACCESS_KEY", url.replace("secret_access_key=", "secret_access_key=wrong"))
    async with node(tmp_path, "one", clerk(), config=BRISK, snapshots=url):
        pass


async def until_seen(caplog: pytest.LogCaptureFixture, text: str) -> None:
    async with asyncio.timeout(30):
        while text not in caplog.text:
            await asyncio.sleep(0.01)
