"""A node that is killed while a sandbox goes to sleep or wakes: its jobs go on, or are told as lost, once, and nothing
is left of the half."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.features.jobs.events import JobEnded
from roost.kernel.config import KernelConfig
from roost.log.content import AssistantMessage
from roost.log.protocols import SessionQuery
from roost.models.request import Request
from roost.runtime import Runtime, SessionHandle
from roost.sandbox.choose import Isolation
from roost.sandbox.containers.gvisor import GvisorBackend
from roost.testing.scripted import Answer, Call, ScriptedModel

BEAT = "while :; do echo x >> beat; sleep 0.05; done"


def agent() -> Agent:
    def answer(request: Request) -> Answer | str:
        new = not any(isinstance(message, AssistantMessage) for message in request.messages)
        return Answer(calls=(Call("shell_start", {"command": BEAT}),)) if new else "heard"

    model = ScriptedModel(answer)
    isolation = Isolation(required=1, suspend=True)
    return Agent("a", model=model, tools=("shell_start",), permissions="all", isolation=isolation)


def node(home: Path) -> Runtime:
    return Runtime(home, agents=[agent()], config=KernelConfig(linger=1.0, scan=0.2, lease=30.0))


async def run(home: Path) -> None:
    """A node in a process of its own, which ends as a daemon does."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with node(home) as runtime:
        if await runtime.sessions.find(SessionQuery()):
            await runtime.open("s").send("and now")
        else:
            await (await runtime.session("a", id="s")).ask("begin")
        print("up", flush=True)
        await ended.wait()
        await runtime.node.drain(grace=60)


async def begun(home: Path) -> asyncio.subprocess.Process:
    lines = ("import asyncio, pathlib", "from tests.sandbox import test_cut_off", "asyncio.run(test_cut_off.run(home))")
    program = "\n".join([lines[0], lines[1], f"home = pathlib.Path({str(home)!r})", lines[2]])
    return await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)


async def killed_at(child: asyncio.subprocess.Process, place: Path) -> None:
    """When that is there."""
    while not place.exists():
        assert child.returncode is None
        await asyncio.sleep(0.001)
    child.kill()
    await child.wait()


async def grows(file: Path) -> bool:
    def size() -> int:
        return file.stat().st_size if file.exists() else 0  # the job may not have begun

    before, end = size(), time.monotonic() + 60
    while size() == before and time.monotonic() < end:
        await asyncio.sleep(0.05)
    return size() > before


@pytest.fixture(autouse=True)
async def able() -> None:
    probe = await GvisorBackend().probe()
    if not probe.able:
        pytest.skip(f"gVisor: {probe.why}")


async def told(runtime: Runtime, session: SessionHandle) -> list[tuple[str, bool]]:
    log = [record.event for record in await runtime.sessions.history(session.id)]
    return [(each.outcome, each.told) for each in log if isinstance(each, JobEnded)]


@pytest.mark.parametrize(
    "cut",
    [
        "sandbox.part",
        pytest.param("sandbox", marks=pytest.mark.soak),
        pytest.param("sandbox.used", marks=pytest.mark.soak),
    ],
)
async def test_killed(tmp_path: Path, cut: str) -> None:
    """When a suspension has begun, when its image is whole, and when somebody takes that up."""
    notes, beat = tmp_path / "workspaces.memory/s", tmp_path / "workspaces/s/beat"
    child = await begun(tmp_path)
    assert child.stdout is not None
    assert await child.stdout.readline() == b"up\n"
    assert await grows(beat)
    child.terminate()
    if cut == "sandbox.used":
        assert await child.wait() == 0
        child = await begun(tmp_path)
    await killed_at(child, notes / cut)
    async with node(tmp_path) as runtime:
        session = runtime.open("s")
        await session.ask("and now")
        if cut == "sandbox":
            assert await grows(beat)
            assert await told(runtime, session) == []
        else:
            async with asyncio.timeout(30):
                while await told(runtime, session) != [("lost", False)]:
                    await asyncio.sleep(0.05)
            size = beat.stat().st_size
            await asyncio.sleep(0.3)
            assert beat.stat().st_size == size
            assert [one.name for one in notes.iterdir() if one.name.startswith("sandbox")] == []
