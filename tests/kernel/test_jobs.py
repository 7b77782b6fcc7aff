"""Commands in the background: the session stays awake for them, and their end is told, once, whatever happens."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.features.jobs.events import JobEnded
from roost.log import events as ev
from roost.log.content import AssistantMessage, Text, ToolMessage, UserMessage
from roost.models.request import Request
from roost.policy.hooks import Answer as HookAnswer
from roost.policy.hooks import Moment, PythonHook
from roost.policy.loading import Policy
from roost.policy.vault import SecretSource
from roost.runtime import Runtime, SessionHandle
from roost.sandbox.backend import Terminal
from roost.testing.clock import MovedClock
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.tools.background_jobs import jobs_of
from roost.tools.base import Tool, ToolContext
from roost.tools.function import tool

from .policies import under
from .support import BRISK, asleep, calling, events, kinds, of_limits, running

pytestmark = pytest.mark.one_on_postgres

Step = Answer | str | Callable[[str], Answer]
_BEAT = "while :; do echo x >> {}; sleep 0.02; done"
_BEATS = 20
_TOOLS = ("shell", "shell_start", "shell_output", "shell_stop", "python")


def start(command: str, **more: object) -> Answer:
    return calling("shell_start", command=command, **more)


def hearing(steps: Sequence[Step], name: str = "a", tools: Sequence[Tool] = (), **options: object) -> Agent:
    """One that goes through the steps in each turn, and says `heard` when it is told of a job. A step may be a function
    of the last job's id."""

    def answer(request: Request) -> Answer | str:
        last = max(n for n, message in enumerate(request.messages) if isinstance(message, UserMessage))
        if said_of(request.messages[last]).startswith("[job-"):
            return "heard"
        step = steps[min(sum(isinstance(one, AssistantMessage) for one in request.messages[last:]), len(steps) - 1)]
        if not callable(step):
            return step
        return step(re.findall(r"\[(job-\w+) ", "".join(map(said_of, request.messages)))[-1])

    model = ScriptedModel(answer)
    return Agent(name, model=model, tools=(*_TOOLS, *tools), permissions="all", **options)  # type: ignore[arg-type]


def said_of(message: object) -> str:
    if not isinstance(message, UserMessage | ToolMessage):
        return ""
    return "".join(part.text for part in message.parts if isinstance(part, Text))


def results(log: Sequence[ev.Event]) -> list[str]:
    done = [event for event in log if isinstance(event, ev.ToolCompleted)]
    return [part.text for event in done for part in event.parts if isinstance(part, Text) and not of_limits(part.text)]


def messages(log: Sequence[ev.Event]) -> list[str]:
    """What the jobs' ends have said."""
    told = [event for event in log if isinstance(event, ev.InputReceived) and event.source is not None]
    assert all((event.source or "").startswith("job:") for event in told)
    return ["\n".join(part.text for part in event.parts if isinstance(part, Text)) for event in told]


def ends(log: Sequence[ev.Event]) -> list[tuple[str, bool]]:
    return [(event.outcome, event.told) for event in log if isinstance(event, JobEnded)]


async def beats(file: Path) -> bool:
    """Whether something writes to it: true of what runs at any level of isolation. Beside it a process of the test's
    writes as often: once that has written 20 times, the other had its time too, however slow the machine is."""
    before = _size(file)
    with tempfile.NamedTemporaryFile() as other:
        process = await asyncio.create_subprocess_exec("sh", "-c", _BEAT.format(other.name))
        try:
            async with asyncio.timeout(60):
                while _size(Path(other.name)) < 2 * _BEATS and _size(file) <= before:
                    await asyncio.sleep(0.02)
        finally:
            process.kill()
            await process.wait()
    return _size(file) > before


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


async def begins(file: Path) -> None:
    async with asyncio.timeout(30):
        while not file.exists():
            await asyncio.sleep(0.02)


async def over(runtime: Runtime, session: SessionHandle, turns: int) -> list[ev.Event]:
    """Once so many turns have ended and it sleeps."""
    async with asyncio.timeout(30):
        while True:
            log = await events(session, runtime)
            if kinds(log).count("turn.completed") >= turns:
                await asleep(runtime, session, seconds=30)
                return await events(session, runtime)
            await asyncio.sleep(0.02)


