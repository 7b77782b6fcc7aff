"""Sleep and wake, graceful stop, takeover, timers, time-outs and clean-up."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from pathlib import Path

import msgspec
import pytest

from roost.agent.definition import Unattended
from roost.agent.model_step import CRASHES
from roost.agent.session import Session
from roost.errors import NotFound
from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.log.content import Text
from roost.log.dispatch import NodeCard
from roost.log.inputs import ControlInput, MessageInput
from roost.log.protocols import Append, NewSession, Snapshot
from roost.policy.gate import Permissions
from roost.runtime import Runtime, SessionHandle
from roost.sandbox.choose import Isolation
from roost.sandbox.containers.bwrap import BwrapBackend
from roost.testing.clock import MovedClock
from roost.testing.scripted import Answer

from .support import FAST, Traces, agent, asleep, calling, events, kinds, outcomes, place, running, said, so, until


async def test_an_idle_session_is_not_in_memory(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        sessions = [await runtime.session("a") for _ in range(50)]
        await asyncio.gather(*(session.ask("hi") for session in sessions))
        tasks = len(asyncio.all_tasks())
        for session in sessions:
            await asleep(runtime, session)
        await so(lambda: not runtime.node.slots.live and len(asyncio.all_tasks()) <= tasks)
        await so(lambda: gc.collect() >= 0 and not [one for one in gc.get_objects() if isinstance(one, Session)])
        assert await sessions[7].ask("again") == "x"


async def test_a_runtime_that_is_started_again_serves_from_its_new_node(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path, agents=[agent(["x"])])
    for _ in range(2):
        async with runtime:
            assert (await runtime.memory.list()).facts == []
            assert (await runtime.schedules.list()).schedules == []


async def test_the_collector_looks_less_often_unless_the_program_says_otherwise(tmp_path: Path) -> None:
    before = gc.get_threshold()
    try:
        for young, then in ((700, 10_000), (50_000, 50_000), (0, 0)):
            gc.set_threshold(young, *before[1:])
            async with running(tmp_path / f"{young}", agent(["x"])):
                assert gc.get_threshold() == (then, *before[1:])
    finally:
        gc.set_threshold(*before)


@pytest.mark.long
async def test_a_thousand_sessions_at_once(tmp_path: Path) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling("look"), "done"], traces.tools())) as runtime:
        sessions = await asyncio.gather(*(runtime.session("a") for _ in range(1000)))
        answers = await asyncio.gather(*(session.ask("hi") for session in sessions))
        assert answers == ["done"] * 1000
        assert len(traces.done) == 1000


async def test_more_sessions_than_may_live_at_once(tmp_path: Path) -> None:
    config = KernelConfig(linger=0.0, scan=0.05, max_live=3)
    async with running(tmp_path, agent([Answer(text="x", delay=0.02)]), config=config) as runtime:
        sessions = await asyncio.gather(*(runtime.session("a") for _ in range(20)))
        asking = asyncio.gather(*(session.ask("hi") for session in sessions))
        most = 0
        while not asking.done():
            most = max(most, len(runtime.node.slots.live))
            await asyncio.sleep(0.005)
        assert await asking == ["x"] * 20
        assert most <= 3


@pytest.mark.parametrize(("name", "began", "outcome"), [("safe", 2, "ok"), ("never", 1, "interrupted")])
async def test_graceful_stop_in_a_tool_carries_on_later(tmp_path: Path, name: str, began: int, outcome: str) -> None:
    traces = Traces()
    crew = agent([calling(name), "end"], traces.tools())
    async with running(tmp_path, crew) as runtime:
        session = await runtime.session("a")
        accepted = await session.send("hi")
        await traces.started.wait()
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 30
    assert traces.cut == [name]
    traces.gate.set()
    async with running(tmp_path, crew) as runtime:
        session = runtime.open(session.id)
        assert await session.answer(accepted.id) == "end"
        assert len(traces.began) == began
        assert len(set(traces.keys)) == 1
        assert set(outcomes(await events(session, runtime)).values()) == {outcome}


async def asks(session: SessionHandle, runtime: Runtime, cause: str) -> ev.ApprovalRequested | None:
    log = await events(session, runtime)
    return next((one for one in log if isinstance(one, ev.ApprovalRequested) and one.cause == cause), None)


@pytest.mark.parametrize(("permissions", "unattended"), [("all", "ask"), ("workspace", "tell")])
async def test_a_rule_of_ask_asks_before_it_runs_again(
    tmp_path: Path, permissions: Permissions, unattended: Unattended
) -> None:
    traces = Traces()
    crew = agent([calling("ask"), "end"], traces.tools(), permissions=permissions, unattended=unattended)
    async with running(tmp_path, crew) as runtime:
        session = await runtime.session("a")
        accepted = await session.send("hi")
        if permissions == "workspace":  # a tool of Python runs outside of the wall
            await session.approve((await until(session, ev.ApprovalRequested)).call)
        await traces.started.wait()
    traces.gate.set()
    async with running(tmp_path, crew) as runtime:
        session = runtime.open(session.id)
        async with asyncio.timeout(60):
            while not (asked := await asks(session, runtime, "replay")):
                await asyncio.sleep(0.05)
        assert traces.began == ["ask"]
        await session.approve(asked.call)
        assert await session.answer(accepted.id) == "end"
        assert traces.began == ["ask", "ask"]


async def test_messages_accepted_while_nothing_runs_are_answered(tmp_path: Path) -> None:
    crew = agent(["x"])
    async with running(tmp_path, crew) as runtime:
        session = await runtime.session("a")
        await session.ask("first")
    journal = await place.open(tmp_path)
    accepted = [await journal.inboxes.accept(session.id, MessageInput((Text(str(n)),)), key=str(n)) for n in range(3)]
    await journal.close()
    async with running(tmp_path, crew) as runtime:
        session = runtime.open(session.id)
        for one in accepted:
            assert await session.answer(one.id) == "x"
        assert said(await events(session, runtime)) == ["first", "0", "1", "2"]


async def test_two_runtimes_share_a_home(tmp_path: Path) -> None:
    """Each session runs in one at a time; either may be spoken to."""
    crew = agent([Answer(text="x", delay=0.01)])
    async with running(tmp_path, crew) as first, running(tmp_path, crew) as second:
        session = await first.session("a")
        here, there = first.open(session.id), second.open(session.id)
        for number in range(3):
            assert await here.ask(f"{number}") == "x"
            assert await there.ask(f"{number}") == "x"
        log = await events(here, first)
        assert kinds(log).count("turn.completed") == 6
        assert kinds(log).count("model.completed") == 6


async def test_a_cancel_reaches_the_runtime_that_runs_the_session(tmp_path: Path) -> None:
    async with running(tmp_path, agent([Answer(text="x", delay=30)])) as first:
        session = await first.session("a")
        await session.send("hi")
        await until(session, ev.ModelStarted)
        async with running(tmp_path, agent(["y"])) as second:
            await second.open(session.id).control("cancel")
            assert (await until(session, ev.TurnCompleted)).outcome == "cancelled"


async def test_timer_speaks_once_and_survives_a_restart(tmp_path: Path, clock: MovedClock) -> None:
    crew = agent(["awake"])
    async with running(tmp_path, crew) as runtime:
        session = await runtime.session("a")
        await runtime.sessions.set_timer(session.id, "tea", time.time() + 60, "tea is ready")
        await runtime.sessions.set_timer(session.id, "never", time.time() + 60, "cleared")
        await runtime.sessions.clear_timer(session.id, "never")
        await until(session, ev.TimerCleared)
        assert list((await session.inspect()).timers) == ["tea"]
    await clock.sleep(61)
    async with running(tmp_path, crew) as runtime:
        session = runtime.open(session.id)
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
        assert said(log) == ["tea is ready"]
        assert kinds(log).count("timer.fired") == 1
        assert (await session.inspect()).timers == {}
        await clock.sleep(0.5)
        assert said(await events(session, runtime)) == ["tea is ready"]


async def test_timer_comes_on_time(tmp_path: Path) -> None:
    config = KernelConfig(linger=0.05, scan=600.0, lease=60.0)
    async with running(tmp_path, agent(["awake"]), config=config) as runtime:
        session = await runtime.session("a")
        due = time.time() + 0.5
        await runtime.sessions.set_timer(session.id, "t", due, "now")
        fired = await until(session, ev.TimerFired)
        assert due <= fired.at < due + config.lease / 4, "it came with a heartbeat or a scan"


async def test_delete_cuts_what_runs_and_leaves_nothing(tmp_path: Path) -> None:
    traces = Traces()
    async with running(tmp_path, agent([calling("never"), "x"], traces.tools())) as runtime:
        session = await runtime.session("a")
        await session.send("hi")
        await traces.started.wait()
        folder = tmp_path / "workspaces" / session.id
        assert not folder.exists()  # nothing has needed it so far
        folder.mkdir(parents=True)
        await session.delete()
        assert traces.cut == ["never"]
        assert not folder.exists()
        assert list((tmp_path / "workspaces/.bin").iterdir()) == []
        with pytest.raises(NotFound):
            await session.inspect()
        with pytest.raises(NotFound):
            await session.delete()


async def test_a_deletion_that_a_crash_cut_is_finished_or_undone(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        kept, gone = [await runtime.session("a") for _ in range(2)]
        for session in (kept, gone):
            await session.ask("hi")
            await asleep(runtime, session)
            (tmp_path / "workspaces" / session.id).mkdir(parents=True)
            (tmp_path / "workspaces" / session.id / "file.txt").write_text("mine")
            runtime.node.resources.throw_away(session.id)
        await runtime.node.store.sessions.delete(gone.id)
    async with running(tmp_path, agent(["x"])):
        assert (tmp_path / "workspaces" / kept.id / "file.txt").read_text() == "mine"
        assert sorted(path.name for path in (tmp_path / "workspaces").iterdir()) == [".bin", kept.id]
        async with asyncio.timeout(30):
            while list((tmp_path / "workspaces/.bin").iterdir()):
                await asyncio.sleep(0.01)


async def test_old_sessions_are_stopped_and_stopped_ones_deleted(tmp_path: Path, clock: MovedClock) -> None:
    config = KernelConfig(linger=0.02, scan=0.1, session_timeout=0.3, retention=8.0, cleanup_every=0.1)
    async with running(tmp_path, agent(["x"]), config=config) as runtime:
        session = await runtime.session("a")
        await session.ask("hi")
        stopped = await until(session, ev.StateChanged, after=3)
        assert stopped.state == "stopped"

        async def until_gone() -> None:
            while True:
                await runtime.sessions.get(session.id)
                await asyncio.sleep(0.05)

        await asleep(runtime, session)
        clock.skip(8.0)
        with pytest.raises(NotFound):
            await asyncio.wait_for(until_gone(), 30)


async def test_old_sessions_are_stopped_however_many_newer_ones_are_busy(tmp_path: Path) -> None:
    """Nobody runs them: it is all about who looks at which."""
    store = await place.open(tmp_path)
    await store.sessions.create(NewSession(id="old", agent="a", version="1", needs=("none",)), [])
    busy = [NewSession(id=f"busy{number}", agent="a", version="1", needs=("none",)) for number in range(1100)]
    await asyncio.gather(*(store.sessions.create(one, []) for one in busy))
    await asyncio.gather(*(store.inboxes.accept(one.id, MessageInput((Text("hello"),))) for one in busy))
    config = KernelConfig(scan=0.1, session_timeout=0.05, cleanup_every=0.1)
    async with running(tmp_path, agent(["x"]), config=config), asyncio.timeout(30):
        while not (pending := await store.inboxes.pending("old")):
            await asyncio.sleep(0.05)
    assert [item.input for item in pending] == [ControlInput("stop", "unused")]
    assert len(await store.inboxes.pending("busy7")) == 1
    await store.close()


async def test_a_log_that_cannot_be_read_sets_its_session_aside(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        broken, fine = [await runtime.session("a") for _ in range(2)]
        journal = runtime.node.store
        await journal.dispatch.beat(NodeCard(id="other"), ttl=60)
        (claim,) = await journal.dispatch.claim("other", session=broken.id)
        future = b'{"type":"dream.started","at":1.0}'
        await journal.logs.append(
            Append(session=broken.id, epoch=claim.epoch, expected=1, bodies=[future], release=True)
        )
        await broken.send("hi")
        assert await fine.ask("hi") == "x"
        async with asyncio.timeout(30):
            while (info := await runtime.sessions.get(broken.id)).state != "error":
                await asyncio.sleep(0.02)
        assert info.owner is None


async def test_a_snapshot_bounds_the_tail(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["word " * 200])) as runtime:
        session = await runtime.session("a")
        for number in range(120):
            await session.ask(str(number))
        snapshot = await runtime.node.store.logs.snapshot(session.id)
        assert snapshot is not None
        info = await runtime.sessions.get(session.id)
        assert info.head - snapshot.seq < 300
        view = await session.inspect()
        assert (view.turns, view.steps) == (120, 120)


async def test_a_workspace_of_yours_is_used_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("the key is under the mat")
    reader = agent([calling("read_file", path="notes.txt"), "end"], ["read_file"], permissions="workspace")
    async with running(tmp_path / "home", reader) as runtime:
        session = await runtime.session("a", workspace=str(folder))
        await session.ask("where?")
        log = await events(session, runtime)
        (result,) = [event for event in log if isinstance(event, ev.ToolCompleted)]
        assert result.outcome == "ok"
        assert b"under the mat" in msgspec.json.encode(result)
        await session.delete()
        assert (folder / "notes.txt").exists()


@pytest.mark.one_on_postgres
@pytest.mark.parametrize(("private", "level", "asked"), [(True, 0, False), (False, 0, True), (False, 1, False)])
async def test_writing_asks_only_in_a_folder_of_yours_without_a_wall(
    tmp_path: Path, private: bool, level: int, asked: bool
) -> None:
    if level and not (await BwrapBackend().probe()).able:
        pytest.skip("no level 1 here")
    writer = agent(
        [calling("write_file", path="out.txt", content="hello"), "end"],
        ["write_file"],
        permissions="workspace",
    )
    writer = writer.replace(isolation=Isolation(prefers=level))
    async with running(tmp_path / "home", writer) as runtime:
        folder = tmp_path / "mine"
        folder.mkdir()
        session = await runtime.session("a", workspace=None if private else str(folder))
        await session.send("write")
        await until(session, ev.ApprovalRequested if asked else ev.TurnCompleted)
        root = tmp_path / "home" / "workspaces" / session.id if private else folder
        assert (root / "out.txt").exists() is not asked


async def test_the_runtime_needs_nothing_but_a_folder(tmp_path: Path) -> None:
    async with Runtime(tmp_path / "new" / "home", agents=[agent(["hello"])], config=FAST) as runtime:
        session = await runtime.session("a")
        assert await session.ask("hi") == "hello"


async def test_a_kernel_of_some_sessions_leaves_the_others_to_the_next(tmp_path: Path, clock: MovedClock) -> None:
    mine: set[str] = {"deleted-long-ago"}
    async with running(tmp_path, agent(["x"]), config=msgspec.structs.replace(FAST, only=mine)) as runtime:
        one, other = await runtime.session("a"), await runtime.session("a")
        mine.add(one.id)
        waiting = await other.send("hi")
        assert await one.ask("hi") == "x"
        await clock.sleep(0.5)
        assert (await runtime.sessions.get(other.id)).pending == 1
        await asleep(runtime, one)
        epoch = (await runtime.sessions.get(one.id)).epoch
        await clock.sleep(0.5)
        assert (await runtime.sessions.get(one.id)).epoch == epoch
    async with running(tmp_path, agent(["x"])) as runtime:
        assert await runtime.open(other.id).answer(waiting.id) == "x"


async def test_a_start_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(OSError):
        await Runtime(tmp_path, agents=[agent(["hello"])], config=FAST).start()
    assert not list(tmp_path.glob("roost.db-*"))
    (tmp_path / "run").unlink()
    async with running(tmp_path, agent(["hello"])) as runtime:
        assert await (await runtime.session("a")).ask("hi") == "hello"


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_commands_of_a_runtime_that_died_are_ended_by_the_next_and_those_of_a_living_one_are_not(
    tmp_path: Path,
) -> None:
    script = (
        "import asyncio, sys\n"
        "from roost.runtime import Runtime\n"
        "async def main():\n"
        "    async with Runtime(sys.argv[1]) as runtime:\n"
        "        await runtime.sandboxes.process.exec(['sh', '-c', f'echo $$ > {sys.argv[2]}; sleep 300'], cwd='/')\n"
        "asyncio.run(main())\n"
    )
    pids = [tmp_path / name for name in ("dead", "living")]
    owners = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path / "home"), str(path))
        for path in pids
    ]
    async with asyncio.timeout(30):
        while not all(path.exists() and path.read_text().strip() for path in pids):
            await asyncio.sleep(0.05)
    dead, living = (int(path.read_text()) for path in pids)
    owners[0].kill()
    await owners[0].wait()
    async with running(tmp_path / "home", agent(["x"])):
        assert (_runs(dead), _runs(living)) == (False, True)
    owners[1].terminate()
    await owners[1].wait()
    os.killpg(living, signal.SIGKILL)


@pytest.mark.parametrize("state", ["created", "running", "paused", "stopped"])
async def test_events_of_a_program_are_taken_in_any_state(tmp_path: Path, state: str) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        session = await runtime.session("a")
        orders = {"running": ["start"], "paused": ["start", "pause"], "stopped": ["start", "stop"]}
        for order in orders.get(state, []):
            await session.control(order)  # type: ignore[arg-type]
        await session.bus.emit("mine", 1)
        async with asyncio.timeout(30):
            while (await runtime.sessions.get(session.id)).pending:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert kinds(await events(session, runtime)).count("emitted") == 1
        assert (await runtime.sessions.get(session.id)).pending == 0
        assert (await runtime.sessions.get(session.id)).state == state


async def test_a_snapshot_of_another_version_is_not_read(tmp_path: Path) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        session = await runtime.session("a")
        await session.ask("one")
        await asleep(runtime, session)
        journal = runtime.node.store
        await journal.dispatch.beat(NodeCard(id="other"), ttl=60)
        (claim,) = await journal.dispatch.claim("other", session=session.id)
        old = Snapshot(claim.info.head, 0, b"the shape of another version")
        head = claim.info.head
        await journal.logs.append(
            Append(session=session.id, epoch=claim.epoch, expected=head, snapshot=old, release=True)
        )
        assert await session.ask("two") == "x"
        view = await session.inspect()
        assert (view.turns, view.steps) == (2, 2)
        assert said(await events(session, runtime)) == ["one", "two"]


@pytest.mark.parametrize(("attempt", "outcome"), [(CRASHES - 1, "answered"), (CRASHES, "failed")])
async def test_a_call_that_brings_the_daemon_down_is_not_made_for_ever(
    tmp_path: Path, attempt: int, outcome: str
) -> None:
    async with running(tmp_path, agent(["x"])) as runtime:
        session = await runtime.session("a")
        journal = runtime.node.store
        await journal.dispatch.beat(NodeCard(id="other"), ttl=60)
        (claim,) = await journal.dispatch.claim("other", session=session.id)
        crashed = [
            ev.StateChanged(at=1.0, state="running"),
            ev.InputReceived(at=1.0, input=1, parts=(Text("hi"),)),
            ev.TurnStarted(at=1.0, turn=1, input=1),
            ev.ModelStarted(at=1.0, step=1, model="scripted", attempt=attempt),
        ]
        await journal.logs.append(
            Append(
                session=session.id,
                epoch=claim.epoch,
                expected=1,
                bodies=[ev.encode_event(event) for event in crashed],
                state="running",
                phase="working",
                release=True,
            )
        )
        runtime.node.scan()
        assert (await until(session, ev.TurnCompleted)).outcome == outcome
