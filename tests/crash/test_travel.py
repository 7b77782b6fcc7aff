"""A crash at any commit of a checkpoint, a rollback and a fork: asked again, each is there once, and conversation and
files are of one moment."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.errors import RoostError
from roost.kernel.check import check
from roost.kernel.config import KernelConfig
from roost.kernel.runtime import Runtime
from roost.log import events as ev
from roost.log.content import Text, UserMessage
from roost.log.store import Store, open_store
from roost.testing.crash.killing import KillingJournal, When
from roost.testing.scripted import ScriptedModel
from tests.kernel.filing import look, obey
from tests.kernel.undoing import sh

_AT_ONCE = 4
_ROUNDS = 3
_CONFIG = KernelConfig(linger=30.0, scan=0.2, lease=3.0)


def clerk() -> Agent:
    return Agent("clerk", model=ScriptedModel(obey), tools=[sh, look], permissions="all")


@contextlib.asynccontextmanager
async def up(home: Path, store: Store | None = None):
    runtime = Runtime(home, agents=[clerk()], config=_CONFIG, store=store)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop(grace=0.0)


@pytest.fixture
async def begun(tmp_path: Path) -> Path:
    """A home whose session has had its first turn."""
    home = tmp_path / "begun"
    async with up(home) as runtime:
        session = await runtime.session("clerk", id="s")
        await session.ask("sh echo 1 > a")
    return home


_STRUCK = {
    "s": ("checkpoint.made", "session.rolled_back", "workspace.restored", "accept rollback"),
    "f": ("fork", "accept checkpoint", "workspace.restored"),
}


@pytest.mark.parametrize("session", ["s", "f"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_at_any_commit(begun: Path, tmp_path: Path, when: When, session: str) -> None:
    """Which commits there are depends on the load: once more from the start, as long as one was not struck."""
    struck: list[str] = []
    for again in range(_ROUNDS):
        for start in range(1, 60, _AT_ONCE):
            places = [(at, tmp_path / f"{again}-{at}") for at in range(start, start + _AT_ONCE)]
            found = await asyncio.gather(*(_crash(begun, home, at, when, session) for at, home in places))
            struck += [name for name in found if name is not None]
            if not any(found):
                break
        if not (missing := [kind for kind in _STRUCK[session] if kind not in " ".join(struck)]):
            break
    assert len(missing) <= 1, "\n".join(struck)  # what a busy machine puts into one commit is not struck by itself


async def _crash(begun: Path, home: Path, at: int, when: When, session: str) -> str | None:
    await asyncio.to_thread(shutil.copytree, begun, home)
    inner = await open_store(home / "roost.db")
    struck: list[str] = []
    store = KillingJournal(inner, at=at, when=when, session=session, how="fail", on_strike=struck.append)
    with contextlib.suppress(RoostError):
        async with up(home, store) as runtime:
            work = asyncio.create_task(_work(runtime))
            while not work.done() and not store.dead:
                await asyncio.sleep(0.005)
            work.cancel()
            with contextlib.suppress(RoostError, asyncio.CancelledError):
                await work
    async with up(home) as runtime:
        await asyncio.wait_for(_work(runtime), 30)
        await _whole(runtime, home, struck)
    assert (await check(home / "roost.db")).faults == [], struck
    return struck[0] if struck else None


async def _work(runtime: Runtime) -> None:
    sessions = runtime.sessions
    await sessions.checkpoint("s", "good", key="c")
    await runtime.open("s").ask("sh echo 2 > a; echo 3 > b", key="m")
    back = await sessions.rollback("s", "good", key="r")
    assert back.files
    assert (await sessions.fork("s", id="f", key="f")).id == "f"


async def _whole(runtime: Runtime, home: Path, struck: list[str]) -> None:
    assert await runtime.open("f").ask("look cat a", key="l") == "1", struck
    for session, heard in (("s", ["sh echo 1 > a"]), ("f", ["sh echo 1 > a", "look cat a"])):
        folder = home / "workspaces" / session
        assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "1\n"}, struck
        said = [
            part.text
            for message in await runtime.sessions.transcript(session)
            if isinstance(message, UserMessage)
            for part in message.parts
            if isinstance(part, Text)
        ]
        assert said == heard, struck
    log = [record.event for record in await runtime.kernel.journal.read("s")]
    assert sum(isinstance(event, ev.SessionRolledBack) for event in log) == 1, struck
    assert sum(isinstance(event, ev.CheckpointMade) and event.label == "good" for event in log) == 1, struck
