"""What a store does not take is refused to who gives it; where a session has taken it in, that session fails alone."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from roost.errors import Invalid, StoreFailed
from roost.features.checkpoints.events import CheckpointInput
from roost.log import events as ev
from roost.log.inputs import Input, SetTimerInput
from roost.log.protocols import Append, Logs, SessionIndex
from roost.runtime import Runtime, SessionHandle
from tests.harness.wrapping import Passing

from .support import BRISK, agent, asleep, events, place, running, so

HALF = "half\ud800"
LONG = "".join(map(chr, range(0x4E00, 0x7000)))
"""For a key of an index, and cannot be made short enough."""


class Refusing(Passing):
    """Logs that take no event that speaks of `unwritable`."""

    def __init__(self, inner: Logs, error: Callable[[], Exception]) -> None:
        super().__init__(inner)
        self._error = error

    async def append(self, append: Append) -> int:
        if any(b"unwritable" in body for body in append.bodies):
            raise self._error()
        return await self.inner.append(append)


class Forgetful(Passing):
    """An index of sessions that does not tell when it is first asked for timers."""

    def __init__(self, inner: SessionIndex) -> None:
        super().__init__(inner)
        self.walks: list[float] = []

    async def with_timers(self, prefix: str, *, after: str = "", limit: int = 1000) -> list[str]:
        self.walks.append(time.monotonic())
        if len(self.walks) == 1:
            raise StoreFailed("not now")
        return await self.inner.with_timers(prefix, after=after, limit=limit)


@asynccontextmanager
async def refusing(
    home: Path, error: Callable[[], Exception] = lambda: Invalid("cannot store that"), **config: float
) -> AsyncGenerator[tuple[Runtime, Forgetful]]:
    home.mkdir(exist_ok=True)
    inner = await place.open(home)
    sessions = Forgetful(inner.sessions)
    store = dataclasses.replace(inner, logs=cast(Any, Refusing(inner.logs, error)), sessions=cast(Any, sessions))
    runtime = Runtime(home, agents=[agent(["yes"] * 9)], config=msgspec.structs.replace(BRISK, **config), store=store)
    await runtime.start()
    try:
        yield runtime, sessions
    finally:
        await runtime.stop(grace=0.2)


async def failed(runtime: Runtime, session: SessionHandle) -> None:
    async with asyncio.timeout(30):
        while (await runtime.sessions.get(session.id)).state != "error":
            await asyncio.sleep(0.02)
    await asleep(runtime, session)


@pytest.mark.parametrize("name", ["nul\0", HALF], ids=["nul", "half"])
async def test_a_label_that_a_store_cannot_keep(tmp_path: Path, name: str) -> None:
    async with running(tmp_path, agent(["yes", "yes"])) as runtime:
        session = await runtime.session("a")
        await session.ask("go")
        with pytest.raises(Invalid) as refused:
            await runtime.checkpoints.make(session.id, name)
        assert refused.value.code == "bad_label"
        assert await runtime.node.store.inboxes.pending(session.id) == []
        assert await session.ask("again") == "yes"


@pytest.mark.parametrize("name", ["nul\0", HALF, "", "x" * 201], ids=["nul", "half", "empty", "long"])
async def test_a_timer_that_a_store_cannot_keep(tmp_path: Path, name: str) -> None:
    async with running(tmp_path, agent(["yes"])) as runtime:
        session = await runtime.session("a")
        with pytest.raises(Invalid) as refused:
            await runtime.sessions.set_timer(session.id, name, time.time() + 60, "x")
        assert refused.value.code == "bad_timer"
        with pytest.raises(Invalid):
            await runtime.sessions.clear_timer(session.id, name)
        assert await runtime.node.store.inboxes.pending(session.id) == []
        assert await session.ask("go") == "yes"


@pytest.mark.parametrize(
    "item",
    [CheckpointInput("nul\0"), SetTimerInput("nul\0", 9e9), SetTimerInput(LONG, 9e9)],
    ids=["label", "timer", "long"],
)
async def test_one_that_has_it_in_its_inbox_is_not_stuck(tmp_path: Path, item: Input) -> None:
    """From before it was refused. SQLite keeps all of these."""
    async with running(tmp_path, agent(["yes", "yes"])) as runtime:
        session = await runtime.session("a")
        assert await session.ask("go") == "yes"
        await runtime.sessions.put(session.id, item)
        if place.url is not None:
            await failed(runtime, session)
            assert (await runtime.sessions.get(session.id)).pending == 0
            await runtime.sessions.control(session.id, "start")
        assert await session.ask("again") == "yes"


@pytest.mark.parametrize("error", [lambda: Invalid("cannot store that"), lambda: ValueError("\ud800")])
async def test_an_order_whose_event_is_refused(tmp_path: Path, error: Callable[[], Exception]) -> None:
    async with refusing(tmp_path / "home", error) as (runtime, _):
        session, other = await runtime.session("a"), await runtime.session("a")
        assert await session.ask("go") == "yes"
        await runtime.sessions.emit(session.id, "unwritable")
        await failed(runtime, session)
        assert await other.ask("go") == "yes"
        info = await runtime.sessions.get(session.id)
        assert (info.pending, info.owner) == (0, None), "it would wake the session for the same again"
        await runtime.sessions.control(session.id, "start")
        assert await session.ask("again") == "yes"
        states = [event.state for event in await events(session, runtime) if isinstance(event, ev.StateChanged)]
        assert states == ["running", "error", "running"]


async def test_a_message_whose_event_is_refused_stays_until_a_person_acts(tmp_path: Path) -> None:
    async with refusing(tmp_path / "home") as (runtime, _):
        session = await runtime.session("a")
        assert await session.ask("go") == "yes"
        await session.send("unwritable")
        await failed(runtime, session)
        await asyncio.sleep(0.5)
        log = await events(session, runtime)
        assert sum(isinstance(event, ev.StateChanged) and event.state == "error" for event in log) == 1
        assert (await runtime.sessions.get(session.id)).pending == 1
        await runtime.sessions.control(session.id, "stop")
        assert (await runtime.sessions.get(session.id)).state == "stopped"


async def test_a_clean_up_that_failed_is_made_soon(tmp_path: Path) -> None:
    async with refusing(tmp_path / "home", session_timeout=2.0, cleanup_every=2.0) as (_, store):
        # A second later, not after the pause between two: on a busy machine not always.
        await so(lambda: any(second - first < 1.9 for first, second in itertools.pairwise(store.walks)))
