"""Schedules of a session: what fires when, once, and what does not."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from roost.errors import Conflict, Invalid, NotFound
from roost.features.schedules.api import Ordered, ScheduleList, ScheduleView
from roost.features.schedules.events import DueInput, ScheduleFired
from roost.features.schedules.firing import MOST, NEVER
from roost.kernel.check import check
from roost.kernel.config import KernelConfig
from roost.log import events as ev
from roost.log.schedule_events import ScheduleSpec
from roost.testing.clock import MovedClock

from .scheduling import DAY, HOUR, Clock, Speaker, due, fire, fired, hourly, quiet
from .support import Traces, agent, calling, events, place, running, said, until

ACCEPTED = Ordered(status="accepted")
sqlite_only = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


async def test_it_fires_and_comes_due_again(tmp_path: Path) -> None:
    clock, clerk = Clock(), Speaker()
    async with running(tmp_path, clerk.agent, config=clock.config) as runtime:
        session = await runtime.session("a")
        spec = ScheduleSpec(text="read the news", cron="30 2 * * *", zone="Europe/Berlin")
        made = await runtime.schedules.set(session.id, "news", spec)
        assert isinstance(made, ScheduleView)
        assert [one.local[10:16] for one in made.coming] == ["T02:30"] * 5 or "T03:00" in str(made.coming)
        clock.go_to(made.coming[0].at + 1)
        await fire(runtime, clock)
        await until(session, ev.TurnCompleted)
        log = await events(session, runtime)
        received = next(event for event in log if isinstance(event, ev.InputReceived))
        assert received.source == "schedule:news"
        assert said(log)[0].startswith("[schedule news, ")
        assert said(log)[0].endswith("]\nread the news")
        again = await runtime.schedules.get(session.id, "news")
        assert (again.coming[0], again.turn) == (made.coming[1], 1)
        assert again.last == made.coming[0]
        await quiet(runtime, session)
        await fire(runtime, clock)
        assert len(await fired(session, runtime)) == 1
    assert (await check(place.url or tmp_path / "roost.db")).faults == []


async def test_two_nodes_fire_it_once(tmp_path: Path) -> None:
    clock, clerk = Clock(), Speaker()
    async with running(tmp_path / "one", clerk.agent, config=clock.config) as one:
        if place.url is None:
            store = tmp_path / "one" / "roost.db"
            place.set(str(store))
        try:
            async with running(tmp_path / "two", Speaker().agent, config=clock.config) as two:
                session = await one.session("a")
                await one.schedules.set(session.id, "h", hourly())
                first = await due(one, session, "h")
                for count in range(3):
                    clock.go_to(first + count * HOUR + 1)
                    await asyncio.gather(*(fire(runtime, clock) for runtime in (one, two) for _ in range(3)))
                    async with asyncio.timeout(30):
                        while len(await fired(session, one)) <= count:
                            await asyncio.sleep(0.01)
                    await quiet(one, session)
                assert [event.due for event in await fired(session, one)] == [first + n * HOUR for n in range(3)]
        finally:
            if place.url is not None and "roost.db" in place.url:
                place.set(None)


@sqlite_only
@pytest.mark.parametrize(("missed", "ran", "skipped"), [("once", [7], 7), ("skip", [], 8), ("all", [5, 6, 7], 5)])
async def test_a_daemon_that_was_down_for_days(tmp_path: Path, missed: str, ran: list[int], skipped: int) -> None:
    clock, clerk = Clock(), Speaker()
    async with running(tmp_path, clerk.agent, config=clock.config) as runtime:
        session = await runtime.session("a")
        spec = ScheduleSpec(text="x", every=DAY, missed=missed, catch_up=3)  # type: ignore[arg-type]
        await runtime.schedules.set(session.id, "d", spec)
        first = await due(runtime, session, "d")
    clock.go_to(first + 7 * DAY + HOUR)
    async with running(tmp_path, clerk.agent, config=clock.config) as runtime:
        session = runtime.open(session.id)
        await until(session, ScheduleFired)
        async with asyncio.timeout(30):
            while await due(runtime, session, "d") <= clock():
                await fire(runtime, clock)
                await asyncio.sleep(0.02)
        await quiet(runtime, session)
        found = await fired(session, runtime)
        assert [event.due for event in found if event.run] == [first + day * DAY for day in ran]
        assert sum(event.missed for event in found) == skipped
        assert await due(runtime, session, "d") == first + 8 * DAY


async def test_nothing_fires_once_a_pause_has_taken_effect(tmp_path: Path) -> None:
    """Due at that very instant, and due in the inbox already."""
    clock, traces = Clock(), Traces()
    busy = agent([calling("safe"), "done"], traces.tools())
    async with running(tmp_path, busy, config=clock.config) as runtime:
        session = await runtime.session("a")
        for name in ("paused", "gone", "kept"):
            await runtime.schedules.set(session.id, name, hourly(name))
        await session.send("hold")
        await traces.started.wait()
        clock.go_to(await due(runtime, session, "kept") + 1)
        await fire(runtime, clock)
        waiting = [item.input for item in await runtime.node.store.inboxes.pending(session.id)]
        assert sorted(item.name for item in waiting if isinstance(item, DueInput)) == ["gone", "kept", "paused"]
        assert [view.name for view in (await runtime.schedules.list()).schedules] == ["gone", "kept", "paused"]
        assert await runtime.schedules.pause(session.id, "paused", wait=0.05) == ACCEPTED  # the tool still runs
        assert await runtime.schedules.delete(session.id, "gone", wait=0.05) == ACCEPTED
        traces.gate.set()
        async with asyncio.timeout(30):
            while len(await fired(session, runtime)) < 1:
                await asyncio.sleep(0.01)
        await quiet(runtime, session)
        assert [event.name for event in await fired(session, runtime)] == ["kept"]
        assert (await runtime.schedules.get(session.id, "paused")).state == "paused"
        with pytest.raises(NotFound, match="roost schedule list"):
            await runtime.schedules.get(session.id, "gone")
        clock.ahead += 3 * HOUR
        await fire(runtime, clock)
        await quiet(runtime, session)
        assert {event.name for event in await fired(session, runtime)} == {"kept"}


@sqlite_only
async def test_a_firing_that_the_store_made_before_a_pause_is_dropped_after_it(tmp_path: Path) -> None:
    clock, clerk = Clock(), Speaker()
    async with running(tmp_path, clerk.agent, config=clock.config) as runtime:
        session = await runtime.session("a")
        await runtime.schedules.set(session.id, "h", hourly())
        first = await due(runtime, session, "h")
        await runtime.schedules.pause(session.id, "h")
        for stale in (first, NEVER):
            await runtime.sessions.put(session.id, DueInput("h", stale))
        await quiet(runtime, session)
        resumed = await runtime.schedules.resume(session.id, "h")
        assert isinstance(resumed, ScheduleView)
        await runtime.sessions.put(session.id, DueInput("h", first))  # of the time before the pause
        await quiet(runtime, session)
        assert await fired(session, runtime) == []
        assert resumed.coming[0].at > first


@sqlite_only
async def test_what_came_due_in_a_pause_is_not_made_up_for(tmp_path: Path) -> None:
    clock, clerk = Clock(), Speaker()
    async with running(tmp_path, clerk.agent, config=clock.config) as runtime:
        session = await runtime.session("a")
        await runtime.schedules.set(session.id, "d", ScheduleSpec(text="x", cron="0 9 * * *", missed="all"))
        assert isinstance(await runtime.schedules.pause(session.id, "d"), ScheduleView)
        changed = await runtime.schedules.set(session.id, "d", ScheduleSpec(text="y", cron="0 10 * * *"))
        assert isinstance(changed, ScheduleView)
        assert (changed.state, changed.coming) == ("paused", ())
        assert [view.state for view in (await runtime.schedules.list()).schedules] == ["paused"]  # still found
        resumed = await runtime.schedules.resume(session.id, "d")
        assert isinstance(resumed, ScheduleView)
        assert resumed.coming[0].at > time.time()
        assert resumed.coming[0].local[11:16] == "10:00"
        await quiet(runtime, session)
        assert await fired(session, runtime) == []


@sqlite_only
async def test_while_a_turn_runs_one_firing_waits_and_not_more(tmp_path: Path) -> None:
    clock, traces = Clock(), Traces()
    async with running(tmp_path, agent([calling("safe"), "done"], traces.tools()), config=clock.config) as runtime:
        session = await runtime.session("a")
        await runtime.schedules.set(session.id, "h", hourly())
        first = await due(runtime, session, "h")
        await session.send("hold")
        await traces.started.wait()
        for count in range(5):
            clock.go_to(first + count * HOUR + 1)
            await fire(runtime, clock)
        assert (await runtime.sessions.get(session.id)).pending == 1
        traces.gate.set()
        await until(session, ScheduleFired)
        await quiet(runtime, session)
        (only,) = await fired(session, runtime)
        assert (only.due, only.missed, only.next) == (first + 4 * HOUR, 4, first + 5 * HOUR)


@sqlite_only
async def test_a_stopped_session_waits_and_a_deleted_one_has_none(tmp_path: Path) -> None:
    clock, clerk = Clock(), Speaker()
    async with running(tmp_path, clerk.agent, config=clock.config) as runtime:
        session = await runtime.session("a")
        await session.send("hello")
        await until(session, ev.TurnCompleted)
        await runtime.schedules.set(session.id, "h", hourly())
        first = await due(runtime, session, "h")
        await session.control("stop")
        clock.go_to(first + 5 * HOUR + 1)
        await fire(runtime, clock)
        await asyncio.sleep(0.3)
        assert await fired(session, runtime) == []
        assert (await runtime.schedules.get(session.id, "h")).session_state == "stopped"
        with pytest.raises(Conflict, match="start it again"):
            await runtime.schedules.run(session.id, "h")
        await session.control("start")
        await until(session, ScheduleFired)
        await quiet(runtime, session)
        assert [event.missed for event in await fired(session, runtime)] == [5]
        await session.delete()
        assert await runtime.schedules.list() == ScheduleList(schedules=[])
        assert await runtime.node.store.dispatch.fire(clock() + 30 * DAY) is None


@sqlite_only
async def test_what_comes_due_before_an_order_is_taken_in_counts(tmp_path: Path) -> None:
    clock, traces = Clock(), Traces()
    async with running(tmp_path, agent([calling("safe"), "done"], traces.tools()), config=clock.config) as runtime:
        session = await runtime.session("a")
        await session.send("hold")
        await traces.started.wait()
        ordered = time.time()
        assert await runtime.schedules.set(session.id, "h", hourly(), wait=0.05) == ACCEPTED
        clock.ahead = 2.5 * HOUR
        traces.gate.set()
        event = await until(session, ScheduleFired)
        assert ordered + 2 * HOUR <= event.due <= ordered + 2 * HOUR + 10
        assert event.missed == 1


@sqlite_only
async def test_once_at_a_time(tmp_path: Path) -> None:
    clock, clerk = Clock(), Speaker()
    async with running(tmp_path, clerk.agent, config=clock.config) as runtime:
        session = await runtime.session("a")
        with pytest.raises(Invalid, match="later time") as past:
            await runtime.schedules.set(session.id, "o", ScheduleSpec(text="x", at=time.time() - 61))
        assert past.value.code == "past"
        at = time.time() + HOUR
        for missed in ("once", "skip"):
            spec = ScheduleSpec(text="x", at=at, missed=missed)
            await runtime.schedules.set(session.id, missed, spec)
        clock.go_to(at + DAY)
        await fire(runtime, clock)
        async with asyncio.timeout(30):
            while (await runtime.schedules.of(session.id)).schedules:
                await asyncio.sleep(0.01)
        await quiet(runtime, session)
        assert {event.name: event.run for event in await fired(session, runtime)} == {"once": True, "skip": False}
        assert await runtime.schedules.list() == ScheduleList(schedules=[])


@sqlite_only
async def test_a_person_has_it_run_now(tmp_path: Path) -> None:
    clock, clerk = Clock(), Speaker("here it is")
    async with running(tmp_path, clerk.agent, config=clock.config) as runtime:
        session = await runtime.session("a")
        await runtime.schedules.set(session.id, "h", hourly())
        first = await due(runtime, session, "h")
        accepted = await runtime.schedules.run(session.id, "h", key="k")
        assert (await runtime.schedules.run(session.id, "h", key="k")).duplicate
        assert await session.answer(accepted.input) == "here it is"
        assert await due(runtime, session, "h") == first
        await runtime.schedules.pause(session.id, "h")
        assert await session.answer((await runtime.schedules.run(session.id, "h")).input) == "here it is"
        assert (await runtime.schedules.get(session.id, "h")).state == "paused"
        assert [event.due for event in await fired(session, runtime)] == [None, None]


@sqlite_only
async def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, Speaker().agent) as runtime:
        session = await runtime.session("a")
        for name, spec in {
            "bad name": hourly(),
            "x" * 65: hourly(),
            "a": hourly(text=" "),
            "b": hourly(zone="Mars"),
        }.items():
            with pytest.raises(Invalid):
                await runtime.schedules.set(session.id, name, spec)
        for number in range(MOST):
            await runtime.schedules.set(session.id, f"s{number}", hourly(), wait=0 if number < MOST - 1 else 5)
        with pytest.raises(Invalid, match="64 schedules"):
            await runtime.schedules.set(session.id, "more", hourly())
        await runtime.schedules.set(session.id, "s1", hourly("changed"))
        for order in (runtime.schedules.pause, runtime.schedules.resume, runtime.schedules.delete):
            with pytest.raises(NotFound):
                await order(session.id, "nobody")
        with pytest.raises(NotFound):
            await runtime.schedules.set("nobody", "a", hourly())
        with pytest.raises(Invalid, match="roost schedule"):
            await runtime.sessions.set_timer(session.id, "schedule:s1", time.time() + 9, "mine")


@sqlite_only
async def test_the_index_has_those_of_all_sessions(tmp_path: Path) -> None:
    async with running(tmp_path, Speaker().agent) as runtime:
        sessions = [await runtime.session("a") for _ in range(3)]
        for session in sessions:
            await runtime.schedules.set(session.id, "one", hourly())
            await runtime.sessions.set_timer(session.id, "t", time.time() + DAY, "mine")
        await runtime.schedules.set(sessions[0].id, "two", hourly())
        names = sorted(session.id for session in sessions)
        assert [view.session for view in (await runtime.schedules.list()).schedules] == sorted([*names, sessions[0].id])
        page = await runtime.schedules.list(after=names[0], limit=1)
        assert {view.session for view in page.schedules} == {page.next} == {names[1]}
        assert {view.name for view in (await runtime.schedules.of(sessions[0].id)).schedules} == {"one", "two"}


@sqlite_only
async def test_who_is_to_be_woken_is_not_stopped_for_being_idle(tmp_path: Path, clock: MovedClock) -> None:
    config = KernelConfig(linger=0.02, scan=0.1, session_timeout=0.3, cleanup_every=0.1)
    async with running(tmp_path, Speaker().agent, config=config) as runtime:
        woken, idle = await runtime.session("a"), await runtime.session("a")
        await runtime.schedules.set(woken.id, "h", hourly())
        async with asyncio.timeout(30):
            while (await runtime.sessions.get(idle.id)).state != "stopped":
                await asyncio.sleep(0.05)
        await clock.sleep(0.6)
        assert (await runtime.sessions.get(woken.id)).state == "created"
