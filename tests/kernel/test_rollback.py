"""A call that does not end well leaves no file behind, whatever dies on the way: with the home's own snapshots and with
those that nodes share."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.features.snapshots.events import WorkspaceRestored, WorkspaceSaved
from roost.features.snapshots.state import POINTS
from roost.kernel.home import store_name
from roost.kernel.sweep import sweep
from roost.log import events as ev
from roost.workspace.objects import open_objects
from roost.workspace.store import ObjectSnapshots

from .filing import Talk
from .nodes import node
from .support import BRISK, kinds, place
from .undoing import careful

one_store = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
MESS = "echo bad >> notes; rm gone; mkdir made; mv deep moved; chmod 777 run"
SETUP = "sh echo 1 > notes; echo x > gone; mkdir deep; echo y > deep/file; echo z > run"
AS_IT_WAS = "deep\ngone\nnotes\nrun\n1"
SHOWN = "look ls; cat notes"


class Stage:
    """A home, with snapshots of its own, or with those that nodes share."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        (folder / "shared").mkdir()
        self.url = f"file://{folder}/shared" if kind == "store" else None
        self.id = ""

    @asynccontextmanager
    async def up(self, agent: Agent | None = None) -> AsyncGenerator[Visit]:
        async with node(self.folder, "one", agent or careful(), config=BRISK, snapshots=self.url) as runtime:
            session = runtime.open(self.id) if self.id else await runtime.session("careful")
            self.id = session.id
            yield Visit(runtime, session)

    @property
    def files(self) -> Path:
        return self.folder / "one/workspaces" / self.id

    async def killed(self, mark: str, nth: int, when: str, told: str) -> None:
        store = place.url or str(self.folder / "roost.db")
        arguments = [str(self.folder / "one"), store, self.url or "", self.id, mark, str(nth), when, told]
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.kernel.undoing", *arguments, cwd=Path(__file__).parents[2]
        )
        assert await asyncio.wait_for(child.wait(), 30) == -signal.SIGKILL


class Visit(Talk):
    async def restored(self) -> list[WorkspaceRestored]:
        return [event for event in await self.log() if isinstance(event, WorkspaceRestored)]


@pytest.fixture(params=["home", "store"])
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Stage:
    return Stage(tmp_path, request.param)


async def test_a_failed_call_is_undone(stage: Stage) -> None:
    async with stage.up() as here:
        told = await here.tell(SETUP, f"sh {MESS}; exit 1", SHOWN, "sh echo 2 >> notes", f"once {MESS}; exit 1", SHOWN)
        undone = "failed:  [the files of the workspace are again what they were before this call]"
        assert told == "\n".join(["(no output)", undone, AS_IT_WAS, "(no output)", undone, AS_IT_WAS, "2"])
        assert (stage.files / "notes").read_text() == "1\n2\n"
        assert [one.error for one in await here.restored()] == [None, None]
        heads = kinds(await here.log())
        assert heads[heads.index("workspace.restored") + 1] == "tool.completed"


async def test_the_first_call_ever_is_undone_to_nothing(stage: Stage) -> None:
    async with stage.up() as here:
        told = await here.tell("sh echo 1 > notes; exit 1", "look ls", "sh echo 2 > notes")
        assert "again what they were" in told
        assert (stage.files / "notes").read_text() == "2\n"


@one_store
async def test_only_when_asked(stage: Stage) -> None:
    async with stage.up(careful(rollback=None)) as here:
        told = await here.tell("sh echo 1 > notes; exit 1", "look cat notes")
        assert told.split("\n")[1:] == ["1"]
        await here.tell("sh echo 2 > notes")
        log = await here.log()
        assert "workspace.restored" not in kinds(log)
        assert all(event.undo is None for event in log if isinstance(event, ev.ToolStarted))
        points = {event.point for event in log if isinstance(event, WorkspaceSaved)}
        assert points == {"store" if stage.url else "home"}


@one_store
async def test_what_only_reads_takes_no_snapshot(stage: Stage) -> None:
    async with stage.up() as here:
        await here.tell(SETUP)
        await here.tell("look ls", "look false")
        before = kinds(await here.log()).count("workspace.saved")
        await here.tell("look ls", "sh true", "sh exit 1")
        assert kinds(await here.log()).count("workspace.saved") == before


@one_store
async def test_a_call_that_is_cancelled_is_undone(stage: Stage) -> None:
    async with stage.up() as here:
        await here.tell(SETUP)
        await here.session.send(f"once {MESS}; touch began; sleep 60")
        while not (stage.files / "began").exists():
            await asyncio.sleep(0.02)
        await here.session.control("cancel")
        await here.sleep()
        assert len(await here.restored()) == 1
        assert not (stage.files / "began").exists()
        assert await here.tell(SHOWN) == AS_IT_WAS


