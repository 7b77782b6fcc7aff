"""Kill the daemon, or the editor, in the middle of a prompt: the session goes on, and nothing is doubled."""

from __future__ import annotations

import asyncio

import pytest
from tests.editors.conftest import ASKED, LONG, Home

pytestmark = pytest.mark.daemon


async def test_a_prompt_outlives_the_daemon(stored: Home) -> None:
    home = stored
    home.up()
    async with home.editor() as editor:
        session = await home.new(editor)
        prompt = asyncio.ensure_future(editor.ask(session, "a long one"))
        await editor.until(lambda: len(editor.text()) > 60)
        home.kill()
        home.up()
        assert (await prompt).stop_reason == "end_turn"
        assert editor.text() == LONG
        assert (await editor.ask(session, "hello")).stop_reason == "end_turn"
    assert home.kinds(session).count("input.received") == 2


async def test_a_prompt_is_handed_over_when_the_daemon_is_back(home: Home) -> None:
    home.up()
    async with home.editor() as editor:
        session = await home.new(editor)
        home.kill()
        prompt = asyncio.ensure_future(editor.ask(session, "hello"))
        home.up()
        assert (await prompt).stop_reason == "end_turn"
    assert home.kinds(session).count("input.received") == 1


async def test_a_question_outlives_daemon_and_editor(home: Home) -> None:
    home.up()
    async with home.editor() as editor:
        editor.answer = asyncio.get_running_loop().create_future()
        session = await home.new(editor)
        prompt = asyncio.ensure_future(editor.ask(session, "make it"))
        await editor.until(lambda: editor.questions)
        home.kill()
        home.up()
        editor.answer.set_result("once")  # the daemon has slept meanwhile
        assert (await prompt).stop_reason == "end_turn"
        editor.answer = asyncio.get_running_loop().create_future()
        prompt = asyncio.ensure_future(editor.ask(session, "make it"))
        await editor.until(lambda: len(editor.questions) == 2)
        editor.process.kill()
        prompt.cancel()
    async with home.editor() as editor:
        await editor.agent.load_session(session_id=session, cwd=str(home.work), mcp_servers=[])
        await editor.until(lambda: editor.questions)  # asked again
        assert ASKED in editor.questions[0]["call"]["content"][0]["content"]["text"]
        assert editor.questions[0]["call"]["toolCallId"] == editor.of("tool_call")[-1]["toolCallId"]
        await editor.until(lambda: len(said := editor.text().split("It says ")[1:]) == 2 and said[0] == said[1])
    kinds = home.kinds(session)
    assert [kinds.count(kind) for kind in ("input.received", "approval.requested", "turn.completed")] == [2, 2, 2]


async def test_the_turn_of_an_editor_that_left_is_followed_again(home: Home) -> None:
    home.up()
    async with home.editor() as editor:
        session = await home.new(editor)
        prompt = asyncio.ensure_future(editor.ask(session, "a long one"))
        await editor.until(lambda: len(editor.text()) > 30)
        editor.process.kill()
        prompt.cancel()
    async with home.editor() as editor:
        await editor.agent.load_session(session_id=session, cwd=str(home.work), mcp_servers=[])
        await editor.until(lambda: editor.text() == LONG)
    assert home.kinds(session).count("input.received") == 1


async def test_a_cancelled_prompt_does_not_wait_for_the_daemon(home: Home) -> None:
    home.up()
    async with home.editor() as editor:
        session = await home.new(editor)
        home.kill()
        prompt = asyncio.ensure_future(editor.ask(session, "hello"))
        await editor.until(lambda: "the daemon is away" in editor.text("agent_thought_chunk"))
        await editor.agent.cancel(session_id=session)
        assert (await prompt).stop_reason == "cancelled"


async def test_a_prompt_sent_again_is_one_input(node: Home) -> None:
    async with node.editor() as editor:
        session = await node.new(editor)
        first = await editor.ask(session, "hello", messageId="mine")
        assert editor.text() == "You said: hello"
    async with node.editor() as editor:
        await editor.agent.resume_session(session_id=session, cwd=str(node.work))
        again = await editor.ask(session, "hello", messageId="mine")
        assert (again.stop_reason, again.usage) == (first.stop_reason, first.usage)
        running = [asyncio.ensure_future(editor.ask(session, "a long one", messageId="other")) for _ in range(2)]
        assert {(await one).stop_reason for one in running} == {"end_turn"}
    assert node.kinds(session).count("input.received") == 2