async def test_an_end_after_the_turn_begins_a_new_one(tmp_path: Path) -> None:
    command = "until [ -e go ]; do sleep 0.02; done; echo out; exit 3"
    async with running(tmp_path, hearing([start(command), "started"])) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "started"
        await asyncio.sleep(3 * BRISK.linger)
        info = await runtime.sessions.get(session.id)
        assert (info.phase, info.owner is not None) == ("working", True)
        [job] = (await session.inspect()).jobs
        assert (job.command, job.due > time.time() + 3000) == (command, True)
        (runtime.node.resources.private(session.id) / "go").touch()
        log = await over(runtime, session, 2)
        assert (await runtime.sessions.get(session.id)).phase == "idle"
        assert (await session.inspect()).jobs == ()
    said = kinds(log)
    assert said.index("job.started") == said.index("tool.completed") + 1
    assert ends(log) == [("exited", False)]
    [told] = messages(log)
    assert re.fullmatch(r'\[job-\w+ "until .*; echo out; exit 3" has ended: exit code 3 after \d+ s\]\nout', told)
    assert [event.outcome for event in log if isinstance(event, ev.TurnCompleted)] == ["answered"] * 2


async def test_an_end_in_a_turn_waits_for_the_end_of_it(tmp_path: Path) -> None:
    steps = [start("echo now; sleep 0.5"), calling("shell", command="sleep 1"), calling("shell", command="true"), "ok"]
    async with running(tmp_path, hearing(steps)) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        log = await over(runtime, session, 2)
    said = kinds(log)
    assert said.index("job.ended") < said.index("turn.completed") < len(said) - said[::-1].index("input.received") - 1
    assert [one.splitlines()[1:] for one in messages(log)] == [[]]  # the first output came with the call


async def test_what_a_call_has_told_is_not_told_again(tmp_path: Path) -> None:
    """Also where the end was noted before, and its message waits for the end of the turn."""
    late = [start("sleep 0.5; echo out"), calling("shell", command="sleep 1"), calling("shell", command="true")]
    wait: Step = lambda job: calling("shell_output", job=job, wait=30)  # noqa: E731
    agents = {
        "waiting": hearing([start("sleep 0.6; echo out"), wait, wait, "ok"]),
        "late": hearing([*late, wait, "ok"]),
        "stopped": hearing([start("echo out; sleep 100"), lambda job: calling("shell_stop", job=job), "ok"]),
    }
    for name, one in agents.items():
        async with running(tmp_path / name, one) as runtime:
            session = await runtime.session("a")
            await session.ask("go")
            await asleep(runtime, session, seconds=20)
            log = await events(session, runtime)
            pending = (await runtime.sessions.get(session.id)).pending
        wanted = {"late": ("exited", False), "stopped": ("stopped", True)}.get(name, ("exited", True))
        assert (name, ends(log), messages(log), pending) == (name, [wanted], [], 0)
        assert any(" has ended: exit code 0]" in text or " was stopped]" in text for text in results(log))
        assert "out" in "\n".join(results(log)).splitlines()


async def test_an_end_at_once_is_told_by_the_call_that_has_begun_it(tmp_path: Path) -> None:
    """At the latest in the n-th turn: on a slow machine it ends too late for some."""
    async with running(tmp_path, hearing([start("echo out"), "ok"])) as runtime:
        session = await runtime.session("a")
        log: list[ev.Event] = []
        async with asyncio.timeout(60):
            while ("exited", True) not in ends(log):
                assert await session.ask("go") == "ok"
                await asleep(runtime, session, seconds=20)
                log = await events(session, runtime)
        assert len(messages(log)) == len(ends(log)) - 1
        assert re.fullmatch(r"out\n\[job-\w+ has ended: exit code 0\]", results(log)[-1])
        assert (await runtime.sessions.get(session.id)).pending == 0


