"""Terminals of a session: what people and the agent do with the same one, and what the log knows of it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from roost.errors import Busy, Conflict, Invalid, NotFound
from roost.features.terminals import shared_terminal
from roost.features.terminals.events import OpenTerminalInput, TerminalEnded, TerminalOpened, TerminalTyped
from roost.features.terminals.service import Terminals
from roost.log import events as ev
from roost.log.content import Text
from tests.kernel.support import asleep, calling

from .support import agent, events, lines, running, shows, until_ended

LEVELS = pytest.mark.parametrize("level", [0, 1])


@LEVELS
async def test_a_person_types_and_the_log_knows_it_before_the_program(tmp_path: Path, level: int) -> None:
    async with running(tmp_path, agent(level=level)) as runtime:
        session = await runtime.session("a")
        view = await runtime.terminals.open(session.id, command=["sh"], columns=100, rows=30, name="ada")
        assert (view.state, view.by, view.columns, view.rows) == ("running", "ada", 100, 30)
        await runtime.terminals.type(session.id, view.terminal, text="stty size; tty; echo $((6*7))!\r", name="ada")
        assert "30 100" in "\n".join(await shows(runtime, session.id, view.terminal, "42!"))
        [typed] = await events(runtime, session, TerminalTyped)
        assert (typed.by, typed.text, typed.hidden) == ("ada", "stty size; tty; echo $((6*7))!\r", 0)
        await runtime.terminals.resize(session.id, view.terminal, 60, 20)
        await runtime.terminals.type(session.id, view.terminal, text="stty size\r")
        await shows(runtime, session.id, view.terminal, "20 60")
        await runtime.terminals.type(session.id, view.terminal, text="exit 3\r")
        assert (await until_ended(runtime, session.id, view.terminal)).code == 3
        await asleep(runtime, session, seconds=30)
        [opened] = await events(runtime, session, TerminalOpened)
        [ended] = await events(runtime, session, TerminalEnded)
        assert (opened.command, ended.code, ended.reason) == (("sh",), 3, None)
        cast = (await runtime.terminals.recording(session.id, view.terminal)).cast.splitlines()
    head, *output = map(json.loads, cast)
    assert (head["version"], head["width"], head["height"]) == (2, 100, 30)
    assert [each[2] for each in output if each[1] == "r"] == ["60x20"]
    assert "42!" in "".join(each[2] for each in output if each[1] == "o")


@LEVELS
async def test_a_password_is_not_in_the_log(tmp_path: Path, level: int) -> None:
    async with running(tmp_path, agent(level=level)) as runtime:
        session = await runtime.session("a")
        script = "stty -echo; echo ask; read x; stty echo; echo got ${#x}; read y"
        view = await runtime.terminals.open(session.id, command=["sh", "-c", script])
        await shows(runtime, session.id, view.terminal, "ask")
        await runtime.terminals.type(session.id, view.terminal, text="hunter2\r")
        await shows(runtime, session.id, view.terminal, "got 7")
        await runtime.terminals.type(session.id, view.terminal, text="seen\r")
        typed = await events(runtime, session, TerminalTyped)
        assert [(one.text, one.hidden) for one in typed] == [("", 8), ("seen\r", 0)]


async def test_who_holds_the_keyboard_types_alone(tmp_path: Path) -> None:
    async with running(tmp_path, agent()) as runtime:
        session, api = await runtime.session("a"), runtime.terminals
        one = (await api.open(session.id, command=["cat"])).terminal
        await api.keyboard(session.id, one, "take", name="ada")
        with pytest.raises(Conflict, match="ada holds the keyboard") as refused:
            await api.type(session.id, one, text="x", name="bob")
        assert refused.value.code == "keyboard_held"
        with pytest.raises(Conflict, match="ada holds"):
            await api.keyboard(session.id, one, "take", name="bob")
        assert (await api.keyboard(session.id, one, "take", name="bob", force=True)).keyboard == "bob"
        await api.type(session.id, one, text="bob was here\r", name="bob")
        await shows(runtime, session.id, one, "bob was here")
        assert (await api.keyboard(session.id, one, "release", name="bob")).keyboard is None
        await api.type(session.id, one, text="all may\r", name="ada")
        await shows(runtime, session.id, one, "all may")
        with pytest.raises(Invalid):
            await api.type(session.id, one, text="x", name="agent")


async def test_a_daemon_that_stops_ends_terminals_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        view = await runtime.terminals.open(session.id, command=["cat"])
        await runtime.terminals.type(session.id, view.terminal, text="still here\r")
        await shows(runtime, session.id, view.terminal, "still here")
    async with running(tmp_path, agent()) as runtime:
        [known] = (await runtime.terminals.list(session.id)).terminals
        assert (known.state, known.reason) == ("ended", "its daemon stopped, or the session moved")
        assert "still here" in (await runtime.terminals.recording(session.id, known.terminal)).cast
        with pytest.raises(Conflict, match="has ended"):
            await runtime.terminals.type(session.id, known.terminal, text="x")
        with pytest.raises(NotFound):
            await runtime.terminals.get(session.id, "term-none")


async def test_a_key_opens_one_terminal_only(tmp_path: Path) -> None:
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        asked = [runtime.terminals.open(session.id, command=["cat"], key="k") for _ in range(4)]
        made = await asyncio.gather(*asked, return_exceptions=True)
        assert {one.terminal for one in made if not isinstance(one, BaseException)} == {made[0].terminal}  # type: ignore[union-attr]
        assert len((await runtime.terminals.list(session.id)).terminals) == 1
        for number in range(3):
            await runtime.terminals.open(session.id, command=["cat"], key=str(number))
        with pytest.raises(Conflict) as refused:
            await runtime.terminals.open(session.id, command=["cat"])
        assert refused.value.code == "too_many_terminals"


async def test_a_program_that_cannot_start_says_why(tmp_path: Path) -> None:
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        view = await runtime.terminals.open(session.id, command=["/nosuch/program"])
        ended = await until_ended(runtime, session.id, view.terminal)
        assert ended.code in (126, 127)
        assert "nosuch" in "\n".join(await lines(runtime, session.id, view.terminal))


async def test_an_idle_terminal_is_ended_and_the_session_sleeps(tmp_path: Path) -> None:
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        view = await runtime.terminals.open(session.id, command=["cat"], idle=0.3)
        ended = await until_ended(runtime, session.id, view.terminal)
        assert (ended.reason or "").startswith("nothing happened for")
        await asleep(runtime, session, seconds=30)


async def test_the_idle_time_begins_anew_when_the_last_client_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_terminal, "QUIET", 0.1)  # it looks so often
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        view = await runtime.terminals.open(session.id, command=["cat"], idle=1.0)
        shared = await runtime.service(Terminals).attached(session.id, view.terminal)
        viewer = shared.attach("ada", after=None, scrollback=0)
        await asyncio.sleep(1.5)  # longer than its idle time
        assert (await runtime.terminals.get(session.id, view.terminal)).state == "running"
        left = time.monotonic()
        shared.detach(viewer)
        await until_ended(runtime, session.id, view.terminal)
        assert time.monotonic() - left >= 1.0


async def test_stopping_the_session_ends_its_terminals(tmp_path: Path) -> None:
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        view = await runtime.terminals.open(session.id, command=["cat"])
        await runtime.sessions.control(session.id, "stop")
        assert (await until_ended(runtime, session.id, view.terminal)).reason == "the session was stopped"


async def test_an_account_opens_none_where_nothing_isolates(tmp_path: Path) -> None:
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        order = OpenTerminalInput("term-1", ("cat",), 80, 24, "alice", 60.0, walled=True)
        await runtime.sessions.put(session.id, order)
        ended = await until_ended(runtime, session.id, "term-1")
        assert "isolation level 1" in (ended.reason or "")


async def test_a_fork_has_no_terminals(tmp_path: Path) -> None:
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        view = await runtime.terminals.open(session.id, command=["cat"])
        fork = await runtime.checkpoints.fork(session.id)
        assert (await runtime.terminals.list(fork.id)).terminals == []
        assert (await runtime.terminals.get(session.id, view.terminal)).state == "running"


async def test_a_program_that_reads_nothing_bounds_what_waits(tmp_path: Path) -> None:
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        view = await runtime.terminals.open(session.id, command=["sh", "-c", "stty raw -echo; echo ready; sleep 600"])
        await shows(runtime, session.id, view.terminal, "ready")
        typing = [runtime.terminals.type(session.id, view.terminal, text="x" * 60_000) for _ in range(12)]
        tasks = [asyncio.create_task(each) for each in typing]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        refused = [each.exception() for each in tasks if each.done() and each.exception() is not None]
        assert refused
        assert all(isinstance(error, Busy) and error.code == "terminal_busy" for error in refused)
        await runtime.terminals.end(session.id, view.terminal)
        assert (await until_ended(runtime, session.id, view.terminal)).reason == "owner ended it"


async def test_the_agent_and_a_person_use_the_same_terminal(tmp_path: Path) -> None:
    """The agent starts a REPL, a person types into it, and the agent reads what came of it."""
    person = asyncio.Event()

    def script(request: object) -> object:
        results = [
            part.text
            for message in request.messages  # type: ignore[attr-defined]
            for part in getattr(message, "parts", ())
            if isinstance(part, Text)
        ]
        heard = "\n".join(results)
        terminal = heard.rpartition("[term-")[2].split()[0] if "[term-" in heard else ""
        match sum("[term-" in one for one in results):
            case 0:
                return calling("terminal_start", command="python3 -q")
            case 1:
                return calling("terminal_send", terminal=f"term-{terminal}", text="x = 41", keys=["enter"])
            case 2:
                person.set()
                return calling("terminal_wait", terminal=f"term-{terminal}", text="<42>", seconds=60)
            case _:
                return heard.rpartition("<42>")[1] or "nothing"

    tools = ("terminal_start", "terminal_send", "terminal_read", "terminal_wait", "terminal_end")
    async with running(tmp_path, agent(script, tools=tools)) as runtime:
        session = await runtime.session("a")
        asking = asyncio.create_task(session.ask("go"))
        await asyncio.wait([asking, asyncio.create_task(person.wait())], return_when=asyncio.FIRST_COMPLETED)
        [one] = (await runtime.terminals.list(session.id)).terminals
        assert one.by == "agent"
        await runtime.terminals.type(session.id, one.terminal, text="print('<%d>' % (x + 1))\r", name="ada")
        assert await asking == "<42>"
        done = await events(runtime, session, ev.ToolCompleted)
        assert ["<42>" in str(event.parts) for event in done][-1]
        [typed] = await events(runtime, session, TerminalTyped)
        assert typed.by == "ada"


async def test_terminals_that_open_as_the_session_falls_asleep_are_kept(tmp_path: Path) -> None:
    """The session lingers for 0.05 s after each turn: some of these open just then."""
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        for wait in (0.0, 0.02, 0.04, 0.045, 0.05, 0.055, 0.06, 0.08, 0.1):
            await session.ask("hello")
            await asyncio.sleep(wait)
            view = await runtime.terminals.open(session.id, command=["cat"])
            await runtime.terminals.type(session.id, view.terminal, text="here\r")
            await shows(runtime, session.id, view.terminal, "here")
            await runtime.terminals.end(session.id, view.terminal)
            await until_ended(runtime, session.id, view.terminal)
