"""Jobs in the background sleep with their session, where the backend keeps memory, and go on when it wakes."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest

from roost.agent.definition import Agent
from roost.features.jobs.events import JobEnded
from roost.log import events as ev
from roost.log.content import Text
from roost.sandbox.choose import Isolation
from roost.sandbox.containers.gvisor import GvisorBackend
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.tools.background_jobs import Job, jobs_of
from roost.tools.base import ToolContext
from roost.tools.function import tool

from .support import BRISK, asleep, events, running

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
SLOW = msgspec.structs.replace(BRISK, linger=1.0)
"""Time for a job to do something before its session sleeps."""
BEAT = "i=0; while :; do i=$((i+1)); echo n$i; echo x >> beat; sleep 0.05; done"


@pytest.fixture(autouse=True)
async def able() -> None:
    probe = await GvisorBackend().probe()
    if not probe.able:
        pytest.skip(f"gVisor: {probe.why}")


@tool
async def look(ctx: ToolContext) -> str:
    """What the jobs have said."""
    jobs = [(key, job) for key, job in jobs_of(ctx).kept.items() if isinstance(job, Job)]
    return "; ".join([f"{key} {job.name} {job.running} {await job.output(2.0)}" for key, job in jobs])


def agent(isolation: Isolation) -> Agent:
    first: list[Answer | str] = [Answer(calls=(Call("shell_start", {"command": BEAT}),)), "started"]
    second: list[Answer | str] = [Answer(calls=(Call("look", {}),)), "looked"]
    model = ScriptedModel([*first, *second])
    return Agent("a", model=model, tools=("shell_start", look), permissions="all", isolation=isolation)


def results(log: list[ev.Event]) -> list[str]:
    done = [event for event in log if isinstance(event, ev.ToolCompleted)]
    return [part.text for event in done for part in event.parts if isinstance(part, Text)]


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


@pytest.mark.long
async def test_a_job_goes_on_after_a_restart(tmp_path: Path) -> None:
    one = agent(Isolation(suspend=True))
    async with running(tmp_path, one, config=SLOW) as runtime:
        session = await runtime.session("a")
        await session.ask("begin")
        beat = tmp_path / "workspaces" / session.id / "beat"
        await asyncio.sleep(SLOW.linger + 0.5)
        assert (await runtime.sessions.get(session.id)).owner is not None
        await runtime.node.drain(grace=30)
    size = _size(beat)
    assert size
    await asyncio.sleep(0.3)
    assert _size(beat) == size
    async with running(tmp_path, one, config=SLOW) as runtime:
        await runtime.open(session.id).ask("and now")
        log = await events(session, runtime)
        started, looked = results(log)
        assert looked.split()[0] in started
        assert " True n" in looked
        assert not [each for each in log if isinstance(each, ev.SandboxEnded | JobEnded)]
        assert {each.backend for each in log if isinstance(each, ev.SandboxChosen)} == {"gvisor"}
        async with asyncio.timeout(30):
            while _size(beat) <= size:
                await asyncio.sleep(0.02)


@pytest.mark.long
async def test_a_job_that_cannot_go_on_is_told(tmp_path: Path) -> None:
    one = agent(Isolation(suspend=True))
    async with running(tmp_path, one, config=SLOW) as runtime:
        session = await runtime.session("a")
        await session.ask("begin")
        await runtime.node.drain(grace=30)
    image = tmp_path / "workspaces.memory" / session.id / "sandbox"
    assert image.is_dir()
    shutil.rmtree(image)
    async with running(tmp_path, one, config=SLOW) as runtime:
        session = runtime.open(session.id)
        await session.bus.wait_for(ev.TurnCompleted, after=(await runtime.sessions.get(session.id)).head, timeout=30)
        log = await events(session, runtime)
    assert [(each.outcome, each.told) for each in log if isinstance(each, JobEnded)] == [("lost", False)]
    assert [each.parts for each in log if isinstance(each, ev.InputReceived) and each.source]


@pytest.mark.parametrize("suspend", [True, False])
async def test_the_interpreter_goes_on_after_a_sleep_or_says_that_it_is_new(tmp_path: Path, suspend: bool) -> None:
    first, second = Call("python", {"code": "x = 41\nx"}), Call("python", {"code": "globals().get('x')"})
    model = ScriptedModel([Answer(calls=(first,)), "kept", Answer(calls=(second, second)), "looked"])
    isolation = Isolation(required=1, suspend=suspend)
    one = Agent("a", model=model, tools=("python",), permissions="all", isolation=isolation)
    async with running(tmp_path, one, config=SLOW) as runtime:
        session = await runtime.session("a")
        await session.ask("begin")
        await asleep(runtime, session, seconds=40)
        await session.ask("and now")
        log = await events(session, runtime)
        new = "[new interpreter: nothing is kept from earlier calls]\n"
        assert results(log) == (
            [f"{new}41", "41", "41"] if suspend else [f"{new}41", f"{new}(no output)", "(no output)"]
        )
        assert any(isinstance(each, ev.SandboxEnded) for each in log) is not suspend


async def test_who_does_not_ask_for_it_has_its_jobs_ended(tmp_path: Path) -> None:
    async with running(tmp_path, agent(Isolation(required=1)), config=SLOW) as runtime:
        session = await runtime.session("a")
        await session.ask("begin")
        await runtime.node.evict(session.id)
        log = await events(session, runtime)
        assert [each.outcome for each in log if isinstance(each, JobEnded)] == ["stopped"]
        assert not [each for each in log if isinstance(each, ev.SandboxEnded)]