async def test_many_ends_at_once_a_limit_of_time_and_much_output(tmp_path: Path) -> None:
    commands = ["sleep 1", "sleep 1; head -c 300000 /dev/zero | tr '\\0' x; echo; echo end", "kill -9 $$; sleep 1"]
    calls = [Call("shell_start", {"command": f"sleep 0.5; {command}"}) for command in commands]
    calls += [Call("shell_start", {"command": "sleep 100", "seconds": 1.5})]
    async with running(tmp_path, hearing([Answer(calls=tuple(calls)), "ok"])) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        log = await over(runtime, session, 5)
    told = sorted(messages(log), key=len)
    assert len(told) == 4
    assert len({one.split()[0] for one in told}) == 4
    assert any("was ended after " in one and ": its time was over]" in one for one in told)
    assert any("killed by signal 9" in one for one in told)
    assert told[-1].endswith("x\nend")
    assert "characters cut" in told[-1]
    assert len(told[-1]) < 9000
    assert sorted(ends(log)) == [("exited", False)] * 3 + [("timeout", False)]


async def test_a_person_ends_them_without_a_word(tmp_path: Path) -> None:
    async with running(tmp_path, hearing([start(_BEAT.format("beat")), "ok"])) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        beat = runtime.node.resources.private(session.id) / "beat"
        assert await beats(beat)
        position = (await runtime.sessions.get(session.id)).head
        await session.ask("another")
        await session.control("cancel")
        assert await beats(beat)
        await runtime.checkpoints.rollback(session.id, to=position)
        async with asyncio.timeout(30):
            while "session.rolled_back" not in kinds(await events(session, runtime)):
                await asyncio.sleep(0.02)
        assert not await beats(beat)
        await session.ask("again")
        assert await beats(beat)
        await session.control("stop")
        assert not await beats(beat)
        await session.control("start")
        await asleep(runtime, session, seconds=20)
        log = await events(session, runtime)
        assert messages(log) == []
        assert ends(log) == [("stopped", False)] * 3
        reasons = [event.reason for event in log if isinstance(event, JobEnded)]
        assert reasons == ["the session was rolled back"] * 2 + ["the session was stopped"]
        await session.ask("once more")
        assert await beats(beat)
        await session.delete()
        assert not beat.exists()


async def test_a_pause_lets_them_run_and_the_end_waits(tmp_path: Path) -> None:
    async with running(tmp_path, hearing([start("sleep 1"), "ok"])) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        await session.control("pause")
        await asleep(runtime, session, seconds=30)
        log = await events(session, runtime)
        assert (ends(log), messages(log)) == ([("exited", False)], [])
        await session.control("resume")
        log = await over(runtime, session, 2)
        assert len(messages(log)) == 1


@pytest.mark.parametrize("during", ["a call", "no turn"])
async def test_stopping_the_node_ends_them_and_the_next_one_tells(tmp_path: Path, during: str) -> None:
    call = [calling("shell", command=_BEAT.format("called"))] if during == "a call" else []
    one = hearing([start(_BEAT.format("beat")), *call, "ok"])
    async with running(tmp_path, one) as runtime:
        session = await runtime.session("a")
        await session.send("go")
        folder = runtime.node.resources.private(session.id)
        files = [folder / "beat", *(folder / "called" for _ in call)]
        for file in files:
            await begins(file)
        if not call:
            await session.bus.wait_for(ev.TurnCompleted, after=0, timeout=20)
        assert [await beats(file) for file in files] == [True] * len(files)
    assert [await beats(file) for file in files] == [False] * len(files)
    async with running(tmp_path, one) as runtime:
        session = runtime.open(session.id)
        log = await over(runtime, session, 2)
    [told] = messages(log)
    assert " was stopped after " in told
    assert ends(log) == [("stopped", False)]
    assert "sandbox.ended" not in kinds(log)


async def test_a_session_that_must_go_and_a_sandbox_that_ends(tmp_path: Path) -> None:
    async with running(tmp_path, hearing([start(_BEAT.format("beat")), "ok"])) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        beat = runtime.node.resources.private(session.id) / "beat"
        assert await beats(beat)
        await runtime.node.evict(session.id)
        assert not await beats(beat)
        await over(runtime, session, 2)
        await session.ask("again")
        sandbox = runtime.node.slots.live[session.id].means.sandbox
        if sandbox.level:  # else it is that of all sessions
            await sandbox.close()
            log = await over(runtime, session, 4)
            assert ends(log) == [("stopped", False), ("lost", False)]
            assert len(messages(log)) == 2


class Hung:
    """A sandbox that does not answer any more, and the terminal of a command in it."""

    async def spawn(self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str] | None = None) -> Terminal:
        return self

    async def read(self) -> AsyncGenerator[bytes, None]:
        yield b"begun"
        await asyncio.Event().wait()

    async def write(self, data: bytes) -> None: ...

    async def resize(self, columns: int, rows: int) -> None: ...

    async def wait(self) -> int:
        return await asyncio.Event().wait()

    async def close(self) -> None: ...


