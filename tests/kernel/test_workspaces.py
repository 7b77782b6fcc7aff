"""Private files follow their session from home to home, whatever dies on the way."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from roost.errors import ConfigError
from roost.features.snapshots.events import WorkspaceSaved, WorkspaceUnsaved
from roost.kernel.config import KernelConfig
from roost.kernel.home import store_name
from roost.kernel.sweep import sweep
from roost.log import events as ev
from roost.runtime import Runtime
from roost.workspace.objects import open_objects
from roost.workspace.snapshot_sync import SnapshotSync
from roost.workspace.store import ObjectSnapshots

from .filing import Talk, clerk
from .nodes import node
from .support import BRISK, asleep, events, kinds, place, until

one_store = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
"""For what is between the folder and the snapshots, whatever the log is in."""


class Stage:
    """Homes on one store, each with the clerk, one running at a time; `session` is the one that moves."""

    def __init__(self, folder: Path, snapshots: str | None) -> None:
        self.folder = folder
        self.url = snapshots
        self.shared = folder / "shared"
        self.id = ""

    def at(
        self, home: str, *, config: KernelConfig = BRISK, snapshots: bool = True
    ) -> AbstractAsyncContextManager[Visit]:
        return self._at(home, config, self.url if snapshots else None)

    @asynccontextmanager
    async def _at(self, home: str, config: KernelConfig, snapshots: str | None) -> AsyncGenerator[Visit]:
        async with node(self.folder, home, clerk(), config=config, snapshots=snapshots) as runtime:
            session = runtime.open(self.id) if self.id else await runtime.session("clerk")
            self.id = session.id
            yield Visit(runtime, session)

    def files(self, home: str) -> Path:
        """Where the session's files are at a home."""
        return self.folder / home / "workspaces" / self.id

    def objects(self) -> list[str]:
        assert self.url is not None
        return [found.key for found in open_objects(self.url).list("") if not found.key.startswith("id/")]


class Visit(Talk):
    @property
    def carrier(self) -> SnapshotSync:
        carrier = self.runtime.node.resources.carrier
        assert carrier is not None
        return carrier


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    (tmp_path / "shared").mkdir()
    return Stage(tmp_path, f"file://{tmp_path}/shared")


