"""A fork has its files from the commit that makes it, whatever becomes of its source; and its source's checkpoints."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roost.agent.definition import Agent, CheckpointPolicy
from roost.errors import Conflict, NotFound, RoostError
from roost.kernel.check import check
from roost.kernel.home import store_name
from roost.kernel.sweep import sweep
from roost.log import events as ev
from roost.log.protocols import Append
from roost.log.session_info import ControlAction
from roost.log.store import Store
from roost.runtime import Runtime, TurnFailed
from roost.testing.scripted import ScriptedModel
from roost.workspace.objects import open_objects
from roost.workspace.store import ObjectSnapshots
from tests.harness.crash.killing import KillingStore

from .filing import look, obey
from .nodes import node
from .support import BRISK, asleep, events, place, so
from .test_travel import Stage, heard, one_store, sound
from .undoing import sh


def clerk(**options: object) -> Agent:
    return Agent("clerk", model=ScriptedModel(obey), tools=[sh, look], permissions="all", **options)  # type: ignore[arg-type]


@pytest.fixture(params=["home", "store"])
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Stage:
    return Stage(tmp_path, request.param)


@asynccontextmanager
async def dying(stage: Stage, at: int) -> AsyncGenerator[tuple[Runtime, KillingStore]]:
    """Its store is gone after the fork `f` was committed, or `at` so many commits of it later."""
    store = KillingStore(await place.open(stage.folder), at=at, when="after", session="f", how="fail")
    runtime = Runtime(stage.folder / "one", agents=[clerk()], config=BRISK, store=store, snapshots=stage.url)
    await runtime.start()
    try:
        yield runtime, store
    finally:
        with contextlib.suppress(RoostError):
            await runtime.stop(grace=0.0)


async def swept(runtime: Runtime, stage: Stage) -> None:
    """All that nobody needs, as in days to come."""
    if stage.url is not None:
        store = runtime.node.store
        owner = await store_name(store)
        later = ObjectSnapshots(open_objects(stage.url), owner=owner, clock=lambda: 10_000_000_000.0)
        await sweep(store, later)
        later.close()


def age(stage: Stage) -> None:
    for folder in stage.folder.glob("one/workspaces.memory/*"):
        os.utime(folder, (0, 0))


@pytest.mark.parametrize(("stage", "at"), [("home", 1), ("home", 3), ("store", 1)], indirect=["stage"])
async def test_its_source_goes_before_it_wakes(stage: Stage, at: int) -> None:
    async with dying(stage, at) as (runtime, store):
        session, checkpoints = await runtime.session("clerk", id="s"), runtime.checkpoints
        await session.ask("sh echo 1 > a; mkdir d; echo 2 > d/b")
        await checkpoints.make("s", "good")
        await session.ask("sh echo 3 > a")
        with contextlib.suppress(RoostError):
            await checkpoints.fork("s", "good", id="f", wait=1.0)
        assert store.dead
    async with stage.up() as runtime:
        sessions = runtime.sessions
        await sessions.delete("s")
        await runtime.node.store.sessions.purge()
        age(stage)
        await runtime.node.deletions.tidy()
        await swept(runtime, stage)
        assert await runtime.open("f").ask("look cat a d/b") == "1\n2"
        await sound(runtime, "f")
    assert (await check(place.url or stage.folder / "roost.db")).faults == []


async def test_its_source_drops_what_it_begins_with(stage: Stage) -> None:
    async with dying(stage, 1) as (runtime, _):
        session, checkpoints = await runtime.session("clerk", id="s"), runtime.checkpoints
        await session.ask("sh echo 1 > a")
        await checkpoints.make("s", "good")
        await session.ask("sh echo 2 > a")
        with contextlib.suppress(RoostError):
            await checkpoints.fork("s", "good", id="f", wait=1.0)
    async with stage.up() as runtime:
        checkpoints, session = runtime.checkpoints, runtime.open("s")
        done = await checkpoints.drop("s", "good")
        assert ("roost store sweep" in (done.files_left or "")) == (stage.url is not None)
        for count in range(10):  # so that the means of a home clean up
            await session.ask(f"sh echo {count} > a")
            await checkpoints.make("s", f"c{count}")
            await checkpoints.drop("s", f"c{count}")
        await swept(runtime, stage)
        assert await runtime.open("f").ask("look cat a") == "1"


async def test_what_was_never_made_is_cleaned_up(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "home")
    async with stage.up() as runtime:
        session, checkpoints = await runtime.session("clerk", id="s"), runtime.checkpoints
        await session.ask("sh echo 1 > a")
        first = await checkpoints.fork("s", key="k")
        assert (await checkpoints.fork("s", key="k")).id == first.id
        memory = tmp_path / "one/workspaces.memory"
        left = {path.name for path in memory.iterdir() if path.name[0] != "."} - {"s", first.id}
        assert len(left) == 1  # kept for the second time, which made none
        await runtime.node.deletions.tidy()
        assert (memory / left.pop()).is_dir()
        age(stage)
        await runtime.node.deletions.tidy()
        assert {path.name for path in memory.iterdir() if path.name[0] != "."} == {"s", first.id}
        with pytest.raises(NotFound):
            await checkpoints.fork("gone")


async def test_it_has_the_checkpoints_of_its_source(stage: Stage) -> None:
    async with stage.up(checkpoints=CheckpointPolicy(at_pause=False)) as runtime:
        session, checkpoints = await runtime.session("clerk", id="s"), runtime.checkpoints
        for label in ("one", "two", "gone", "three"):
            await session.ask(f"sh echo {label} > a")
            await checkpoints.make("s", label)
        await checkpoints.drop("s", "gone")
        await checkpoints.fork("s", "three", id="f")
        await session.ask("sh echo later > a")
        await checkpoints.make("s", "later")

        async def labels(name: str) -> list[str]:
            return [one.label for one in (await checkpoints.list(name)).checkpoints if one.label]

        assert await labels("f") == ["three", "two", "one"]
        fork = runtime.open("f")
        await fork.ask("sh echo fork > a; echo new > b")
        await checkpoints.make("f", "own")
        back = await checkpoints.rollback("f", "one")
        assert (back.label, back.files, back.why_no_files) == ("one", True, None)
        assert stage.files("f") == {"a": "one\n"}
        assert await heard(runtime, "f") == ["sh echo one > a"]
        assert (await checkpoints.rollback("f", undo=True)).files
        assert stage.files("f") == {"a": "fork\n", "b": "new\n"}
        await checkpoints.drop("f", "two")
        assert await labels("f") == ["own", "three", "one"]
        assert await labels("s") == ["later", "three", "two", "one"]
        with pytest.raises(NotFound):
            await checkpoints.rollback("f", "two")
        await sound(runtime, "f")
        await sound(runtime, "s")
    assert (await check(place.url or stage.folder / "roost.db")).faults == []


async def test_after_its_source_is_gone(stage: Stage) -> None:
    """What of its snapshots the fork can go back to is the fork's own then; the store that nodes share keeps it anyway.
    What the source dropped before may be gone, and that is said."""
    async with stage.up() as runtime:
        session, sessions = await runtime.session("clerk", id="s"), runtime.sessions
        checkpoints = runtime.checkpoints
        for label in ("one", "two", "three"):
            await session.ask(f"sh echo {label} > a")
            await checkpoints.make("s", label)
        await checkpoints.fork("s", "three", id="f")
        assert (await checkpoints.rollback("f", "two")).files
        await sessions.delete("s")
        await swept(runtime, stage)
        assert (await checkpoints.rollback("f", "three")).files
        assert (await checkpoints.rollback("f", "two")).files  # had before
        await sessions.control("f", "pause")
        back = await checkpoints.rollback("f", "one", resume=True)  # not before
        assert await heard(runtime, "f") == ["sh echo one > a"]
        assert (back.files, back.why_no_files, stage.files("f")) == (True, None, {"a": "one\n"})
        assert await runtime.open("f").ask("look cat a") == "one"
        assert (await checkpoints.rollback("f", undo=True)).files
        assert stage.files("f") == {"a": "two\n"}
        await sound(runtime, "f")
    assert (await check(place.url or stage.folder / "roost.db")).faults == []


async def test_forks_of_forks(stage: Stage) -> None:
    async with stage.up() as runtime:
        sessions = runtime.sessions
        checkpoints = runtime.checkpoints
        await runtime.session("clerk", id="f0")
        for count in range(4):
            await runtime.open(f"f{count}").ask(f"sh echo {count} > a; echo {count} > b{count}")
            await checkpoints.make(f"f{count}", f"c{count}")
            if count < 3:
                await checkpoints.fork(f"f{count}", f"c{count}", id=f"f{count + 1}")
        for count in (1, 2):
            await sessions.delete(f"f{count}")
        await runtime.node.store.sessions.purge()
        await swept(runtime, stage)
        assert [one.label for one in (await checkpoints.list("f3")).checkpoints if one.label] == [
            "c3",
            "c2",
            "c1",
            "c0",
        ]
        first = await checkpoints.rollback("f3", "c0")  # whose session is there
        assert (first.files, stage.files("f3")) == (True, {"a": "0\n", "b0": "0\n"})
        assert (await checkpoints.rollback("f3", undo=True)).files
        assert await runtime.open("f3").ask("look cat a") == "3"
        again = await checkpoints.fork("f3", "c0", id="g")
        assert await runtime.open(again.id).ask("look cat a") == "0"
        await sessions.delete("f0")
        await sessions.delete("f3")
        assert await runtime.open("g").ask("look cat a b0") == "0\n0"
        await sound(runtime, "g")
    assert (await check(place.url or stage.folder / "roost.db")).faults == []


async def test_what_a_fork_between_has_borrowed_is_there(stage: Stage) -> None:
    """A checkpoint names the session whose home has its files; a fork that went back to it has them since."""
    async with stage.up() as runtime:
        session, sessions = await runtime.session("clerk", id="s"), runtime.sessions
        checkpoints = runtime.checkpoints
        for label in ("one", "two"):
            await session.ask(f"sh echo {label} > a")
            await checkpoints.make("s", label)
        await checkpoints.fork("s", "two", id="f")
        assert (await checkpoints.rollback("f", "one")).files
        for name, of in (("g", "f"), ("h", "g")):
            await runtime.open(of).ask(f"sh echo {of} > a")
            await checkpoints.fork(of, id=name)
        for gone in ("s", "g"):
            await sessions.delete(gone)
        await runtime.node.store.sessions.purge()
        await swept(runtime, stage)
        back = await checkpoints.rollback("h", "one")
        assert (back.files, back.why_no_files, stage.files("h")) == (True, None, {"a": "one\n"})
        await sound(runtime, "h")
    assert (await check(place.url or stage.folder / "roost.db")).faults == []


@pytest.mark.parametrize("order", ["sf", "fs"])
async def test_whoever_goes_first_leaves_it_what_it_has(tmp_path: Path, order: str) -> None:
    """The second is deleted by another node, which knows nothing of this home."""
    stage = Stage(tmp_path, "home")
    memory = tmp_path / "one/workspaces.memory"
    async with stage.up() as runtime:
        sessions = runtime.sessions
        checkpoints = runtime.checkpoints
        await runtime.session("clerk", id="s")
        for source, fork in (("s", "f"), ("f", "h")):
            for name in ("old", "new"):
                await runtime.open(source).ask(f"sh echo {source}-{name} > a")
                await checkpoints.make(source, f"{source}-{name}")
            await checkpoints.fork(source, id=fork)
        await checkpoints.fork("s", id="gone")
        await sessions.delete("gone")
        await sessions.delete(order[0])
        assert not (memory / order[0]).exists()
        await asleep(runtime, runtime.open(order[1]))
        await runtime.node.store.sessions.delete(order[1])
        age(stage)
        await runtime.node.deletions.tidy()
        assert {path.name for path in memory.iterdir() if path.name[0] != "."} == {"h"}
        for name in ("s-old", "f-old", "s-new", "f-new"):
            back = await checkpoints.rollback("h", name)
            assert (back.files, stage.files("h")) == (True, {"a": f"{name}\n"}), back.why_no_files
        await sound(runtime, "h")
        await sessions.delete("h")
        assert not [path for path in memory.iterdir() if path.name[0] != "."]
    assert (await check(place.url or stage.folder / "roost.db")).faults == []


@pytest.mark.parametrize("action", ["pause", "stop"])
async def test_resumed_from_a_checkpoint(stage: Stage, action: ControlAction) -> None:
    async with stage.up() as runtime:
        session, sessions = await runtime.session("clerk", id="s"), runtime.sessions
        checkpoints = runtime.checkpoints
        await session.ask("sh echo 1 > a")
        await checkpoints.make("s", "good")
        await session.ask("sh echo 2 > a")
        await sessions.control("s", "pause")
        waits = asyncio.create_task(session.ask("sh echo never > a"))
        while not (await sessions.get("s")).pending:
            await asyncio.sleep(0.01)
        await sessions.control("s", action)
        await asleep(runtime, session)
        back = await checkpoints.rollback("s", "good", resume=True, key="r")
        assert (back.label, back.files) == ("good", True)
        with pytest.raises(TurnFailed):
            await waits
        assert await session.ask("look cat a") == "1"
        await session.ask("sh echo 3 > a")
        await sessions.control("s", "pause")
        assert await checkpoints.rollback("s", "good", resume=True, key="r") == back
        assert ((await sessions.get("s")).state, stage.files("s")) == ("paused", {"a": "3\n"})
        with pytest.raises(Conflict) as other:
            await checkpoints.rollback("s", "good", key="r")
        assert other.value.code == "idempotency_mismatch"
        with pytest.raises(NotFound):
            await checkpoints.rollback("s", "nowhere", resume=True)
        assert (await sessions.get("s")).state == "paused"
        await sound(runtime, "s")


@one_store
@pytest.mark.parametrize("mark", ["session.rolled_back", "workspace.restored", "session.state"])
async def test_killed_between_going_back_and_going_on(tmp_path: Path, mark: str) -> None:
    stage = Stage(tmp_path, "home")
    async with stage.up() as runtime:
        session, sessions = await runtime.session("clerk", id="s"), runtime.sessions
        checkpoints = runtime.checkpoints
        await session.ask("sh echo 1 > a")
        await checkpoints.make("s", "good")
        await session.ask("sh echo 2 > a")
        await sessions.control("s", "stop")
        await asleep(runtime, session)
    store = Dying(await place.open(tmp_path), mark)
    runtime = Runtime(tmp_path / "one", agents=[clerk()], config=BRISK, store=store)
    await runtime.start()
    with contextlib.suppress(RoostError):
        await runtime.checkpoints.rollback("s", "good", resume=True, key="r", wait=0.0)
    async with asyncio.timeout(30):
        while not store.dead:
            await asyncio.sleep(0.01)
    with contextlib.suppress(RoostError):
        await runtime.stop(grace=0.0)
    async with stage.up() as runtime:
        back = await runtime.checkpoints.rollback("s", "good", resume=True, key="r")
        assert (back.label, back.files) == ("good", True)
        assert await runtime.open("s").ask("look cat a") == "1"
        log = await events(runtime.open("s"), runtime)
        assert sum(isinstance(event, ev.SessionRolledBack) for event in log) == 1
        assert [event.state for event in log if isinstance(event, ev.StateChanged)] == ["running", "stopped", "running"]
        await sound(runtime, "s")


@one_store
async def test_killed_between_dropping_and_removing(tmp_path: Path) -> None:
    stage, kept = Stage(tmp_path, "home"), tmp_path / "one/workspaces.memory/s/snapshots"
    async with stage.up() as runtime:
        session, checkpoints = await runtime.session("clerk", id="s"), runtime.checkpoints
        await session.ask("sh echo 1 > a")
        await checkpoints.make("s", "good")
        await asleep(runtime, session)
    store = Dying(await place.open(tmp_path), "checkpoint.dropped")
    runtime = Runtime(tmp_path / "one", agents=[clerk()], config=BRISK, store=store)
    await runtime.start()
    with contextlib.suppress(RoostError):
        await asyncio.wait_for(runtime.checkpoints.drop("s", "good", key="d"), 30)
    with contextlib.suppress(RoostError):
        await runtime.stop(grace=0.0)
    assert store.dead
    async with stage.up() as runtime:
        await so(lambda: not any(path.is_file() for path in (kept / "snapshots").rglob("*")))
        await so(lambda: not any(path.is_file() for path in (kept / "blobs").rglob("*")))
        assert (await runtime.checkpoints.list("s")).checkpoints == []
        await runtime.open("s").ask("sh echo 2 > a")
        assert (await runtime.checkpoints.make("s", "next")).files
        await sound(runtime, "s")


class Dying(KillingStore):
    """Nothing works any more once an event of the kind was committed."""

    def __init__(self, inner: Store, mark: str) -> None:
        super().__init__(inner)
        self._mark = f'{{"type":"{mark}"'.encode()

    async def append(self, append: Append) -> int:
        head = await super().append(append)
        self.dead = self.dead or any(body.startswith(self._mark) for body in append.bodies)
        return head


async def test_asked_at_another_home(tmp_path: Path) -> None:
    """Where no node of the home that has the files can be asked: nothing is made."""
    async with node(tmp_path, "one", clerk(), config=BRISK) as one, node(tmp_path, "two", clerk(), config=BRISK) as two:
        await (await one.session("clerk", id="s")).ask("sh echo 1 > a")
        await one.checkpoints.make("s", "good")
        with pytest.raises(Conflict) as refused:
            await two.checkpoints.fork("s", "good", id="f")
        assert refused.value.code == "files_elsewhere"
        with pytest.raises(NotFound):
            await two.sessions.get("f")
        assert (await one.checkpoints.fork("s", "good", id="f")).id == "f"
