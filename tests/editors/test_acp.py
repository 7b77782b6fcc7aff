"""What an editor does with a session."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import acp
import pytest
from acp.exceptions import RequestError
from tests.editors.conftest import ASKED, Home
from tests.harness.prefork import SCRIPT


async def test_a_prompt_is_a_turn_and_its_events_are_updates(node: Home) -> None:
    async with node.editor() as editor:
        session = await node.new(editor)
        done = await editor.ask(session, "think about it")
        assert (done.stop_reason, done.usage.total_tokens > 0) == ("end_turn", True)
        assert editor.text("agent_thought_chunk") == "Where is it?"
        assert editor.text() == "Let me look.Found."
        assert editor.text("user_message_chunk") == ""  # the editor shows its own prompt itself
        (call,) = editor.of("tool_call")
        assert (call["kind"], call["title"], call["status"]) == ("read", "read file notes.txt", "pending")
        assert call["locations"] == [{"path": str(node.work / "notes.txt")}]
        started, ended = editor.of("tool_call_update")
        assert (started["status"], ended["status"]) == ("in_progress", "completed")
        assert {call["toolCallId"]} == {started["toolCallId"], ended["toolCallId"]}
        assert "old" in ended["content"][0]["content"]["text"]
    kinds = node.kinds(session)
    assert (kinds.count("input.received"), kinds.count("turn.completed")) == (1, 1)


async def test_a_session_is_loaded_whole_by_another_process(node: Home) -> None:
    async with node.editor() as editor:
        session = await node.new(editor)
        await editor.ask(session, "hello")
        await editor.ask(session, "correct it")
        (change,) = [one for one in editor.of("tool_call") if one["kind"] == "edit"]
        difference = {"type": "diff", "path": str(node.work / "notes.txt"), "oldText": "old", "newText": "new"}
        assert change["content"] == [difference]
        editor.process.kill()  # as an editor that crashes takes its processes along
    async with node.editor() as editor:
        await editor.agent.load_session(session_id=session, cwd=str(node.work), mcp_servers=[])
        assert editor.text("user_message_chunk") == "hellocorrect it"
        assert editor.text() == "You said: helloCorrected."
        assert [one["status"] for one in editor.of("tool_call_update")] == ["in_progress", "completed"] * 2
        again = await editor.ask(session, "hello again")
        assert again.stop_reason == "end_turn"
        assert editor.text().endswith("You said: hello again")
        (listed,) = (await editor.agent.list_sessions(cwd=str(node.work))).sessions
        assert (listed.session_id, listed.title) == (session, "hello")
        assert (await editor.agent.list_sessions(cwd="/elsewhere")).sessions == []


@pytest.mark.parametrize(("chosen", "ran"), [("once", 1), ("always", 2), ("reject", 0), (None, 0)])
async def test_a_call_that_waits_is_a_question(home: Home, chosen: str | None, ran: int) -> None:
    async with home.editor() as editor:
        editor.answer = lambda options: chosen
        session = await home.new(editor)
        await editor.ask(session, "make it")
        (question,) = editor.questions
        kinds = [one["kind"] for one in question["options"]]
        assert kinds == ["allow_once", "allow_always", "reject_once"]
        assert "commands that begin with 'git ls-remote', in this session" in question["options"][1]["name"]
        assert ASKED in question["call"]["content"][0]["content"]["text"]
        assert question["call"]["toolCallId"] == editor.of("tool_call")[0]["toolCallId"]
        if chosen == "always":
            await editor.ask(session, "make it")  # not asked again
            assert len(editor.questions) == 1
        ended = [one["status"] for one in editor.of("tool_call_update") if one["status"] != "in_progress"]
        assert ended == ["completed"] * ran or ended == ["failed"]


async def test_a_question_that_another_client_answers_is_withdrawn(home: Home) -> None:
    home.up()
    async with home.editor() as editor:
        editor.answer = asyncio.get_running_loop().create_future()
        session = await home.new(editor)
        prompt = asyncio.ensure_future(editor.ask(session, "make it"))
        await editor.until(lambda: editor.questions)
        (waiting,) = home.get(f"/sessions/{session}/approvals")["approvals"]
        home.post(f"/sessions/{session}/approvals/{waiting['call']}", {"decision": "approve"})
        assert (await prompt).stop_reason == "end_turn"
        editor.answer.set_result("reject")  # too late
        assert (await editor.ask(session, "hello")).stop_reason == "end_turn"
    assert home.kinds(session).count("approval.resolved") == 1


async def test_a_cancelled_prompt_says_so(node: Home) -> None:
    async with node.editor("--model", "openai/scripted") as editor:
        session = await node.new(editor)
        await editor.agent.cancel(session_id=session)  # nothing to cancel
        await editor.agent.set_session_mode(session_id=session, mode_id="all")
        prompt = asyncio.ensure_future(editor.ask(session, "sleep"))
        await editor.until(lambda: [one for one in editor.of("tool_call_update") if one["status"] == "in_progress"])
        await editor.agent.cancel(session_id=session)
        assert (await prompt).stop_reason == "cancelled"
        assert (await editor.ask(session, "hello")).stop_reason == "end_turn"


async def test_prompts_at_once_are_answered_one_after_the_other(node: Home) -> None:
    async with node.editor() as editor:
        session = await node.new(editor)
        done = await asyncio.gather(*(editor.ask(session, f"number {number}") for number in range(3)))
        assert {one.stop_reason for one in done} == {"end_turn"}
        assert editor.text() == "".join(f"You said: number {number}" for number in range(3))


async def test_modes_and_options_change_the_session(node: Home) -> None:
    async with node.editor() as editor:
        new = await editor.agent.new_session(cwd=str(node.work), mcp_servers=[])
        assert new.modes.current_mode_id == "workspace"
        options = {one.id: one for one in new.config_options}
        assert options.keys() == {"mode", "model", "agent"}
        await editor.agent.set_session_mode(session_id=new.session_id, mode_id="ask")
        await editor.ask(new.session_id, "correct it")
        assert len(editor.questions) == 1
        (update,) = editor.of("current_mode_update")
        assert update["currentModeId"] == "ask"
        model = next(one.value for one in options["model"].options if one.value != "default")
        changed = await editor.agent.set_config_option(session_id=new.session_id, config_id="model", value=model)
        assert {one.id: one.current_value for one in changed.config_options} == {
            "mode": "ask", "model": model, "agent": "assistant"
        }  # fmt: skip
        with pytest.raises(RequestError, match="no mode 'wild'"):
            await editor.agent.set_session_mode(session_id=new.session_id, mode_id="wild")
        with pytest.raises(RequestError, match="no usable model"):
            await editor.agent.set_config_option(session_id=new.session_id, config_id="model", value="nobody/none")
    async with node.editor() as editor:
        resumed = await editor.agent.resume_session(session_id=new.session_id, cwd=str(node.work))
        assert resumed.modes.current_mode_id == "ask"
        assert editor.text() == ""


async def test_commands_are_operations(node: Home) -> None:
    async with node.editor() as editor:
        session = await node.new(editor)
        await editor.until(lambda: editor.of("available_commands_update"))
        names = {one["name"] for one in editor.of("available_commands_update")[0]["availableCommands"]}
        assert {"compact", "undo", "status"} <= names
        for text in ("one", "two", "/undo", "/checkpoint here", "three", "/rollback here", "/status"):
            assert (await editor.ask(session, text)).stop_reason == "end_turn"
        assert "openai/scripted" in editor.text() or "default" in editor.text()
        with pytest.raises(RequestError, match="elsewhere"):
            await editor.ask(session, "/rollback elsewhere")
    async with node.editor() as editor:
        await editor.agent.load_session(session_id=session, cwd=str(node.work), mcp_servers=[])
        assert editor.text("user_message_chunk") == "one"  # what was rolled back is not shown


async def test_a_fork_goes_its_own_way(node: Home) -> None:
    async with node.editor() as editor:
        session = await node.new(editor)
        await editor.ask(session, "hello")
        fork = (await editor.agent.fork_session(session_id=session, cwd=str(node.work))).session_id
        assert fork != session
        await editor.ask(fork, "only here")
        await editor.agent.close_session(session_id=fork)
        editor.updates.clear()
        await editor.agent.load_session(session_id=session, cwd=str(node.work), mcp_servers=[])
        assert editor.text("user_message_chunk") == "hello"
        editor.updates.clear()
        await editor.agent.load_session(session_id=fork, cwd=str(node.work), mcp_servers=[])
        assert editor.text("user_message_chunk") == "helloonly here"


async def test_content_reaches_the_model(home: Home) -> None:
    async with home.editor() as editor:
        session = await home.new(editor)
        prompt = [
            acp.text_block("look at"),
            acp.resource_link_block("notes.txt", "file:///srv/notes.txt"),
            acp.resource_block(acp.embedded_text_resource("file:///srv/draft.md", "# A draft")),
        ]
        await editor.agent.prompt(session_id=session, prompt=prompt)
        said = editor.text()
        assert "[@notes.txt](file:///srv/notes.txt)" in said
        assert "# A draft" in said


async def test_a_mentioned_file_is_read_from_the_editor(home: Home) -> None:
    async with home.editor() as editor:
        editor.unsaved = {"/srv/my notes.txt": "not saved yet"}
        session = await home.new(editor)
        for path in ("/srv/my%20notes.txt", "/srv/closed.txt"):
            link = acp.resource_link_block("it", f"file://{path}")
            await editor.agent.prompt(session_id=session, prompt=[acp.text_block("look"), link])
        assert "not saved yet" in editor.text()
        assert "[@it](file:///srv/closed.txt)" in editor.text()


async def test_a_question_of_a_child_is_asked_and_withdrawn(home: Home) -> None:
    (home.work / "agents").mkdir()
    (home.work / "agents" / "worker.md").write_text("---\ntools: [shell]\ncallable_by: ['*']\n---\nWork.\n")
    (home.work / "agents" / "lead.md").write_text("---\ntools: [task]\nchildren: {agents: ['worker']}\n---\nLead.\n")
    home.up("--agents", "agents")
    async with home.editor("lead", "--agents", "agents") as editor:
        session = await home.new(editor)
        assert (await editor.ask(session, "delegate it")).stop_reason == "end_turn"
        (question,) = editor.questions
        assert question["call"]["title"].startswith("worker: git ls-remote")
        editor.answer = asyncio.get_running_loop().create_future()
        prompt = asyncio.ensure_future(editor.ask(session, "delegate it"))
        await editor.until(lambda: len(editor.questions) == 2)
        (waiting,) = home.get(f"/sessions/{session}/approvals")["approvals"]
        home.post(f"/sessions/{waiting['session']}/approvals/{waiting['call']}", {"decision": "approve"})
        assert (await prompt).stop_reason == "end_turn"
        editor.answer.set_result("reject")
    assert home.kinds(waiting["session"]).count("approval.resolved") == 1


async def test_the_agent_is_chosen_before_the_first_message(node: Home) -> None:
    (node.work / "agents").mkdir()
    (node.work / "agents" / "clerk.md").write_text("---\npermissions: read_only\n---\nBe brief.\n")
    if node.process is not None:
        node.kill()
        node.up()
    async with node.editor() as editor:
        session = await node.new(editor)
        changed = await editor.agent.set_config_option(session_id=session, config_id="agent", value="clerk")
        now = {one.id: one.current_value for one in changed.config_options}
        assert (now["agent"], now["mode"]) == ("clerk", "read_only")
        assert (await editor.ask(session, "hello")).stop_reason == "end_turn"
        with pytest.raises(RequestError, match="keeps the agent"):
            await editor.agent.set_config_option(session_id=session, config_id="agent", value="assistant")
        (listed,) = (await editor.agent.list_sessions()).sessions
        assert listed.session_id == session


async def test_a_session_sleeps_while_a_person_thinks(home: Home) -> None:
    home.up()
    async with home.editor() as editor:
        editor.answer = asyncio.get_running_loop().create_future()
        session = await home.new(editor)
        prompt = asyncio.ensure_future(editor.ask(session, "make it"))
        await editor.until(lambda: editor.questions)
        while home.get(f"/sessions/{session}")["info"]["owner"] is not None:
            await asyncio.sleep(0.2)
        editor.answer.set_result("once")
        assert (await prompt).stop_reason == "end_turn"


@pytest.mark.parametrize("number", [0, 1])
async def test_the_settings_of_the_guide(home: Home, number: int) -> None:
    page = (Path(__file__).parents[2] / "docs" / "guides" / "editors.md").read_text()
    block = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[number]
    (server,) = json.loads(block)["agent_servers"].values()
    assert server["command"] == Path(SCRIPT).name
    async with home.editor(*server["args"][1:]) as editor:
        assert (await editor.ask(await home.new(editor), "hello")).stop_reason == "end_turn"
        await editor.until(lambda: editor.of("available_commands_update"))
        (update,) = editor.of("available_commands_update")
    assert set(re.findall(r"`/(\w+)", page)) == {one["name"] for one in update["availableCommands"]}


async def test_what_other_clients_say_is_shown(home: Home) -> None:
    home.up()
    async with home.editor() as editor:
        session = await home.new(editor)
        home.post(f"/sessions/{session}/messages", {"text": "from elsewhere"})
        await editor.until(lambda: "You said: from elsewhere" in editor.text())
        assert editor.text("user_message_chunk") == "from elsewhere"