@pytest.mark.parametrize("kind", ["folder", "s3"])
async def test_files_follow(stage: Stage, kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "s3":
        stage.url = request.getfixturevalue("s3").url(f"kernel/{stage.folder.name}")
    async with stage.at("one") as here:
        await here.tell(
            "sh mkdir -p deep/er empty; echo hello > deep/er/file; echo bye > goes; chmod 750 deep; chmod 600 goes",
            "sh ln -s deep/er/file link; printf '#!/bin/sh\\necho runs' > run; chmod 755 run",
        )
    look = "look ls -l | awk '{print $1, $NF}' | tail -n +2; cat link; ./run; test ! -e goes && echo gone"
    async with stage.at("two") as here:
        assert await here.tell(look) == (
            "drwxr-x--- deep\ndrwxr-xr-x empty\n-rw------- goes\nlrwxrwxrwx deep/er/file\n-rwxr-xr-x run\nhello\nruns"
        )
        await here.tell("sh rm goes; echo more >> deep/er/file; rmdir empty; chmod 700 deep")
    async with stage.at("one") as here:
        assert await here.tell(look) == (
            "drwx------ deep\nlrwxrwxrwx deep/er/file\n-rwxr-xr-x run\nhello\nmore\nruns\ngone"
        )
        await here.tell("once echo last > deep/new")
    async with stage.at("three") as here:
        assert await here.tell("look cat deep/new link") == "last\nhello\nmore"


async def test_a_save_is_in_the_same_commit_as_the_outcome(stage: Stage) -> None:
    async with stage.at("one") as here:
        heads: list[list[str]] = []
        here.runtime.node.store.changes.watch(
            lambda change: heads.append([ev.event_type(record.event) for record in change.records or ()]),
            session=here.session.id,
        )
        await here.tell("sh echo 1 > a", "sh echo 2 > b")
        saving = [head for head in heads if "workspace.saved" in head]
        assert len(saving) == 2
        assert all("tool.completed" in head for head in saving)
        saved = [event for event in await here.log() if isinstance(event, WorkspaceSaved)]
        assert [(event.files, event.bytes) for event in saved] == [(1, 2), (2, 4)]


@one_store
async def test_nothing_is_saved_when_nothing_changes(stage: Stage) -> None:
    async with stage.at("one") as here:
        await here.tell("think about it", "look ls", "sh true")
        assert stage.objects() == []
        await here.tell("sh echo 1 > a")
        objects = stage.objects()
        await here.tell("think", "look cat a", "sh true", "sh cat a", "sh echo 2 > b; rm b")
        assert stage.objects() == objects
        assert kinds(await here.log()).count("workspace.saved") == 1


@one_store
async def test_a_session_without_files_has_no_folder(stage: Stage) -> None:
    async with stage.at("one") as here:
        await here.tell("think about it")
    assert not stage.files("one").exists()
    assert not (stage.folder / "one/workspaces.memory").exists()


@one_store
async def test_a_folder_of_the_user_s_own_is_not_saved(stage: Stage, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    async with stage.at("one") as here:
        session = await here.runtime.session("clerk", workspace=str(own))
        await session.ask("sh echo 1 > a")
        assert (own / "a").exists()
        assert stage.objects() == []
        assert "workspace.saved" not in kinds(await events(session, here.runtime))


@one_store
async def test_sleeping_and_waking_at_one_home_moves_nothing(stage: Stage) -> None:
    async with stage.at("one") as here:
        await here.tell("sh echo 1 > a")
        inode = (stage.files("one") / "a").stat().st_ino
        objects = stage.objects()
        for _ in range(3):
            await here.sleep()
            assert await here.tell("look cat a") == "1"
        assert (stage.files("one") / "a").stat().st_ino == inode
        assert stage.objects() == objects


async def test_what_a_former_owner_left_is_not_believed(stage: Stage) -> None:
    """Its folder went on changing after another home took the session."""
    async with stage.at("one") as here:
        await here.tell("sh echo 1 > a; echo same > same")
    async with stage.at("two") as here:
        await here.tell("look cat a")  # it owned the session, and changed no file
    (stage.files("one") / "a").write_text("9\n")
    (stage.files("one") / "stray").write_text("x")
    async with stage.at("one") as here:
        assert await here.tell("look ls; cat a same") == "a\nsame\n1\nsame"
    async with stage.at("two") as here:
        await here.tell("sh echo 2 > a")
    (stage.files("one") / "same").unlink()
    async with stage.at("one") as here:
        assert await here.tell("look cat a same") == "2\nsame"


async def test_a_new_session_of_an_old_name_has_none_of_its_files(stage: Stage) -> None:
    async with stage.at("one") as here:
        await here.tell("sh echo old > a")
        await here.sleep()
    async with stage.at("two") as here:
        await here.session.delete()
        created = await here.runtime.sessions.create("clerk", id=stage.id)
        assert created.head == 1
        await here.tell("think", "think")
        await here.sleep()
    async with stage.at("one") as here:
        assert await here.tell("look ls") == "(no output)"


@one_store
async def test_files_from_before_there_was_a_store(stage: Stage) -> None:
    async with stage.at("one", snapshots=False) as here:
        await here.tell("sh echo 1 > a")
        assert "workspace.saved" not in kinds(await here.log())
    async with stage.at("one") as here:
        assert await here.tell("sh cat a; echo 2 > b") == "1"
        saved = [event for event in await here.log() if isinstance(event, WorkspaceSaved)]
        assert [event.files for event in saved] == [2]


KILLS = [
    ("workspace.saved", 1, "before", "two"),  # between the save and the commit
    ("workspace.saved", 1, "after", "two"),
    ("workspace.saved", 2, "before", "two"),
    ("workspace.saved", 2, "before", "one"),
    ("tool.started", 2, "after", "two"),
    ("turn.completed", 1, "after", "two"),  # between the commit and the sleep
    ("release", 1, "before", "two"),
    ("release", 1, "after", "one"),
]


@pytest.mark.parametrize(("mark", "nth", "when", "then"), KILLS)
async def test_killed(stage: Stage, mark: str, nth: int, when: str, then: str) -> None:
    """After kill -9 another home has every file of every outcome in the log, each effect once; so has the same home,
    where a command whose outcome was not committed may have run before."""
    async with stage.at("one") as here:
        await here.tell("sh echo x > gone; echo 0 > notes")
    store = place.url or str(stage.folder / "roost.db")
    arguments = [str(stage.folder / "one"), store, str(stage.url), stage.id, mark, str(nth), when]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.kernel.filing", *arguments, cwd=Path(__file__).parents[2]
    )
    assert await asyncio.wait_for(child.wait(), 30) == -signal.SIGKILL
    async with stage.at(then) as here:
        assert (await here.tell("look readlink link; ls; cat notes")).split()[:4] == ["notes", "link", "made", "notes"]
        notes = (await here.tell("look cat notes")).split()
        if then == "two":
            assert notes == ["0", "1", "2"]
        else:
            assert sorted(set(notes)) == ["0", "1", "2"]


@one_store
async def test_a_command_that_was_cut_is_as_far_as_it_came_at_its_own_home(stage: Stage) -> None:
    config = KernelConfig(linger=0.05, scan=0.2, lease=3.0)
    async with stage.at("one", config=config) as here:
        await here.tell("sh echo 1 > a")
        await here.session.send("once echo half > b; sleep 60")
        half = stage.files("one") / "b"
        while not (half.exists() and half.read_text() == "half\n"):
            await asyncio.sleep(0.02)
        await here.session.control("cancel")
        await here.sleep()
        assert "workspace.saved" in kinds(await here.log())[-2:]
    async with stage.at("two") as here:
        assert await here.tell("look cat a b") == "1\nhalf"


class Broken:
    """Takes the shared folder away for a while, as a share that is not mounted."""

    def __init__(self, stage: Stage) -> None:
        self._from, self._to = stage.shared, stage.folder / "away"

    def __enter__(self) -> None:
        self._from.rename(self._to)

    def __exit__(self, *_: object) -> None:
        self._to.rename(self._from)


@one_store
async def test_an_outcome_is_not_lost_with_the_store_of_files(stage: Stage) -> None:
    async with stage.at("one") as here:
        here.carrier.patience = 0.3
        await here.tell("sh echo 1 > a")
        with Broken(stage):
            told = await here.tell("sh echo 2 > b; echo done", "sh echo 3 > c; echo done")
            assert told.count("done") == 2
            assert told.count("could not be saved") == 1
            assert kinds(await here.log()).count("workspace.unsaved") == 1
            await here.sleep()
        await here.tell("look ls")
        await here.sleep()
        assert "workspace.saved" in kinds(await here.log())[-2:]
    async with stage.at("two") as here:
        assert await here.tell("look cat a b c") == "1\n2\n3"


@one_store
async def test_unsaved_files_outlive_their_node_at_home(stage: Stage) -> None:
    async with stage.at("one") as here:
        here.carrier.patience = 0.1
        await here.tell("sh echo 1 > a")
        with Broken(stage):
            await here.tell("sh echo 2 > b")
            await here.sleep()
    async with stage.at("one") as here:
        assert await here.tell("sh cat a b; echo 3 > c") == "1\n2"
        assert "workspace.saved" in kinds(await here.log())[-6:]
    async with stage.at("two") as here:
        assert await here.tell("look cat a b c") == "1\n2\n3"


@one_store
async def test_unsaved_files_outlive_wakes_that_need_no_files(stage: Stage) -> None:
    async with stage.at("one") as here:
        here.carrier.patience = 0.1
        await here.tell("sh echo 1 > a")
        with Broken(stage):
            await here.tell("sh echo 2 > b")
            await here.sleep()
            for order in ("pause", "resume"):
                await here.session.control(order)
                await here.sleep()
        assert await here.tell("look cat a b") == "1\n2"
        assert [one.lost for one in await here.log() if isinstance(one, WorkspaceUnsaved)] == [False]
    async with stage.at("one") as here:
        await here.session.control("pause")
    async with stage.at("one") as here:
        await here.session.control("resume")
        assert await here.tell("sh cat a b; echo 3 > c") == "1\n2"
    async with stage.at("two") as here:
        assert await here.tell("look cat a b c") == "1\n2\n3"


@one_store
async def test_what_is_lost_is_said(stage: Stage) -> None:
    async with stage.at("one") as here:
        here.carrier.patience = 0.1
        await here.tell("sh echo 1 > a")
        with Broken(stage):
            await here.tell("sh echo 2 > b")
            await here.sleep()
    async with stage.at("two") as here:
        assert await here.tell("look ls") == "a"
        lost = [event for event in await here.log() if isinstance(event, WorkspaceUnsaved)]
        assert [event.lost for event in lost] == [False, True]
        assert await here.tell("look ls") == "a"
        assert kinds(await here.log()).count("workspace.unsaved") == 2


async def test_a_session_waits_for_its_files(stage: Stage) -> None:
    async with stage.at("one") as here:
        await here.tell("sh echo 1 > a")
    async with stage.at("two") as here:
        with Broken(stage):
            accepted = await here.session.send("look cat a")
            await asyncio.sleep(0.5)
            async with asyncio.timeout(30):  # what comes before the wait for the files may take its time
                while (await here.log())[-1].at >= time.time() - 0.3:
                    await asyncio.sleep(0.05)
            assert "tool.started" not in kinds(await here.log())[-2:]
        assert await here.session.answer(accepted.id) == "1"


@one_store
async def test_a_damaged_snapshot_stops_the_session_and_says_so(stage: Stage) -> None:
    async with stage.at("one") as here:
        await here.tell("sh echo 1 > a")
    shutil.rmtree(stage.shared / "blobs")
    async with stage.at("two") as here:
        await here.session.send("look cat a")
        event = await until(here.session, ev.StateChanged)
        while event.state != "error":
            event = await until(here.session, ev.StateChanged, after=(await here.session.inspect()).info.head - 1)
        assert "snapshot" in (event.reason or "")
    async with stage.at("one") as here:
        assert (stage.files("one") / "a").read_text() == "1\n"


@one_store
async def test_what_was_saved_and_is_gone_is_saved_again(stage: Stage) -> None:
    awake = KernelConfig(linger=60.0, scan=0.2, lease=3.0)  # asleep, it would look for what is gone as it wakes
    async with stage.at("one", config=awake) as here:
        await here.tell("sh echo 1 > a")
        shutil.rmtree(stage.shared / "blobs")
        shutil.rmtree(stage.shared / "snapshots")
        shutil.rmtree(stage.folder / "one/workspaces.memory" / stage.id)
        await here.tell("sh echo 2 > b")
    async with stage.at("two") as here:
        assert await here.tell("look cat a b") == "1\n2"


class Slow:
    """An object store whose writes wait for `gate`."""

    def __init__(self, stage: Stage) -> None:
        self._inner = open_objects(str(stage.url))
        self.gate, self.waiting = threading.Event(), threading.Event()

    def put(self, key: str, data: bytes) -> None:
        self.waiting.set()
        assert self.gate.wait(60)
        self._inner.put(key, data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


@one_store
@pytest.mark.parametrize("how", ["cancel", "pause", "stop"])
async def test_an_outcome_is_not_lost_when_its_save_is_cut_off(stage: Stage, how: str) -> None:
    slow = Slow(stage)
    async with stage.at("one") as here:
        here.runtime.node.resources.carrier = SnapshotSync(ObjectSnapshots(slow))  # type: ignore[arg-type]
        await here.session.send("once echo 1 > a; echo done\nsh echo 2 > b")
        while not slow.waiting.is_set():
            await asyncio.sleep(0.01)
        await asyncio.wait_for(here.session.control(how), 30)  # type: ignore[arg-type]
        log = await here.log()
        assert [event.outcome for event in log if isinstance(event, ev.ToolCompleted)] == ["ok"]
        assert "workspace.unsaved" in kinds(log)
        slow.gate.set()
        await here.sleep()
        assert "workspace.saved" in kinds(await here.log())[-2:]
    assert not (stage.files("one") / "b").exists()
    async with stage.at("two") as here:
        if how == "pause":
            await here.session.control("resume")
            await until(here.session, ev.TurnCompleted)
        else:
            await here.session.control("start")
        assert "1" in await here.tell("look cat a")


@one_store
async def test_the_loop_goes_on_while_files_are_saved(stage: Stage) -> None:
    async with stage.at("one") as here:
        command = "sh for d in 1 2 3 4; do mkdir $d; for i in $(seq 500); do echo $d $i > $d/$i; done; done"
        asking = asyncio.ensure_future(here.tell(command))
        longest, before = 0.0, time.thread_time()  # of the loop's own work: a busy machine may let it wait
        while not asking.done():
            await asyncio.sleep(0.005)
            longest, before = max(longest, time.thread_time() - before), time.thread_time()
        await asking
        assert kinds(await here.log()).count("workspace.saved") == 1
        assert longest < 0.25


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_many_sessions_at_once(stage: Stage) -> None:
    async with stage.at("one") as here:
        sessions = [await here.runtime.session("clerk") for _ in range(40)]
        await asyncio.gather(*(one.ask(f"sh echo {n} > a\nsh echo {n} > b") for n, one in enumerate(sessions)))
    async with stage.at("two") as here:
        moved = [here.runtime.open(one.id) for one in sessions]
        told = await asyncio.gather(*(one.ask("look cat a b") for one in moved))
        assert told == [f"{n}\n{n}" for n in range(40)]


async def test_what_no_session_needs_is_removed(stage: Stage) -> None:
    async with stage.at("one") as here:
        other = await here.runtime.session("clerk")
        await here.tell("sh echo 1 > a", "sh echo 2 > a")
        await other.ask("sh echo theirs > b")
        await asleep(here.runtime, other)
        await here.sleep()
        store = here.runtime.node.store
        objects, name = open_objects(str(stage.url)), await store_name(store)
        later = ObjectSnapshots(objects, owner=name, clock=lambda: time.time() + 30 * 86_400)
        kept = len(stage.objects())
        planned = await sweep(store, later, dry=True)
        assert len(stage.objects()) == kept
        swept = await sweep(store, later)
        assert planned == swept
        assert 0 < swept.objects == kept - len(stage.objects())
        assert swept.kept == len(stage.objects()) - 1, "all but the mark"
        await other.delete()
        assert (await sweep(store, later)).objects == 3
        later.close()
    async with stage.at("two") as here:
        assert await here.tell("look cat a") == "2"


@one_store
async def test_deleting_removes_all_that_is_here(stage: Stage) -> None:
    async with stage.at("one") as here:
        await here.tell("sh echo 1 > a; mkdir d; chmod 500 d")
        await here.session.delete()
    assert not stage.files("one").exists()
    assert os.listdir(stage.folder / "one/workspaces.memory") == []


@one_store
async def test_a_store_of_files_that_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path / "one", store=place.url or tmp_path / "roost.db", snapshots=f"file://{tmp_path}/no")
    with pytest.raises(ConfigError, match="mount"):
        await runtime.start()
