"""A crash before and after every commit of a session with a command in the background: its end is told once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.features.jobs.events import JobEnded, JobStarted
from roost.log import events as ev
from roost.log.content import AssistantMessage, Text, UserMessage
from roost.models.request import Request
from roost.runtime import Runtime
from roost.stores.open import open_store
from roost.testing.scripted import Answer, Call, ScriptedModel
from tests.harness.crash.hands import Hands
from tests.harness.crash.inside import CONFIG, crash_inside
from tests.harness.crash.killing import When

_AT_ONCE = 6
_WANTED = {"tool.started", "job.started", "job.ended", "turn.completed"}


def _answer(request: Request) -> Answer | str:
    """Begin a job, answer; what else is said is answered at once."""
    last = max(n for n, message in enumerate(request.messages) if isinstance(message, UserMessage))
    said = request.messages[last]
    assert isinstance(said, UserMessage)
    text = "".join(part.text for part in said.parts if isinstance(part, Text))
    if "#1" in text and not any(isinstance(one, AssistantMessage) for one in request.messages[last:]):
        return Answer(calls=(Call("shell_start", {"command": "echo begun >> traces; sleep 0.5; echo out"}),))
    return "heard #" + text.rpartition("#")[2]


def _agent() -> Agent:
    return Agent("a", model=ScriptedModel(_answer), tools=("shell_start",), permissions="all", unattended="ask")


def _tellings(log: Sequence[ev.Event]) -> tuple[Counter[str], set[str]]:
    """How often the end of each job was told, and the jobs."""
    told = Counter(event.job for event in log if isinstance(event, JobEnded) and event.told)
    sources = [event.source or "" for event in log if isinstance(event, ev.InputReceived)]
    told.update(source.removeprefix("job:") for source in sources if source.startswith("job:"))
    return told, {event.job for event in log if isinstance(event, JobStarted)}


def _all_told(log: Sequence[ev.Event]) -> bool:
    told, jobs = _tellings(log)
    return bool(jobs) and told.keys() == jobs


async def _scenario(user: Hands) -> None:
    await user.send("Please #1")
    await user.until(_all_told, "the end of the job")


@contextlib.asynccontextmanager
async def _store(request: pytest.FixtureRequest, kind: str) -> AsyncIterator[str | None]:
    if kind == "sqlite":
        yield None
        return
    async with request.getfixturevalue("postgres").borrowed() as url:
        yield url


@pytest.mark.parametrize(("when", "kind"), [("before", "sqlite"), ("after", "sqlite"), ("after", "postgres")])
async def test_the_end_is_told_once(tmp_path: Path, request: pytest.FixtureRequest, when: When, kind: str) -> None:
    kinds: set[str] = set()
    every = 1 if kind == "sqlite" else 2  # there each kind of commit is struck, and each commit here
    for start in itertools.count(1, _AT_ONCE * every):
        places = range(start, start + _AT_ONCE * every, every)
        found = await asyncio.gather(*(_crash(tmp_path / str(at), request, at, when, kind) for at in places))
        for name in found:
            kinds |= set((name or "").removeprefix(f"{when} ").removeprefix("append ").split("+"))
        if None in found:
            break
    for name in sorted(_WANTED - kinds):  # who writes first differs now and then, so commit N was another one
        assert await _crash(tmp_path / name, request, 1, when, kind, only=name)


async def _crash(
    home: Path, request: pytest.FixtureRequest, at: int, when: When, kind: str, *, only: str = ""
) -> str | None:
    home.mkdir()
    async with _store(request, kind) as url:
        daemon = await crash_inside(
            home, [_agent()], _scenario, agent="a", at=at, when=when, witness=home / "effects", only=only, store=url
        )
        store = await open_store(url or home / "roost.db")
        try:
            log = [record.event for record in await store.logs.read("s")]
        finally:
            await store.close()
    told, jobs = _tellings(log)
    assert told == dict.fromkeys(jobs, 1), (daemon.struck, log)
    assert sum(isinstance(event, JobEnded) for event in log) == len(jobs)
    return daemon.struck


async def test_a_daemon_is_killed_and_the_next_one_tells(tmp_path: Path) -> None:
    """A real process, kill -9: the job ends with it, and its session is taken up for nothing else."""
    ready, pid = tmp_path / "ready", tmp_path / "workspaces" / "s" / "pid"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.crash.test_jobs", str(tmp_path), cwd=Path(__file__).parents[2]
    )
    try:
        async with asyncio.timeout(40):
            while not ready.exists() or not pid.exists() or not pid.read_text().strip():
                await asyncio.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        await process.wait()
    async with Runtime(tmp_path, agents=[_long()], config=CONFIG) as runtime:
        bus = runtime.open("s").bus
        said = await bus.wait_for(ev.InputReceived, after=(await runtime.sessions.get("s")).head, timeout=30)
        await bus.wait_for(ev.TurnCompleted, after=(await runtime.sessions.get("s")).head - 1, timeout=30)
        log = [record.event for record in await runtime.sessions.history("s")]
    assert isinstance(said, ev.InputReceived)
    assert (said.source or "").startswith("job:")
    assert "has ended: the daemon ended" in "".join(part.text for part in said.parts if isinstance(part, Text))
    assert [(event.outcome, event.told) for event in log if isinstance(event, JobEnded)] == [("lost", False)]
    assert not _alive(int(pid.read_text()))


def _long() -> Agent:
    def answer(request: Request) -> Answer | str:
        said = _answer(request)
        if isinstance(said, str):
            return said
        return Answer(calls=(Call("shell_start", {"command": "echo $$ > pid; sleep 1000"}),))

    return Agent("a", model=ScriptedModel(answer), tools=("shell_start",), permissions="all", unattended="ask")


def _alive(pid: int) -> bool:
    """At level 0 or 1; a number of a walled sandbox's own says nothing, but that is gone with it."""
    try:
        return b"sleep 1000" in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return False


async def _work(home: Path) -> None:
    async with Runtime(home, agents=[_long()], config=CONFIG) as runtime:
        session = await runtime.session("a", id="s")
        await session.ask("Please #1")
        (home / "ready").write_text(str(time.time()))
        await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run(_work(Path(sys.argv[1])))