@one_store
async def test_a_call_that_is_paused_runs_again_from_where_it_began(stage: Stage) -> None:
    async with stage.up() as here:
        await here.tell(SETUP)
        await here.session.send("sh echo 2 >> notes; touch began; AGAIN || sleep 60")
        while not (stage.files / "began").exists():
            await asyncio.sleep(0.02)
        await here.session.control("pause")
        await here.sleep()
        await here.session.control("resume")
        while kinds(await here.log()).count("turn.completed") < 2:
            await asyncio.sleep(0.02)
        assert (stage.files / "notes").read_text() == "1\n2\n"


KILLS = [
    ("once", "tool.started", 1, "before"),  # the point is kept, the log does not know
    ("sh", "tool.started", 1, "after"),
    ("once", "tool.started", 1, "after"),
    ("sh", "tool.completed", 1, "before"),  # the files are put back, the log does not know
    ("once", "tool.completed", 1, "before"),
    ("sh", "tool.completed", 1, "after"),
]


@one_store
@pytest.mark.parametrize(("tool", "mark", "nth", "when"), KILLS)
async def test_killed(stage: Stage, tool: str, mark: str, nth: int, when: str) -> None:
    """Whenever it dies, the failed call leaves nothing, and the next one's work is there once."""
    async with stage.up() as here:
        await here.tell(SETUP)
    await stage.killed(mark, nth, when, f"{tool} {MESS}; exit 1")
    async with stage.up() as here:
        assert await here.tell(SHOWN) == AS_IT_WAS
        assert await here.tell("sh echo 2 >> notes", "look cat notes") == "(no output)\n1\n2"


@one_store
@pytest.mark.parametrize("tool", ["sh", "once"])
async def test_killed_in_the_middle_of_a_command(stage: Stage, tool: str) -> None:
    """What it had done is undone: by rule it runs again from where it began, or not at all."""
    async with stage.up() as here:
        await here.tell(SETUP)
    await stage.killed("emitted", 1, "before", f"{tool} echo 2 >> notes # die")
    async with stage.up() as here:
        while kinds(await here.log()).count("turn.completed") < 2:
            await asyncio.sleep(0.02)
        assert (stage.files / "notes").read_text() == ("1\n2\n" if tool == "sh" else "1\n")
        assert len(await here.restored()) == 1
        results = [event.parts for event in await here.log() if isinstance(event, ev.ToolCompleted)]
        assert ("again what they were" in str(results[-1])) == (tool == "once")


@one_store
async def test_a_point_that_is_gone_is_told_and_stops_nothing(stage: Stage) -> None:
    async with stage.up() as here:
        await here.tell(SETUP)
        assert "could not be put back" in await here.tell("sh echo bad > notes; exit 1 # lose")
        assert [one.error is None for one in await here.restored()] == [False]
        assert await here.tell("look cat notes") == "bad"


@one_store
async def test_points_are_few(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "home")
    async with stage.up() as here:
        for start in range(0, 90, 30):
            await here.tell(*[f"sh echo {number} > n" for number in range(start, start + 30)])
    kept = list((stage.folder / "one/workspaces.memory" / stage.id / "snapshots/snapshots").glob("*/*"))
    assert POINTS <= len(kept) <= 2 * POINTS + 2
    async with stage.up() as here:
        await here.tell("sh echo bad > n; exit 1")
        assert (stage.files / "n").read_text() == "89\n"
        await here.session.delete()
    assert not (stage.folder / "one/workspaces.memory" / stage.id).exists()


@one_store
async def test_points_outlive_a_sweep(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "store")
    async with stage.up() as here:
        await here.tell(*[f"sh echo {number} > n" for number in range(5)])
        store, objects = here.runtime.node.store, open_objects(str(stage.url))
        later = ObjectSnapshots(objects, owner=await store_name(store), clock=lambda: 10_000_000_000.0)
        assert (await sweep(store, later)).objects == 0
        points = [event.snapshot for event in await here.log() if isinstance(event, WorkspaceSaved)]
        assert len(points) == 5
        assert all(later.items(point) for point in points)
        later.close()


@one_store
async def test_a_home_that_gets_a_shared_store_later(tmp_path: Path) -> None:
    """What the home kept is not looked for in the store."""
    stage = Stage(tmp_path, "home")
    async with stage.up() as here:
        await here.tell(SETUP)
        await here.tell("sh true")
    stage.url = f"file://{tmp_path}/shared"
    async with stage.up() as here:
        assert "again what they were" in await here.tell(f"sh {MESS}; exit 1")
        assert await here.tell(SHOWN) == AS_IT_WAS
        assert await here.tell("sh echo 2 >> notes", "look cat notes") == "(no output)\n1\n2"
