"""What a program, a client and a stop at a bad moment can make of terminals."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import zlib
from pathlib import Path

import pytest

from roost.authority import Authority, acting
from roost.errors import Conflict, Forbidden, Invalid
from roost.features.terminals import room, suspension
from roost.features.terminals.events import TerminalEnded
from roost.features.terminals.recording import Recording, asciicast, packed, unpacked
from roost.features.terminals.session_terminals import terminals
from roost.sandbox.choose import Isolation

from .support import PATIENCE, agent, events, lines, running, shows, until_ended


async def test_output_that_asks_for_much_work_leaves_the_node_free(tmp_path: Path) -> None:
    script = r"printf 'x\033[2J%.0s' $(seq 1000); printf done; cat"
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        one = await runtime.terminals.open(session.id, command=["bash", "-c", script], columns=500, rows=200)
        began, longest = time.process_time(), 0.0
        while "done" not in "\n".join(await lines(runtime, session.id, one.terminal)):
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)
        assert longest < (time.process_time() - began) / 4


async def test_what_is_not_drawn_yet_does_not_hold_up_a_suspension(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspension, "_DRAWING", 0.2)
    async with running(tmp_path, agent(level=1)) as runtime:
        session = await runtime.session("a")
        script = r"while :; do printf '\033[2J%.0s' $(seq 5000); done"
        made = await runtime.terminals.open(session.id, command=["bash", "-c", script], columns=500, rows=200)
        own = terminals(runtime.node.slots.live[session.id])
        screen = own.all[made.terminal].screen
        async with asyncio.timeout(PATIENCE):
            while not screen.behind:
                await asyncio.sleep(0.01)
            monkeypatch.setattr(screen, "proceed", lambda seconds: True)  # there is always more to draw
            noting, turns = asyncio.create_task(suspension.sleepers(own)), 0
            while not noting.done():
                await asyncio.sleep(0)
                turns += 1
        assert turns > 5  # others had their turn
        assert len(noting.result()) == 1
        assert screen.behind


async def test_a_recording_is_read_while_the_program_writes(tmp_path: Path) -> None:
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        script = "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done; echo over; cat"
        one = (await runtime.terminals.open(session.id, command=["sh", "-c", script])).terminal
        while "over" not in "\n".join(await lines(runtime, session.id, one)):
            assert '"version": 2' in (await runtime.terminals.recording(session.id, one)).cast


async def test_agents_and_requests_at_once_stay_below_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MOST_OF_NODE", 3)
    async with running(tmp_path, agent()) as runtime:
        sessions = [await runtime.session("a") for _ in range(3)]
        for session in sessions:
            await runtime.terminals.open(session.id, command=["true"])
        for session in sessions:
            for one in (await runtime.terminals.list(session.id)).terminals:
                await until_ended(runtime, session.id, one.terminal)
        asked = [runtime.terminals.open(one.id, command=["cat"]) for one in sessions for _ in range(3)]
        made = await asyncio.gather(*asked, return_exceptions=True)
        refused = [one.code for one in made if isinstance(one, Conflict)]
        assert len(refused) == 6
        assert {*refused} <= {"too_many_terminals", "terminal_failed"}  # of sessions that were asleep


async def test_a_terminal_that_the_log_knows_is_waited_for_while_its_program_starts(tmp_path: Path) -> None:
    isolation = Isolation(required=0, prefers=1)  # a sandbox takes a moment to start
    async with running(tmp_path, agent().replace(isolation=isolation)) as runtime:
        session, api = await runtime.session("a"), runtime.terminals
        opening = asyncio.create_task(api.open(session.id, command=["cat"]))
        while not (found := (await api.list(session.id)).terminals):
            await asyncio.sleep(0)
        assert (await api.resize(session.id, found[0].terminal, 90, 30)).columns == 90
        assert (await opening).terminal == found[0].terminal


async def test_an_account_types_into_none_where_nothing_isolates(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("[sandbox]\naccounts = 0\n")
    async with running(tmp_path, agent()) as runtime:
        alice = Authority(account="alice", role="user")
        with acting(alice):
            session = await runtime.session("a")
        one = (await runtime.terminals.open(session.id, command=["cat"])).terminal
        with acting(alice):
            assert (await runtime.terminals.get(session.id, one)).state == "running"
            with pytest.raises(Forbidden) as refused:
                await runtime.terminals.type(session.id, one, text="x")
        assert refused.value.code == "terminal_needs_sandbox"


async def test_a_stop_with_little_grace_keeps_what_terminals_wrote(tmp_path: Path) -> None:
    """The program ignores the hangup of its terminal, and is slow to end."""
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        one = (await runtime.terminals.open(session.id, command=["sh", "-c", "echo here; exec sleep 60"])).terminal
        await shows(runtime, session.id, one, "here")
        await runtime.stop(grace=0.0)
    async with running(tmp_path, agent()) as runtime:
        [ended] = await events(runtime, session, TerminalEnded)
        assert ended.reason == "its daemon stopped, or the session moved"
        assert "here" in (await runtime.terminals.recording(session.id, one)).cast


async def test_a_rollback_ends_the_terminals_of_the_files_that_it_puts_back(tmp_path: Path) -> None:
    async with running(tmp_path, agent(tools=("read_file", "write_file"))) as runtime:
        session, api = await runtime.session("a"), runtime.terminals
        await session.ask("hello")
        await runtime.checkpoints.make(session.id, "before")
        one = (await api.open(session.id, command=["sh"])).terminal
        await api.type(session.id, one, text="echo later > made; echo d''one\r")
        await shows(runtime, session.id, one, "done")
        await runtime.checkpoints.rollback(session.id, "before")
        ended = await until_ended(runtime, session.id, one)
        assert ended.reason == "the session was rolled back"
        assert "done" in (await api.recording(session.id, one)).cast
        other = (await api.open(session.id, command=["sh", "-c", "ls made || echo gone; cat"])).terminal
        await shows(runtime, session.id, other, "gone")
        assert len(await events(runtime, session, TerminalEnded)) == 1
    async with running(tmp_path, agent(tools=("read_file", "write_file"))) as runtime:
        states = {each.terminal: each.reason for each in (await runtime.terminals.list(session.id)).terminals}
        assert states == {one: "the session was rolled back", other: "its daemon stopped, or the session moved"}


def test_a_recording_of_a_foreign_log_is_bounded() -> None:
    bomb = base64.b64encode(zlib.compress(b"x" * 100_000_000)).decode()
    assert len(unpacked(bomb)) < 50_000_000
    for broken in ("a", base64.b64encode(b"nonsense").decode()):
        with pytest.raises(Invalid):
            unpacked(broken)


def test_a_recording_keeps_lines_with_other_ends_of_lines_than_its_own() -> None:
    """A program leaves nothing of its output out of the log by a separator of lines of Unicode."""
    recording = Recording(80, 24)
    recording.add(0.1, "one\u2028two\x85three\r\n".encode())
    recording.add(0.2, b"four\r\n")
    kept = unpacked(packed(asciicast(recording, began=1.0, title="a\u2029b"), lambda text: text))
    assert [json.loads(line)[2] for line in kept.split("\n")[1:-1]] == ["one\u2028two\x85three\r\n", "four\r\n"]
    assert json.loads(kept.split("\n")[0])["title"] == "a\u2029b"


@pytest.mark.parametrize("name", ["agent", "owner"])
async def test_an_account_types_under_no_name_that_is_not_its_own(tmp_path: Path, name: str) -> None:
    """What an account opens and types is not taken for the session's agent, nor for the home's owner."""
    async with running(tmp_path, agent()) as runtime:
        session = await runtime.session("a")
        opened = await runtime.terminals.open(session.id, command=["cat"])
        with acting(Authority(account=name, role="owner")):
            held = await runtime.terminals.keyboard(session.id, opened.terminal, "take", name=name)
        assert held.keyboard == f"account/{name}"
        with pytest.raises(Conflict):
            await runtime.terminals.type(session.id, opened.terminal, text="x")
