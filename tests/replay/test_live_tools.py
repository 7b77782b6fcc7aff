"""Replays with live tools: in a folder of their own, without a network, and with nothing left afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roost import Agent, Runtime
from roost.authority import Authority, acting
from roost.features.replay.duties import ReplayDuties
from roost.log import events as ev
from roost.policy.hooks import Answer as Judged
from roost.policy.hooks import Moment, PythonHook
from roost.sandbox.choose import Isolation
from roost.testing.scripted import Answer, Call
from tests.kernel.support import calling, running, until

from .test_replay import FILES, Bell, clerk, difference, recorded


def left(runtime: Runtime) -> list[str]:
    """What replays have left at the home."""
    home = runtime.home
    there = [name for name in os.listdir(home / "workspaces") if name.startswith(".rpl")]
    locks = os.listdir(home / "replays") if (home / "replays").is_dir() else []
    memory = home / "workspaces.memory"
    return (
        [*there, *locks, *(name for name in os.listdir(memory) if "rpl" in name)] if memory.is_dir() else there + locks
    )


def shelling(*commands: str, **more: Any) -> Agent:
    answers = [Answer(calls=(Call("shell", {"command": command}),)) for command in commands]
    return clerk([*answers, "Done."], ["shell", "write_file"], permissions="all", **more)


async def test_live_tools_do_the_same_in_a_folder_of_their_own(tmp_path: Path) -> None:
    async with running(tmp_path, clerk()) as runtime:
        session = await recorded(runtime)
        mine = runtime.node.resources.private(session) / "a.txt"
        mine.write_text("changed since")
        found = await runtime.replays.run(session, tools="live", files=["a.txt", "b.txt"])
        assert found.divergence is None
        assert found.files == {"a.txt": "hello", "b.txt": None}
        assert mine.read_text() == "changed since"
        assert left(runtime) == []


async def test_a_command_that_does_something_else(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "version").write_text("1\n")
    async with running(tmp_path / "home", shelling("cat version")) as runtime:
        handle = await runtime.session("clerk", workspace=str(given))
        await handle.ask("Go.")
        assert (await runtime.replays.run(handle.id, tools="live", folder=str(given))).divergence is None
        (given / "version").write_text("2\n")
        one = difference(await runtime.replays.run(handle.id, tools="live", folder=str(given)))
        assert one.kind == "result"
        assert "-1" in one.diff.splitlines()
        assert "+2" in one.diff.splitlines()
        one = difference(await runtime.replays.run(handle.id, tools="live"))
        assert (one.kind, one.summary) == (
            "result",
            "shell ends otherwise: ok, exit code 1, and not ok, exit code 0",
        )
        assert left(runtime) == []


async def test_tools_with_effects_outside_are_recorded_ones(tmp_path: Path) -> None:
    bell = Bell()
    answers = [calling("ring", where="door"), FILES[0], "Rung."]
    async with running(tmp_path, clerk(answers, [bell.tool, "write_file"], permissions="all")) as runtime:
        session = await recorded(runtime)
        found = await runtime.replays.run(session, tools="live", files=["a.txt"])
        assert found.divergence is None
        assert found.files == {"a.txt": "hello"}
        assert bell.rung == ["door"]


async def test_the_network_is_off_unless_it_is_given(tmp_path: Path) -> None:
    asks = shelling('test -n "$http_proxy" && echo open || echo closed', isolation=Isolation(hosts=("example.org",)))
    async with running(tmp_path, asks) as runtime:
        session = await recorded(runtime)
        assert (await runtime.replays.run(session, tools="live", network=True)).divergence is None
        one = difference(await runtime.replays.run(session, tools="live"))
        assert "-open" in one.diff.splitlines()
        assert "+closed" in one.diff.splitlines()


async def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    async with running(tmp_path, clerk()) as runtime:
        duties = runtime.node.feature(ReplayDuties)
        dead = runtime.node.resources.private(".rpl_dead")
        dead.mkdir(parents=True)
        (runtime.home / "replays").mkdir()
        with duties.folders.lent("alive", private=True, begin=None) as files:
            (files.root / "x").write_text("x")
            await duties.tidy()
            assert not dead.exists()
            assert (files.root / "x").exists()
        assert left(runtime) == []


async def crafted(runtime: Runtime, folder: Path) -> str:
    """A log in which a person approved a call, and gave a rule for more, after something that is no rule had asked."""
    handle = await runtime.session("clerk")
    accepted = await handle.send("Go.")
    asked = await until(handle, ev.ApprovalRequested)
    await handle.approve(asked.call, "approve")
    await handle.answer(accepted.id)
    assert (await runtime.replays.run(handle.id, tools="live", files=["a.txt"])).files == {"a.txt": "hello"}
    await runtime.exchange.write(handle.id, folder / "log.jsonl")
    log = (folder / "log.jsonl").read_text()
    given = log.replace('"decision":"approve"', '"decision":"approve","always":["write_file"],"scope":"session"')
    assert given != log
    return given.replace(f'"why":"{asked.why}"', '"why":"classifier: fine"')


def rewritten(log: str, change: Callable[[list[str]], list[str]]) -> str:
    """Return a log with other events, numbered anew."""
    head, *lines = log.splitlines()
    events = [line.partition('"event":')[2][:-1] for line in lines if '"event":' in line]
    changed = change(events)
    numbered = [f'{{"seq":{seq},"event":{event}}}' for seq, event in enumerate(changed, 1)]
    return "\n".join([head.replace(f'"events":{len(events)}', f'"events":{len(changed)}'), *numbered])


@pytest.mark.parametrize("permissions", ["ask", "read_only"])
async def test_no_log_says_that_a_live_call_is_allowed(tmp_path: Path, permissions: Any) -> None:
    asking = clerk([FILES[0], "Done."], ["write_file"], permissions="ask")
    async with running(tmp_path / "home", asking) as runtime:
        log = await crafted(runtime, tmp_path)
        without = rewritten(log, lambda events: [one for one in events if '"type":"approval.' not in one])
        (tmp_path / "crafted.jsonl").write_text(log)
        imported = (await runtime.exchange.read(tmp_path / "crafted.jsonl", id="copy", agent="clerk")).session.id
        runtime.agents.add(asking.replace(permissions=permissions))
        with acting(Authority(account="eve", role="user")):
            assert (await runtime.replays.log(log, tools="live", files=["a.txt"])).files == {"a.txt": None}
            found = await runtime.replays.log(without, tools="live", files=["a.txt"])
            assert (difference(found).kind, found.files) == ("gate", {"a.txt": None})
        assert (await runtime.replays.run(imported, tools="live", files=["a.txt"])).files == {"a.txt": None}
        if permissions == "read_only":  # a denial counts for the home's own logs, too
            found = await runtime.replays.log(log, tools="live", files=["a.txt"])
            assert (difference(found).kind, found.files) == ("gate", {"a.txt": None})


async def test_a_log_of_an_account_runs_nothing_that_hooks_would_judge(tmp_path: Path) -> None:
    async def nothing(moment: Moment) -> Judged | None:
        return None

    everything = clerk(permissions="all")
    async with running(tmp_path / "home", everything) as runtime:
        session = await recorded(runtime)
        await runtime.exchange.write(session, tmp_path / "log.jsonl")
        log = (tmp_path / "log.jsonl").read_text()
        with acting(Authority(account="eve", role="user")):
            assert (await runtime.replays.log(log, tools="live", files=["a.txt"])).files == {"a.txt": "hello"}
            runtime.agents.add(everything.replace(hooks=[PythonHook(nothing, on=["pre_tool"])]))
            assert (await runtime.replays.log(log, tools="live", files=["a.txt"])).files == {"a.txt": None}


async def test_a_call_that_a_mangled_log_puts_into_a_state_does_not_run(tmp_path: Path) -> None:
    """Before the turn, where no call belongs, stand an answer and the approval of its call."""

    def smuggled(events: list[str]) -> list[str]:
        kinds = [event.partition('"type":"')[2].partition('"')[0] for event in events]
        begins, resolved = kinds.index("turn.started"), kinds.index("approval.resolved")
        return [*events[:begins], *events[begins + 1 : resolved + 1], events[begins], *events[resolved + 1 :]]

    asking = clerk([FILES[0], "Done."], ["write_file"], permissions="ask")
    async with running(tmp_path / "home", asking) as runtime:
        log = rewritten(await crafted(runtime, tmp_path), smuggled)
        for tools in ("recorded", "live"):
            files = ["a.txt"] if tools == "live" else []
            with acting(Authority(account="eve", role="user")):
                found = await runtime.replays.log(log, tools=tools, files=files)
            assert difference(found).kind == "call"
            assert not any(found.files.values())


async def test_recorded_calls_without_any_event_are_missing(tmp_path: Path) -> None:
    async with running(tmp_path, clerk()) as runtime:
        session = await recorded(runtime)
        await runtime.exchange.write(session, tmp_path / "log.jsonl")
        log = (tmp_path / "log.jsonl").read_text()
        bare = rewritten(log, lambda events: [one for one in events if '"type":"tool.' not in one])
        runtime.agents.add(clerk(["At once."]))
        one = difference(await runtime.replays.log(bare, agent="clerk"))
        assert (one.kind, one.recorded) == ("missing", "write_file, read_file, list_files")
