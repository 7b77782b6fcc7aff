"""Checkpoints, rollbacks and forks: conversation, memory and files go together, and whatever dies on the way, they end
up together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roost.agent.definition import Agent, CheckpointPolicy
from roost.agent.rewind import Folding, gone_back_to
from roost.agent.state import State, encode_state
from roost.errors import Conflict, Invalid, NotFound
from roost.features.checkpoints.events import CheckpointMade
from roost.kernel.check import check
from roost.kernel.home import store_name
from roost.kernel.state_loader import state_at
from roost.kernel.sweep import sweep
from roost.log import events as ev
from roost.log.content import Message, Text, Usage, UserMessage
from roost.models.request import Request
from roost.runtime import Runtime
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.testing.snapshots import on_disk
from roost.workspace.objects import open_objects
from roost.workspace.store import ObjectSnapshots

from .filing import look, obey
from .nodes import node
from .support import BRISK, asleep, events, place, running, so, until
from .undoing import sh

one_store = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def clerk(**options: object) -> Agent:
    return Agent("clerk", model=ScriptedModel(obey), tools=[sh, look], permissions="all", **options)  # type: ignore[arg-type]


class Stage:
    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        (folder / "shared").mkdir()
        self.url = f"file://{folder}/shared" if kind == "store" else None

    @asynccontextmanager
    async def up(self, **options: object) -> AsyncGenerator[Runtime]:
        async with node(self.folder, "one", clerk(**options), config=BRISK, snapshots=self.url) as runtime:
            yield runtime

    def files(self, session: str) -> dict[str, str]:
        folder = self.folder / "one/workspaces" / session
        return {path.name: path.read_text() for path in sorted(folder.iterdir())} if folder.is_dir() else {}


@pytest.fixture(params=["home", "store"])
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Stage:
    return Stage(tmp_path, request.param)


def said(messages: list[Message]) -> list[str]:
    return [
        part.text
        for message in messages
        if isinstance(message, UserMessage)
        for part in message.parts
        if isinstance(part, Text)
    ]


async def heard(runtime: Runtime, session: str) -> list[str]:
    return said(await runtime.sessions.transcript(session))


async def sound(runtime: Runtime, session: str) -> None:
    """The whole log, folded from its beginning, is the state that the store has. The session may go on meanwhile."""
    journal, head = runtime.node.store, (await runtime.sessions.get(session)).head
    found = [record.event for record in await journal.logs.read(session, limit=100_000) if record.seq <= head]
    folding = Folding(State(), gone_back_to(found))
    for event in found:
        folding.add(event)
    assert encode_state(await state_at(journal, session, head)) == encode_state(folding.state)


async def test_back_and_forth(stage: Stage) -> None:
    async with stage.up() as runtime:
        session, sessions = await runtime.session("clerk"), runtime.sessions
        checkpoints = runtime.checkpoints
        await session.ask("sh echo 1 > a")
        made = await checkpoints.make(session.id, "good", key="k")
        assert made.seq == (await sessions.get(session.id)).head
        assert made.files
        again = await checkpoints.make(session.id, "good", key="k")
        assert again == made
        await session.ask("sh echo 2 > a; echo 3 > b")
        usage = (await sessions.inspect(session.id)).usage
        await asleep(runtime, session)
        back = await checkpoints.rollback(session.id, "good", key="r")
        assert (back.to, back.label, back.files, back.why_no_files) == (made.seq, "good", True, None)
        assert await checkpoints.rollback(session.id, "good", key="r") == back
        assert stage.files(session.id) == {"a": "1\n"}
        assert await heard(runtime, session.id) == ["sh echo 1 > a"]
        assert (await sessions.inspect(session.id)).usage == usage
        undone = await checkpoints.rollback(session.id, undo=True)
        assert undone.files
        assert stage.files(session.id) == {"a": "2\n", "b": "3\n"}
        assert await heard(runtime, session.id) == ["sh echo 1 > a", "sh echo 2 > a; echo 3 > b"]
        await checkpoints.rollback(session.id, undo=True)
        assert stage.files(session.id) == {"a": "1\n"}
        assert await session.ask("look cat a") == "1"
        assert [one.label for one in (await checkpoints.list(session.id)).checkpoints][-1] == "good"
        await sound(runtime, session.id)
    found = await check(place.url or stage.folder / "roost.db")
    assert found.faults == []


async def test_a_fork_lives_alone(stage: Stage) -> None:
    async with stage.up() as runtime:
        session, sessions = await runtime.session("clerk", labels={"user": "ann"}), runtime.sessions
        checkpoints = runtime.checkpoints
        await session.ask("sh echo 1 > a")
        fork = await checkpoints.fork(session.id, title="other", labels={"x": "y"}, key="f")
        assert (await checkpoints.fork(session.id, key="f")).id == fork.id
        with pytest.raises(Conflict) as other:
            await checkpoints.fork(session.id, 1, key="f")
        assert other.value.code == "idempotency_mismatch"
        assert (fork.title, fork.labels) == ("other", {"user": "ann", "x": "y"})
        assert stage.files(fork.id) == ({"a": "1\n"} if stage.url is None else {})
        view = await sessions.inspect(fork.id)
        assert (view.usage.output, view.turns) == (0, 1)
        await session.ask("sh echo 2 > a")
        await sessions.delete(session.id)
        assert await runtime.open(fork.id).ask("sh cat a; echo 3 > b") == "1"
        assert stage.files(fork.id) == {"a": "1\n", "b": "3\n"}
        assert await heard(runtime, fork.id) == ["sh echo 1 > a", "sh cat a; echo 3 > b"]
        forked = next(
            event for event in await events(runtime.open(fork.id), runtime) if isinstance(event, ev.SessionForked)
        )
        assert forked.source == session.id
        past = await checkpoints.rollback(fork.id, 1)  # before the fork's own beginning
        assert past.files
        assert stage.files(fork.id) == {}
        assert await heard(runtime, fork.id) == []
        await sound(runtime, fork.id)


async def test_of_a_running_session(stage: Stage) -> None:
    async with stage.up() as runtime:
        session, sessions = await runtime.session("clerk"), runtime.sessions
        checkpoints = runtime.checkpoints
        await session.ask("sh echo 1 > a")
        head = (await sessions.get(session.id)).head
        await sessions.send(session.id, "sh echo 2 > a; sleep 60")
        await session.bus.wait_for(ev.ToolStarted, after=head, timeout=30)
        one, two = await asyncio.gather(checkpoints.fork(session.id), checkpoints.fork(session.id))
        for fork in (one, two):
            assert await heard(runtime, fork.id) == ["sh echo 1 > a"]
        await sessions.send(session.id, "look never")
        back = await checkpoints.rollback(session.id, head)
        assert back.seq is not None
        assert await heard(runtime, session.id) == ["sh echo 1 > a"]
        log = await events(session, runtime)
        assert [event.outcome for event in log if isinstance(event, ev.TurnCompleted)] == [
            "answered",
            "cancelled",
            "cancelled",
        ]
        assert await session.ask("look echo on") == "on"
        await sound(runtime, session.id)


@one_store
async def test_errors_say_what_to_do(stage: Stage) -> None:
    async with stage.up() as runtime:
        session, sessions = await runtime.session("clerk"), runtime.sessions
        checkpoints = runtime.checkpoints
        await session.ask("look ls")
        head = (await sessions.get(session.id)).head
        for wrong in (0, -1, head, head + 1):
            with pytest.raises(Invalid) as refused:
                await checkpoints.rollback(session.id, wrong)
            assert refused.value.code == "no_position"
        for wrong in (0, head + 1):
            with pytest.raises(Invalid):
                await checkpoints.fork(session.id, wrong)
        for work in (checkpoints.rollback(session.id, "x"), checkpoints.fork(session.id, "x")):
            with pytest.raises(NotFound) as missing:
                await work
            assert missing.value.code == "no_checkpoint"
        with pytest.raises(Conflict) as never:
            await checkpoints.rollback(session.id, undo=True)
        assert never.value.code == "nothing_to_undo"
        with pytest.raises(Conflict) as none:
            await checkpoints.rollback(session.id)
        assert none.value.code == "no_checkpoint"
        for label in ("", " ", "12", "x" * 201):
            with pytest.raises(Invalid):
                await checkpoints.make(session.id, label)
        for work in (checkpoints.list("no"), checkpoints.rollback("no", 1), checkpoints.fork("no")):
            with pytest.raises(NotFound):
                await work
        assert (await sessions.get(session.id)).head == head


@one_store
async def test_whatever_the_state(stage: Stage) -> None:
    async with stage.up(checkpoints=CheckpointPolicy(at_pause=False)) as runtime:
        session, sessions = await runtime.session("clerk"), runtime.sessions
        checkpoints = runtime.checkpoints
        await session.ask("sh echo 1 > a")
        await sessions.control(session.id, "pause")
        assert (await checkpoints.make(session.id, "paused")).seq is not None
        await sessions.control(session.id, "resume")
        await session.ask("sh echo 2 > a")
        await sessions.control(session.id, "stop")
        assert (await checkpoints.rollback(session.id, "paused")).files
        assert (await sessions.get(session.id)).state == "stopped"
        assert stage.files(session.id) == {"a": "1\n"}
        fork = await checkpoints.fork(session.id)
        assert await runtime.open(fork.id).ask("look cat a") == "1"
        with pytest.raises(Conflict):
            await sessions.send(session.id, "look ls")
        await sessions.control(session.id, "start")
        assert await session.ask("look cat a") == "1"
        causes = [one.cause for one in (await checkpoints.list(session.id)).checkpoints]
        assert causes[-3:] == ["rollback", "stop", "manual"]


@one_store
async def test_by_themselves(stage: Stage) -> None:
    policy = CheckpointPolicy(every_steps=2, before_risky=True, keep=2)
    async with stage.up(checkpoints=policy) as runtime:
        session, sessions = await runtime.session("clerk"), runtime.sessions
        checkpoints = runtime.checkpoints
        await session.ask("look ls\nlook ls\nsh echo 1 > a\nlook ls\nlook ls")
        log = await events(session, runtime)
        made = [event for event in log if isinstance(event, CheckpointMade)]
        assert {event.cause for event in made} == {"interval", "risky"}
        risky = next(place for place, event in enumerate(log) if event in made and event.cause == "risky")  # type: ignore[union-attr]
        following = next(event for event in log[risky:] if isinstance(event, ev.ToolStarted))
        assert following.name == "sh"
        await checkpoints.make(session.id, "mine")
        await session.ask("look ls\nlook ls\nlook ls\nlook ls")
        await sessions.control(session.id, "pause")
        async with asyncio.timeout(30):
            while (await checkpoints.list(session.id)).checkpoints[0].cause != "pause":
                await asyncio.sleep(0.01)
        kept = (await checkpoints.list(session.id)).checkpoints
        assert len([one for one in kept if one.cause != "manual"]) == 2
        await checkpoints.drop(session.id, "mine")
        assert "manual" not in {one.cause for one in (await checkpoints.list(session.id)).checkpoints}
        with pytest.raises(NotFound):
            await checkpoints.drop(session.id, "mine")
        await sound(runtime, session.id)


async def test_dropping_checkpoints_frees_disk(tmp_path: Path) -> None:
    """All that only dropped checkpoints needed goes, also while the log still names it; what is kept can be gone back
    to, and what is saved next is whole."""
    stage, kept = Stage(tmp_path, "home"), tmp_path / "one/workspaces.memory"
    async with stage.up() as runtime:
        session, checkpoints = await runtime.session("clerk", id="s"), runtime.checkpoints
        for count in range(12):
            await session.ask(f"sh head -c 300000 /dev/urandom | base64 > a; echo {count} > n")
            await checkpoints.make("s", f"c{count}")
        full = on_disk(kept / "s")
        assert full > 12 * 300_000
        fork = await checkpoints.fork("s", "c3", id="f")
        await checkpoints.rollback("s", "c5")
        for one in (await checkpoints.list("s")).checkpoints:
            if one.label != "c2":
                await checkpoints.drop("s", one.seq)
        await so(lambda: _snapshots(kept / "s") == 1)
        assert on_disk(kept / "s") < full / 6
        await session.ask("sh echo more > b")
        again = await checkpoints.make("s", "again")
        await checkpoints.rollback("s", "c2")
        assert stage.files("s")["n"] == "2\n"
        await checkpoints.rollback("s", "again")
        assert (stage.files("s")["n"], stage.files("s")["b"], again.files) == ("5\n", "more\n", True)
        back = await checkpoints.rollback(fork.id, "c1")  # which only its source had, and has dropped
        assert (back.files, stage.files(fork.id)["n"]) == (True, "1\n")
        for one in (await checkpoints.list("s")).checkpoints:
            await checkpoints.drop("s", one.seq)
        await so(lambda: _snapshots(kept / "s") == 0)
        assert on_disk(kept / "s/snapshots") < 100_000
        await session.ask("sh echo end > b")
        await checkpoints.make("s", "end")
        await checkpoints.rollback("s", "end")
        assert stage.files("s")["b"] == "end\n"
        await sound(runtime, "s")
    assert (await check(place.url or tmp_path / "roost.db")).faults == []


async def test_what_changed_since_a_checkpoint(stage: Stage, tmp_path: Path) -> None:
    async with stage.up() as runtime:
        session, checkpoints = await runtime.session("clerk", id="s"), runtime.checkpoints
        await session.ask("sh seq 9 > n; echo old > gone; head -c 99 /dev/zero > z; echo same > same; seq 99999 > big")
        await checkpoints.make("s", "one")
        await session.ask(
            "sh sed -i s/5/five/ n; rm gone; head -c 98 /dev/zero > z; mkdir d; echo new > d/new; seq 9 > big"
        )
        two = await checkpoints.make("s", "two")
        found = await checkpoints.diff("s", since="one", until="two")
        assert [(one.path, one.change, one.why_no_diff) for one in found.changes] == [
            ("big", "changed", "too_large"),
            ("d/new", "added", None),
            ("gone", "removed", None),
            ("n", "changed", None),
            ("z", "changed", "binary"),
        ]
        assert (found.added, found.removed, found.changed, found.until) == (1, 1, 3, two.seq)
        text = next(one.diff for one in found.changes if one.path == "n") or ""
        assert text.startswith("--- a/n\n+++ b/n\n@@ -2,7 +2,7 @@\n")
        assert "\n-5\n+five\n" in text
        assert (await checkpoints.diff("s", since="one")).changes == found.changes
        assert (
            (await checkpoints.diff("s")).changes
            == (await checkpoints.diff("s", since=two.seq, until=two.seq)).changes
            == []
        )
        await session.ask("sh echo later > same")
        assert [one.path for one in (await checkpoints.diff("s")).changes] == ["same"]
        back = await checkpoints.diff("s", since="two", until="one")
        assert (back.added, back.removed) == (1, 1)
        fork = await checkpoints.fork("s", "two", id="f")
        assert (await checkpoints.diff(fork.id, since="one", until="two")).changes == found.changes
        with pytest.raises(NotFound) as unknown:
            await checkpoints.diff("s", since="nowhere")
        assert unknown.value.code == "no_checkpoint"
        (tmp_path / "mine").mkdir()
        mine = await runtime.session("clerk", workspace=str(tmp_path / "mine"))
        await mine.ask("sh echo 1 > a")
        await checkpoints.make(mine.id, "one")
        with pytest.raises(Conflict) as none:
            await checkpoints.diff(mine.id, since="one")
        assert none.value.code == "no_files"


def _snapshots(memory: Path) -> int:
    return sum(path.is_file() for path in (memory / "snapshots/snapshots").rglob("*"))


@one_store
async def test_where_it_goes_back_to_is_not_dropped_on_the_way(stage: Stage) -> None:
    async with stage.up(checkpoints=CheckpointPolicy(keep=1)) as runtime:
        session, sessions = await runtime.session("clerk"), runtime.sessions
        checkpoints = runtime.checkpoints
        await session.ask("sh echo 1 > a")
        await sessions.control(session.id, "pause")
        await asleep(runtime, session)
        (paused,) = (await checkpoints.list(session.id)).checkpoints
        await sessions.control(session.id, "resume")
        await session.ask("sh echo 2 > a")
        back = await checkpoints.rollback(session.id, paused.seq)
        assert (back.files, back.why_no_files) == (True, None)
        assert stage.files(session.id) == {"a": "1\n"}
        assert (await checkpoints.rollback(session.id, undo=True)).files
        assert stage.files(session.id) == {"a": "2\n"}


@one_store
async def test_own_folders_stay(stage: Stage, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    async with stage.up() as runtime:
        session, checkpoints = await runtime.session("clerk", workspace=str(own)), runtime.checkpoints
        await session.ask("sh echo 1 > a")
        made = await checkpoints.make(session.id)
        assert not made.files
        assert "folder" in (made.why_no_files or "")
        await session.ask("sh echo 2 > a")
        back = await checkpoints.rollback(session.id)
        assert (back.files, (own / "a").read_text()) == (False, "2\n")
        assert "folder" in (back.why_no_files or "")
        fork = await checkpoints.fork(session.id)
        assert fork.workspace == str(own)


async def test_the_shared_store_keeps_what_checkpoints_need(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "store")
    async with stage.up() as runtime:
        session, sessions = await runtime.session("clerk"), runtime.sessions
        checkpoints = runtime.checkpoints
        await session.ask("sh echo 1 > a")
        await checkpoints.make(session.id, "good")
        await session.ask("sh echo 2 > a")
        position = (await sessions.get(session.id)).head
        await session.ask("sh echo 3 > a")
        store = runtime.node.store
        objects = open_objects(stage.url or "")
        later = ObjectSnapshots(objects, owner=await store_name(store), clock=lambda: 10_000_000_000.0)
        assert (await sweep(store, later)).kept
        later.close()
        fork = runtime.open((await checkpoints.fork(session.id, position)).id)
        assert await fork.ask("look cat a") == "1"  # the newest before it that is kept
        forked = next(event for event in await events(fork, runtime) if isinstance(event, ev.SessionForked))
        assert "newest one before" in (forked.why_no_files or "")
        assert (await checkpoints.rollback(session.id, "good")).files
        assert stage.files(session.id) == {"a": "1\n"}


@one_store
async def test_what_it_remembers_goes_back(tmp_path: Path) -> None:
    facts = ["the port is 8080", "the office is in Oslo"]

    def answer(request: Request) -> Answer | str:
        if isinstance(request.messages[-1], UserMessage):
            asked = sum(isinstance(message, UserMessage) for message in request.messages)
            return Answer(calls=(Call("remember", {"text": facts[asked - 1], "scope": "agent"}),))
        return "done"

    clerk = Agent("clerk", model=ScriptedModel(answer), tools=["remember"], permissions="all")
    async with running(tmp_path, clerk) as runtime:

        async def known() -> set[str]:
            return {fact.text for fact in (await runtime.memory.list(space="agent:clerk")).facts}

        session, checkpoints = await runtime.session("clerk"), runtime.checkpoints
        await session.ask("first")
        await checkpoints.make(session.id, "good")
        await session.ask("second")
        assert await known() == set(facts)
        await checkpoints.rollback(session.id, "good")
        assert await known() == {facts[0]}
        await checkpoints.rollback(session.id, undo=True)
        assert await known() == set(facts)
        await checkpoints.rollback(session.id, 1)
        assert await known() == set()
        await sound(runtime, session.id)


@one_store
async def test_while_a_call_waits_for_a_person(tmp_path: Path) -> None:
    clerk = Agent("clerk", model=ScriptedModel(obey), tools=[sh, look], permissions="ask")
    async with running(tmp_path, clerk) as runtime:
        session, sessions = await runtime.session("clerk"), runtime.sessions
        checkpoints = runtime.checkpoints
        await session.ask("look echo 1")
        await sessions.send(session.id, "sh echo 2 > a")
        await until(session, ev.ApprovalRequested)
        await asleep(runtime, session)
        waiting = await checkpoints.make(session.id, "asked")
        assert waiting.seq is not None
        assert len((await sessions.inspect(session.id)).approvals) == 1
        fork = await checkpoints.fork(session.id, "asked")
        assert (fork.phase, (await sessions.inspect(fork.id)).approvals) == ("idle", ())
        await sessions.emit(session.id, "later")
        await checkpoints.rollback(session.id, "asked")
        view = await sessions.inspect(session.id)
        assert (view.approvals, view.info.phase, dict(view.timers)) == ((), "idle", {})
        assert await session.ask("look echo on") == "on"
        await sound(runtime, session.id)


@one_store
async def test_a_fork_is_charged_for_its_own(tmp_path: Path) -> None:
    model = ScriptedModel(lambda _: Answer(text="yes", usage=Usage(10, 5, 0, 700)))
    async with running(tmp_path, Agent("clerk", model=model)) as runtime:
        session = await runtime.session("clerk")
        await session.ask("one")
        fork = runtime.open((await runtime.checkpoints.fork(session.id, key="f")).id)
        first = await fork.ask("two", key="k")
        assert await fork.ask("two", key="k") == first
        assert (await fork.inspect()).usage.cost == 700
        found = await runtime.costs.get(by="session")
        assert {row.name: row.cost for row in found.rows} == {session.id: 700, fork.id: 700}
