"""Where a session's commands run: chosen at the first, gone with its sleep, reaped after a crash."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.errors import ConfigError, SandboxError
from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.log.content import Text
from roost.policy.loading import Policy
from roost.runtime import Runtime, SessionHandle
from roost.sandbox.backend import Bounds, Capabilities
from roost.sandbox.choose import Choice, Isolation, IsolationUnavailable, Settings, default_backends
from roost.sandbox.containers.bwrap import BwrapBackend
from roost.sandbox.isolation_notes import remark
from roost.sandbox.sandbox_host import plain_egress
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step
from roost.tools.base import Tool, ToolContext
from roost.tools.function import tool

from .support import BRISK, asleep, events, kinds, of_limits, running, until

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
async def able() -> None:
    probe = await BwrapBackend().probe()
    if not probe.able:
        pytest.skip(f"no bubblewrap here: {probe.why}")


@tool
async def serve(ctx: ToolContext) -> str:
    """Start something that runs on."""
    await ctx.sandbox.spawn(["sh", "-c", "while :; do echo x >> beat; sleep 0.02; done"], cwd=str(ctx.workspace.root))  # type: ignore[attr-defined]
    return "it runs"


def hand(
    *commands: str, isolation: Isolation | None = None, tools: Sequence[str | Tool] = ("shell",), name: str = "a"
) -> Agent:
    """An agent that runs these commands, one after the other, and says done."""
    answers: list[Answer | str] = [Answer(calls=(Call("shell", {"command": command}),)) for command in commands]
    model = ScriptedModel(by_step([*answers, "done"]))
    return Agent(name, model=model, tools=tools, permissions="all", isolation=isolation or Isolation())


def results(log: list[ev.Event]) -> list[str]:
    done = [event for event in log if isinstance(event, ev.ToolCompleted)]
    texts = [part.text for event in done for part in event.parts if isinstance(part, Text)]
    return [text for text in texts if not of_limits(text)]


async def ran(runtime: Runtime, **options: object) -> tuple[SessionHandle, list[ev.Event]]:
    session = await runtime.session("a", **options)
    assert await session.ask("go") == "done"
    return session, await events(session, runtime)


def chosen(log: list[ev.Event]) -> list[tuple[int, str, bool]]:
    return [(each.level, each.backend, each.why is not None) for each in log if isinstance(each, ev.SandboxChosen)]


async def test_an_agent_that_says_nothing_gets_level_1(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("outside")
    me = "test $(id -u) -ne 0 && echo me"
    look = (
        f"cd $(dirname $(dirname $(dirname $PWD))); cat secret; ls home; {me}; cd $OLDPWD; echo kept > file; cat file"
    )
    async with running(tmp_path / "home", hand(look, "cat file; cat /proc/1/comm")) as runtime:
        session, log = await ran(runtime)
        assert chosen(log) == [(1, "bwrap", False)]
        first, second = results(log)
        assert "outside" not in first
        assert "roost.db" not in first
        assert "me\nkept" in first
        assert second.startswith("kept\n")
        assert (tmp_path / "home" / "workspaces" / session.id / "file").read_text() == "kept\n"
    assert (tmp_path / "home" / "probes" / "bwrap.json").is_file()


async def test_a_folder_that_the_home_lies_in_does_not_show_it(tmp_path: Path) -> None:
    home = tmp_path / ".roost"
    async with running(home, hand("H=$(printf .roo); echo x > here; ls -A . ${H}st; cat ${H}st/*")) as runtime:
        _, log = await ran(runtime, workspace=str(tmp_path))
        assert "roost.db" not in results(log)[0]
        assert "here" in results(log)[0]


async def test_roosts_home_stays_where_it_is_whatever_is_tried(tmp_path: Path) -> None:
    """By commands that the gate cannot see through, of an agent that may do everything."""
    home = tmp_path / "some" / "where" / ".roost"
    home.mkdir(parents=True)
    (home / "policy.toml").write_text("# mine\n")
    (tmp_path / "some" / "file").write_text("x")
    ways = [
        "H=some/where; echo x > $H/.roost/policy.toml",
        "H=some; mv $H/where $H/else && mkdir -p some/where/.roost && echo x > some/where/.roost/policy.toml",
        "H=some; mv $H other && mkdir -p some/where/.roost && echo x > some/where/.roost/policy.toml",
        "H=some; rm -rf $H/where; ln -sT /tmp $H/where",
        "H=some/where; ln -s $H/.roost way; echo x > way/policy.toml; cp -r $H/.roost copy; ls copy",
        f"{os.path.realpath(sys.executable)} -c \"import os; os.rename('some', 'other')\"",
        "echo bXYgc29tZSBvdGhlcg== | base64 -d | sh",
    ]
    async with running(home, hand(*ways)) as runtime:
        await ran(runtime, workspace=str(tmp_path))
        assert (home / "policy.toml").read_text() == "# mine\n"
        assert (home / "roost.db").exists()
        assert not (tmp_path / "other").exists()
        assert not (tmp_path / "copy" / "policy.toml").exists()
    assert os.listdir(tmp_path / "some" / "where") == [".roost"]


async def test_what_is_required_is_not_lowered(tmp_path: Path) -> None:
    async with running(tmp_path, hand("true", isolation=Isolation(required=2))) as runtime:
        runtime.sandboxes.chooser.backends = tuple(
            each for each in runtime.sandboxes.chooser.backends if each.level < 2
        )
        with pytest.raises(IsolationUnavailable, match="level 2") as raised:
            await runtime.session("a")
        assert raised.value.code == "isolation_unavailable"


async def test_what_is_required_and_there_is_given(tmp_path: Path) -> None:
    async with running(tmp_path, hand("echo here", isolation=Isolation(required=1))) as runtime:
        _, log = await ran(runtime)
        assert results(log) == ["here"]
        assert chosen(log) == [(1, "bwrap", False)]


async def test_a_node_that_starts_finds_what_is_waited_for(tmp_path: Path) -> None:
    """Nobody asks it for a new session, which would have it look."""
    begun = asyncio.Event()

    @tool(replay="safe")
    async def linger(ctx: ToolContext) -> str:
        """Wait for the node's end, once."""
        if begun.is_set():
            return "done"
        begun.set()
        await asyncio.sleep(60)
        return "never"

    model = ScriptedModel(by_step([Answer(calls=(Call("linger", {}),)), "done"]))
    agent = Agent("a", model=model, tools=[linger], permissions="all", isolation=Isolation(required=1))
    async with running(tmp_path, agent) as runtime:
        session = await runtime.session("a")
        item = await session.send("go")
        await begun.wait()
    async with running(tmp_path, agent) as runtime:
        assert await runtime.open(session.id).answer(item.id) == "done"


