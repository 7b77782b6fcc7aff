"""Orders for the sandbox of a session: over the API, the WebSocket, and a crash."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from roost.errors import Conflict
from roost.features.sandboxes.events import SandboxOrderCompleted, SandboxOrdered
from roost.features.terminals.shared_terminal import SharedTerminal, Viewer
from roost.sandbox.choose import Isolation

from .support import agent, events, running, shows


@pytest.mark.parametrize("level", [0, 1])
async def test_a_life_of_a_sandbox(tmp_path: Path, level: int) -> None:
    async with running(tmp_path, agent(level=level)) as runtime:
        session, api = await runtime.session("a"), runtime.sandbox
        assert (await api.status(session.id)).state == "none"
        assert (await api.control(session.id, "start")).status == "done"
        kept = await runtime.terminals.open(session.id, command=["cat"])
        status = await api.status(session.id)
        assert (status.state, status.level) == ("running" if level else "none", level)
        done = await api.exec(session.id, ["sh", "-c", "echo out; echo err >&2; exit 3"], key="once")
        assert (done.exit_code, done.stdout, done.stderr, done.problem) == (3, "out\n", "err\n", None)
        again = await api.exec(session.id, ["sh", "-c", "echo out; echo err >&2; exit 3"], key="once")
        assert (again.input, again.stdout) == (done.input, "out\n")
        assert (await api.exec(session.id, ["sleep", "60"], seconds=0.2)).killed_by == "wall_seconds"
        assert (await api.exec(session.id, ["/no/such"])).exit_code in (126, 127)
        assert len(await events(runtime, session, SandboxOrdered)) == 4
        if level:
            assert (await api.control(session.id, "stop")).status == "done"
            assert (await api.status(session.id)).state == "none"
            async with asyncio.timeout(30):
                while (await runtime.terminals.get(session.id, kept.terminal)).state == "running":
                    await asyncio.sleep(0.02)
        await api.exec(session.id, ["sleep", "30"], wait=0.0)
        with pytest.raises(Conflict) as refused:
            await api.control(session.id, "suspend")
        assert refused.value.code == "cannot_suspend"


async def test_a_command_that_runs_does_not_hold_up_the_session(tmp_path: Path) -> None:
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        ordered = await runtime.sandbox.exec(session.id, ["sleep", "600"], seconds=600, wait=0.0)
        assert ordered.status == "accepted"
        assert await session.ask("hello") == "ok"
        view = await runtime.terminals.open(session.id, command=["sh", "-c", "echo up; cat"])
        await shows(runtime, session.id, view.terminal, "up")
        assert await events(runtime, session, SandboxOrderCompleted) == []
        await runtime.sessions.control(session.id, "stop")
        async with asyncio.timeout(60):
            while not (ended := await events(runtime, session, SandboxOrderCompleted)):
                await asyncio.sleep(0.02)
        assert (ended[0].input, ended[0].problem) == (ordered.input, "it was cut off")


async def _seen(shared: SharedTerminal, viewer: Viewer) -> str | None:
    """Show a terminal until its channel ends. Returns the code of the problem."""
    try:
        async for _ in shared.follow(viewer):
            pass
    except Conflict as error:
        return error.code
    return None


async def test_a_terminal_sleeps_with_its_sandbox_and_goes_on(tmp_path: Path) -> None:
    """Where the sandbox keeps its memory (gVisor): over a suspension, and over the end of the daemon."""
    if shutil.which("runsc") is None:
        pytest.skip("there is no runsc here")
    sleeper = agent(level=1).replace(isolation=Isolation(required=1, prefers=1, suspend=True))
    async with running(tmp_path, sleeper) as runtime:
        session = await runtime.session("a")
        one = (await runtime.terminals.open(session.id, command=["sh"])).terminal
        if (await runtime.sandbox.status(session.id)).suspends != "memory":
            pytest.skip("no sandbox here keeps its memory")
        await runtime.terminals.type(session.id, one, text="X=kept; echo $((6*7))\r")
        await shows(runtime, session.id, one, "42")
        shared = await runtime.terminals.attached(session.id, one)
        viewer = shared.attach("owner", after=None, scrollback=0)
        looking = asyncio.create_task(_seen(shared, viewer))
        assert (await runtime.sandbox.control(session.id, "suspend")).status == "done"
        async with asyncio.timeout(60):
            assert await looking == "terminal_asleep"
            for late in (shared.type("owner", b"x"), shared.resize(90, 30)):
                with pytest.raises(Conflict) as refused:
                    await late
                assert refused.value.code == "terminal_asleep"
        assert (await runtime.terminals.get(session.id, one)).state == "asleep"
        with pytest.raises(Conflict) as refused:
            await runtime.terminals.type(session.id, one, text="x")
        assert refused.value.code == "terminal_asleep"
    async with running(tmp_path, sleeper) as runtime:
        await runtime.sandbox.control(session.id, "resume")
        assert (await runtime.terminals.get(session.id, one)).state == "running"
        await runtime.terminals.type(session.id, one, text="echo still $X\r")
        assert any(row.endswith("42") for row in await shows(runtime, session.id, one, "still kept"))
