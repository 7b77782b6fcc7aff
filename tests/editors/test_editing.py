"""The agent's calls on files as the editor has them, and in the editor's terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.editors.conftest import Home

from roost.features.editor.behaviour import FEATURE
from roost.policy.gate import GateCall, LayeredGate
from roost.policy.touched_paths import command


async def test_an_edit_reaches_a_buffer_that_is_not_saved(node: Home) -> None:
    path = node.work / "notes.txt"
    async with node.editor(full=True) as editor:
        editor.unsaved[str(path)], editor.saves = "a line\nold and not saved\n", False
        session = await node.new(editor)
        assert (await editor.ask(session, "correct it")).stop_reason == "end_turn"
        assert editor.unsaved[str(path)] == "a line\nnew and not saved\n"
        assert path.read_text() == "old\n"  # the editor has not saved it
        read, _ = [one for one in editor.of("tool_call_update") if one["status"] == "completed"]
        assert "old and not saved" in read["content"][0]["content"]["text"]
        (change,) = [one for one in editor.of("tool_call") if one["kind"] == "edit"]
        assert change["content"][0]["type"] == "diff"
    kinds = node.kinds(session)
    assert [kinds.count(one) for one in ("editor.attached", "editor.asked", "editor.took", "editor.passed")] == [
        1, 2, 2, 0
    ]  # fmt: skip
    assert kinds[-1] == "editor.detached" or "editor.detached" in kinds


async def test_a_new_file_and_several_files(home: Home) -> None:
    (home.work / "other.txt").write_text("before\n")
    (home.work / "agents").mkdir()
    (home.work / "agents" / "clerk.md").write_text("---\ntools: [read_file, write_file, edit_files]\n---\nBe brief.\n")
    async with home.editor("clerk", full=True) as editor:
        editor.unsaved[str(home.work / "notes.txt")] = "old\n"
        editor.unsaved[str(home.work / "other.txt")] = "before\n"
        (home.work / "new").mkdir()
        session = await home.new(editor)
        await editor.ask(session, "write")
        assert (home.work / "new" / "page.txt").read_text() == "one\n"
        assert "     1\tone" in editor.text()
        await editor.ask(session, "both")
        assert "Edited notes.txt (1 replacement)\nReplaced other.txt (6 bytes)" in editor.text()
        assert (home.work / "notes.txt").read_text() == "new\n"
        assert (home.work / "other.txt").read_text() == "other\n"
        assert len(editor.writes) == 3


async def test_a_file_that_the_editor_does_not_read_is_read_here(home: Home) -> None:
    async with home.editor(full=True) as editor:  # it knows no file
        session = await home.new(editor)
        await editor.ask(session, "correct it")
        assert editor.text() == "Corrected."
        assert (editor.writes, (home.work / "notes.txt").read_text()) == ([], "new\n")
    assert home.kinds(session).count("editor.passed") == 2


async def test_an_edit_does_not_follow_a_link_that_came_meanwhile(home: Home) -> None:
    """A command of the agent may put a link where the gate saw a file; the editor would follow it out of the folder."""
    path, other = home.work / "notes.txt", home.root / "mine.txt"
    other.write_text("old\n")

    def swap(read: str) -> None:
        editor.reads.append(read)
        if len(editor.reads) == 2:  # the one of the edit
            path.unlink()
            path.symlink_to(other)

    async with home.editor(full=True) as editor:
        editor.unsaved[str(path)], editor.at_read = "old\n", swap
        session = await home.new(editor)
        await editor.ask(session, "correct it")
        assert "leads to another place" in str(editor.of("tool_call_update"))
    assert (editor.writes, other.read_text()) == ([], "old\n")


async def test_what_a_command_of_the_terminal_fetches_is_not_trusted(home: Home) -> None:
    async with home.editor(full=True) as editor:
        session = await home.new(editor)
        await editor.ask(session, "fetch it")
    kinds = home.kinds(session)
    assert (
        kinds.index("editor.took") < kinds.index("session.tainted") < len(kinds) - kinds[::-1].index("tool.completed")
    )


async def test_the_wall_of_the_session_is_none_around_the_terminal() -> None:
    """A session in a sandbox that asks about nothing asks about a command there that it cannot read."""
    gate, root = LayeredGate("all"), Path("/srv/work")
    session: Any = SimpleNamespace(spec=SimpleNamespace(permissions="all"), means=SimpleNamespace(gate=gate))
    for line, decision in (("$(cat plan)", "ask"), ("make", "allow")):
        call = GateCall(
            session="s",
            call="c",
            tool="editor_terminal",
            arguments="{}",
            safety="high_risk",
            inside=False,
            private_workspace=False,
            walled=True,
            touches=command(line, root),
        )
        assert gate.decide(call).decision == "allow"
        assert (await FEATURE.after_gate(session, call, gate.decide(call))).decision == decision


async def test_a_command_in_the_terminal_of_the_editor(node: Home) -> None:
    async with node.editor(full=True) as editor:
        session = await node.new(editor)
        assert (await editor.ask(session, "test it")).stop_reason == "end_turn"
        (question,) = editor.questions  # it runs outside the sandbox
        assert "outside the sandbox" in str(question["call"]["content"])
        assert "42" in editor.text()
        assert "exit status 3" in editor.text()
        assert {"type": "terminal", "terminalId": "t0"} in [
            one for update in editor.of("tool_call_update") for one in update.get("content") or ()
        ]
        assert editor.released == ["t0"]
        editor.answer = lambda options: "reject"
        await editor.ask(session, "test it")
        assert len(editor.terminals) == 1
    async with node.editor() as editor:  # one without a terminal
        await editor.agent.resume_session(session_id=session, cwd=str(node.work))
        await editor.ask(session, "test it")
        assert "there is no tool" in editor.text()


async def test_a_cancelled_turn_ends_the_command(home: Home) -> None:
    async with home.editor(full=True) as editor:
        session = await home.new(editor)
        prompt = asyncio.ensure_future(editor.ask(session, "wait there"))
        while not (home.work / "begun").exists():
            await asyncio.sleep(0.05)
        await editor.agent.cancel(session_id=session)
        assert (await prompt).stop_reason == "cancelled"
        assert await asyncio.wait_for(editor.terminals[0].wait(), 30) != 0


@pytest.mark.daemon
async def test_a_killed_daemon_gets_the_outcome_later(stored: Home) -> None:
    home, path = stored, str(stored.work / "notes.txt")
    home.up()
    async with home.editor(full=True) as editor:
        editor.unsaved[path], editor.hold = "old\n", asyncio.Event()
        session = await home.new(editor)
        prompt = asyncio.ensure_future(editor.ask(session, "correct it"))
        while not editor.writes:
            await asyncio.sleep(0.05)
        home.kill()
        editor.hold.set()
        home.up()
        assert (await prompt).stop_reason == "end_turn"
        assert (editor.unsaved[path], editor.writes) == ("new\n", [path])  # once
        assert editor.text() == "Corrected."
    kinds = home.kinds(session)
    assert [kinds.count(one) for one in ("editor.took", "tool.completed", "turn.completed")] == [2, 2, 1]


@pytest.mark.daemon
async def test_a_killed_editor_leaves_an_honest_outcome(home: Home) -> None:
    path = str(home.work / "notes.txt")
    home.up()
    async with home.editor(full=True) as editor:
        editor.unsaved[path], editor.hold = "old\n", asyncio.Event()
        session = await home.new(editor)
        prompt = asyncio.ensure_future(editor.ask(session, "correct it"))
        while not editor.writes:
            await asyncio.sleep(0.05)
        editor.process.kill()  # nobody says any more what became of the write
        prompt.cancel()
    async with home.editor() as editor:
        await editor.agent.load_session(session_id=session, cwd=str(home.work), mcp_servers=[])
        await editor.until(lambda: editor.text().endswith("Corrected."))  # when its time is up
        ended = editor.of("tool_call_update")[-1]
        assert ended["status"] == "failed"
        assert "not known whether this call took effect" in str(ended["content"])
        assert editor.text().endswith("Corrected.")
        await editor.ask(session, "correct it")  # without an editor, in the folder itself
        assert (home.work / "notes.txt").read_text() == "new\n"


@pytest.mark.daemon
async def test_an_editor_that_died_holds_up_no_later_turn(home: Home) -> None:
    home.up()
    async with home.editor(full=True) as editor:
        session = await home.new(editor)
        await editor.ask(session, "hello")
        editor.process.kill()
    home.post(f"/sessions/{session}/messages", {"text": "correct it"})  # such as a schedule's
    while home.kinds(session).count("turn.completed") < 2:
        await asyncio.sleep(0.5)
    assert (home.work / "notes.txt").read_text() == "new\n"
    kinds = home.kinds(session)
    assert [kinds.count(one) for one in ("editor.asked", "editor.passed", "editor.detached")] == [1, 1, 1]