async def test_what_is_preferred_falls_back_aloud(tmp_path: Path) -> None:
    runtime = Runtime(tmp_path, agents=[hand("echo here")], config=BRISK, backends=[])
    async with runtime:
        _, log = await ran(runtime)
        said, told = results(log)
        assert said == "here"
        assert told.startswith("[Commands run at isolation level 0 (a process of this machine), not at level 1")
        assert chosen(log) == [(0, "process", True)]
        required = hand("true", isolation=Isolation(required=1), name="b")
        runtime.agents.add(required)
        with pytest.raises(SandboxError):
            await runtime.session("b")


async def test_the_policy_says_which_backends_are_used(tmp_path: Path) -> None:
    policy = Policy(sandbox=Settings(backends=()))
    async with Runtime(tmp_path, agents=[hand("echo here")], config=BRISK, policy=policy) as runtime:
        _, log = await ran(runtime)
        assert chosen(log) == [(0, "process", True)]
    names = [each.name for each in default_backends(plain_egress, Settings(backends=("gvisor", "bwrap", "gvisor")))]
    assert names == ["gvisor", "bwrap"]
    with pytest.raises(ConfigError, match="'chroot'"):
        default_backends(plain_egress, Settings(backends=("chroot",)))


async def test_level_0_on_purpose_is_not_called_a_fallback(tmp_path: Path) -> None:
    async with running(tmp_path, hand("echo here", isolation=Isolation(prefers=0))) as runtime:
        _, log = await ran(runtime)
        assert chosen(log) == [(0, "process", False)]


async def test_a_limit_that_was_hit_is_an_event_and_said_to_the_model(tmp_path: Path) -> None:
    isolation = Isolation(bounds=Bounds(memory_bytes=128 * 1024**2, pids=16))
    bomb = f"{os.path.realpath(sys.executable)} -c 'x = bytearray(1 << 30)'; echo survived"
    async with running(tmp_path, hand(bomb, isolation=isolation)) as runtime:
        _, log = await ran(runtime)
        limits = [each.limit for each in log if isinstance(each, ev.SandboxLimit)]
        assert limits == ["memory_bytes"]
        assert "memory_bytes" in results(log)[0]


async def test_sleep_ends_what_runs_on_and_says_so(tmp_path: Path) -> None:
    model = ScriptedModel(by_step([Answer(calls=(Call("serve", {}),)), "done"]))
    one = Agent("a", model=model, tools=[serve], permissions="all")
    async with running(tmp_path, one) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "done"
        ended = await until(session, ev.SandboxEnded)
        assert ended.background == 1
        await asleep(runtime, session)
        beat = tmp_path / "workspaces" / session.id / "beat"
        size = beat.stat().st_size if beat.exists() else 0
        await asyncio.sleep(0.2)
        assert (beat.stat().st_size if beat.exists() else 0) == size