class Slow(Hung):
    """A sandbox whose command takes a second to end."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def read(self) -> AsyncGenerator[bytes, None]:
        yield b"begun"
        await self.ended.wait()

    async def wait(self) -> int:
        return -15

    async def close(self) -> None:
        await asyncio.sleep(1.0)
        self.ended.set()


async def test_a_command_that_ends_slowly_was_stopped_with_the_node(tmp_path: Path) -> None:
    """However little time the node gives to steps: what it ended itself is not told as lost."""

    @tool(safety="safe_write", replay="safe")
    async def begin(ctx: ToolContext) -> str:
        """Begin what ends slowly."""
        jobs = jobs_of(ctx)
        return f"[{await jobs.start(Slow(), ['x'], cwd='/', name='x', call=ctx.call, seconds=100)} runs]"

    agent = hearing([calling("begin"), "ok"], tools=[begin])
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
    async with running(tmp_path, agent) as runtime:
        log = await over(runtime, runtime.open(session.id), 2)
    assert ends(log) == [("stopped", False)]


async def test_a_sandbox_that_does_not_answer_holds_nothing_up(tmp_path: Path, clock: MovedClock) -> None:
    """Neither a time that is over, nor a person's stop, nor the agent's, nor a session that must go."""

    @tool(safety="safe_write", replay="safe")
    async def hang(ctx: ToolContext, seconds: float = 100) -> str:
        """Begin what hangs."""
        jobs = jobs_of(ctx)
        return f"[{await jobs.start(Hung(), ['x'], cwd='/', name='x', call=ctx.call, seconds=seconds)} hangs]"

    stop: Step = lambda job: calling("shell_stop", job=job)  # noqa: E731
    late = hearing([calling("hang", seconds=0.1), "ok"], "late", [hang])
    others = [
        hearing([calling("hang"), *more, "ok"], name, [hang])
        for name, more in {"person": [], "agent": [stop], "gone": []}.items()
    ]
    async with running(tmp_path, late, *others) as runtime:
        sessions = {name: await runtime.session(name) for name in ("late", "person", "agent", "gone")}
        asked = [asyncio.create_task(session.ask("go")) for session in sessions.values()]
        await asyncio.gather(asked[0], asked[1], asked[3])
        ended = asyncio.gather(sessions["person"].control("stop"), runtime.node.evict(sessions["gone"].id), *asked)
        await clock.hurry(ended)
        for session in sessions.values():
            await asleep(runtime, session, seconds=20)
        logs = {name: await events(session, runtime) for name, session in sessions.items()}
    outcomes = {name: ends(log) for name, log in logs.items()}
    assert outcomes == {
        "late": [("lost", False)],
        "person": [("stopped", False)],
        "agent": [("lost", True)],
        "gone": [("lost", False)],
    }
    assert "did not answer" in results(logs["agent"])[-1]
    assert ["did not answer" in one for one in messages(logs["late"])] == [True]


async def test_a_fork_and_a_copy_have_none_of_them(tmp_path: Path) -> None:
    async with running(tmp_path, hearing([start(_BEAT.format("beat")), "ok"])) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        fork = runtime.open((await runtime.checkpoints.fork(session.id)).id)
        await runtime.exchange.write(session.id, tmp_path / "file")
        copy = runtime.open((await runtime.exchange.read(tmp_path / "file", agent="a")).session.id)
        for other in (fork, copy):
            assert (await other.inspect()).jobs == ()
            assert (await runtime.sessions.get(other.id)).phase == "idle"
            assert not ends(await events(other, runtime))
        assert len((await session.inspect()).jobs) == 1
        assert await fork.ask("again") == "ok"
        assert len((await fork.inspect()).jobs) == 1


async def test_what_it_said_is_masked_and_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE", value := "s3cr3t-of-the-service-0123")
    policy = Policy(secrets={"SERVICE": SecretSource(source="env:MY_SERVICE")})
    command = "curl -s http://127.0.0.1:9/x; sleep 1; printf s3cr3t-of-; echo the-service-0123"
    async with under(tmp_path, hearing([start(command), "ok"]), policy) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        assert "session.tainted" in kinds(await events(session, runtime))
        await session.control("trust")
        log = await over(runtime, session, 2)
        kept = b"".join(file.read_bytes() for file in tmp_path.glob("roost.db*") if file.is_file())
        assert value.encode() not in kept
    [told] = messages(log)
    assert told.endswith("[secret:SERVICE]")
    assert [event.by for event in log if isinstance(event, ev.SessionTainted)] == ["shell_start"] * 2


async def test_who_reads_what_came_from_outside_is_tainted_by_it(tmp_path: Path) -> None:
    """Again, when a person has said that they trust what came before: while it runs, when it is stopped, when its end
    is in the log already, and when the call goes wrong in the end."""
    begin = start("curl -s http://127.0.0.1:9/x; until [ -e go ]; do sleep 0.02; done; echo out; sleep 100")
    ended = start("sleep 0.6; curl -s http://127.0.0.1:9/x; echo out; touch over")
    output: Step = lambda job: calling("shell_output", job=job)  # noqa: E731
    stop: Step = lambda job: calling("shell_stop", job=job)  # noqa: E731

    @tool(replay="safe", safety="safe_write")
    async def hold(ctx: ToolContext) -> str:
        """Wait for a person."""
        (ctx.workspace.root / "held").touch()
        await begins(ctx.workspace.root / "go")
        await asyncio.sleep(0.2)
        return "held"

    async def deny(moment: Moment) -> HookAnswer:
        said = moment.tool == "shell_output"
        return HookAnswer(decision="deny" if said else "passthrough", reason="I say so" if said else "")

    hook = PythonHook(deny, on=("post_tool",), name="deny")
    agents = [
        hearing([begin, calling("hold"), output, "ok"], "runs", tools=[hold]),
        hearing([begin, calling("hold"), stop, "ok"], "stopped", tools=[hold]),
        hearing([ended, calling("hold"), output, "ok"], "ended", tools=[hold]),
        hearing([begin, calling("hold"), output, "ok"], "withheld", tools=[hold], hooks=[hook]),
    ]

    async def read(runtime: Runtime, name: str) -> None:
        session = await runtime.session(name)
        item = await session.send("go")
        folder = runtime.node.resources.private(session.id)
        await begins(folder / "held")
        if name == "ended":
            await begins(folder / "over")
        await runtime.sessions.control(session.id, "trust", wait=0.0)
        (folder / "go").touch()
        assert await session.answer(item.id) == "ok"
        log = await events(session, runtime)
        assert (name, [event.by for event in log if isinstance(event, ev.SessionTainted)]) == (
            name,
            ["shell_start"] * 2,
        )
        said = kinds(log)
        again = len(said) - 1 - said[::-1].index("session.tainted")
        assert said.index("control.applied") < again
        assert (name, "job.ended" in said[:again]) == (name, name == "ended")
        assert (name, messages(log)) == (name, [])

    async with running(tmp_path, *agents) as runtime:
        await asyncio.gather(*(read(runtime, one.spec.name) for one in agents))


async def test_the_interpreter_is_no_job_and_keeps_its_state_until_the_session_sleeps(tmp_path: Path) -> None:
    begin = f"import subprocess; subprocess.Popen(['sh', '-c', {_BEAT.format('beat')!r}])"
    first = calling("python", code=f"{begin}\nknown = 'x' in globals()\nx = 41\nknown")
    later = calling("python", code="import time; time.sleep(0.2); x + 1")
    async with running(tmp_path, hearing([first, calling("shell", command="true"), later, "ok"])) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        beat = runtime.node.resources.private(session.id) / "beat"
        await begins(beat)
        await asleep(runtime, session, seconds=20)
        assert not await beats(beat)
        log = await events(session, runtime)
        [ended] = [event for event in log if isinstance(event, ev.SandboxEnded)]
        assert (ended.background, "the Python interpreter" in ended.reason) == (1, True)
        assert not [kind for kind in kinds(log) if kind.startswith("job.")]
        await session.ask("again")
        said = [text for text in results(await events(session, runtime)) if text]
    new = "[new interpreter: nothing is kept from earlier calls]\nFalse"
    assert [said[at].startswith(wanted) for at, wanted in ((0, new), (2, "42"), (3, new), (5, "42"))] == [True] * 4