async def test_a_session_that_was_lost_takes_its_sandbox_along(tmp_path: Path) -> None:
    model = ScriptedModel(by_step([Answer(calls=(Call("serve", {}),)), "done"]))
    one = Agent("a", model=model, tools=[serve], permissions="all")
    async with running(tmp_path, one, config=KernelConfig(linger=30.0, scan=0.2, lease=3.0)) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "done"
        beat = tmp_path / "workspaces" / session.id / "beat"
        async with asyncio.timeout(30):
            while not beat.exists():
                await asyncio.sleep(0.02)
        runtime.node.slots.live[session.id].interrupts.fence()
        async with asyncio.timeout(30):
            before = -1
            while (size := beat.stat().st_size) != before:
                before = size
                await asyncio.sleep(0.3)


async def test_a_sandbox_that_died_is_made_anew(tmp_path: Path) -> None:
    @tool
    async def lose(ctx: ToolContext) -> str:
        """Say something before and after the sandbox dies."""
        said: list[str] = []
        for word in ("one", "two"):
            said.append((await ctx.sandbox.exec(["echo", word], cwd=str(ctx.workspace.root))).stdout.strip())
            await BwrapBackend().reap(runtime.sandboxes.marker)
        return " ".join(said)

    model = ScriptedModel(by_step([Answer(calls=(Call("lose", {}),)), "done"]))
    async with running(tmp_path, Agent("a", model=model, tools=[lose], permissions="all")) as runtime:
        _, log = await ran(runtime)
        assert results(log) == ["one two"]
        assert [each.reason for each in log if isinstance(each, ev.SandboxEnded)] == ["it ended by itself"]


async def test_what_a_killed_node_left_is_reaped_by_the_next(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from tests.kernel.test_sandboxes import hand, BRISK\n"
        "from roost.runtime import Runtime\n"
        "async def main():\n"
        "    command = 'while :; do echo x >> beat; sleep 0.02; done'\n"
        "    async with Runtime(sys.argv[1], agents=[hand(command)], config=BRISK) as runtime:\n"
        "        session = await runtime.session('a')\n"
        "        await session.ask('go')\n"
        "asyncio.run(main())\n"
    )
    root = str(Path(__file__).parents[2])
    node = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path / "home"), root)
    try:
        async with asyncio.timeout(30):
            while not (beats := list(tmp_path.glob("home/workspaces/*/beat"))):
                await asyncio.sleep(0.02)
    finally:
        node.kill()
        await node.wait()
    async with running(tmp_path / "home", hand("true", name="other")):
        size = beats[0].stat().st_size
        await asyncio.sleep(0.3)
        assert beats[0].stat().st_size == size


async def test_sessions_do_not_see_each_other(tmp_path: Path) -> None:
    async with running(tmp_path, hand("echo mine > /tmp/mine; echo mine > file; ls /tmp $(dirname $PWD)")) as runtime:
        one, _ = await ran(runtime)
        two = await runtime.session("a")
        await two.ask("go")
        seen = results(await events(two, runtime))[0]
        assert one.id not in seen
        assert two.id in seen
        assert kinds(await events(two, runtime)).count("sandbox.chosen") == 1


async def test_the_model_is_told_once_what_is_less_than_was_asked_for(tmp_path: Path) -> None:
    agent = hand("echo one", "echo two", isolation=Isolation(prefers=2))
    kept = [BwrapBackend()]
    runtime = Runtime(tmp_path, agents=[agent], config=BRISK, backends=kept)
    async with runtime:
        session, log = await ran(runtime)
        first, told, second = results(log)
        assert (first, second) == ("one", "two")
        assert told.startswith("[Commands run at isolation level 1 (namespaces or a container), not at level 2")
        assert "machine's files" not in told
        await asleep(runtime, session)
        three = Answer(calls=(Call("shell", {"command": "echo three"}),))
        runtime.agents.add(agent.replace(model=ScriptedModel(["", three, "done"])))
        await session.ask("again")
        log = await events(session, runtime)
        assert len(chosen(log)) == 2
        assert results(log) == [first, told, second, "three"]


async def test_limits_that_are_only_watched_are_told() -> None:
    watched = Capabilities(memory="watched", cpus="none", pids="kernel", disk="kernel")
    choice = Choice(1, BwrapBackend())
    said = remark(choice, Isolation(), watched)
    assert said is not None
    assert "of memory is only watched: what passes it is killed a moment later" in said
    assert "Nothing limits processors here" in said
    free = Isolation(bounds=Bounds(memory_bytes=None, cpus=None))
    assert remark(choice, free, watched) is None
    assert remark(Choice(0), Isolation(prefers=0), Capabilities()) is None
