"""`roost mcp`: MCP on standard input and output, by the official client, with a daemon and without."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from tests.cli.conftest import Machine
from tests.doors.test_openai_killed import LONG, Node, node

__all__ = ["node"]
ROOST = str(Path(sys.executable).parent / "roost")


def server(node: Node, *options: str) -> StdioServerParameters:
    return StdioServerParameters(command=ROOST, args=["mcp", *options], env=node.environment, cwd=str(node.folder))


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("daemon", [True, False], ids=["daemon", "alone"])
async def test_an_agent_answers_and_a_session_goes_on(node, mode, daemon):
    if not daemon:
        node.kill()
    async with Client(server(node, "--agents", "agents.py"), mode=mode) as client:
        assert client.protocol_version == ("2025-11-25" if mode == "legacy" else "2026-07-28")
        first = await client.call_tool("ask_marker", {"message": "hello"})
        assert first.structured_content["answer"] == "You said: hello"
        session = first.structured_content["session"]
        heard: list[str | None] = []

        async def progress(done: float, total: float | None, message: str | None) -> None:
            heard.append(message)

        more = {"message": "mark it", "session": session}
        second = await client.call_tool("ask_marker", more, progress_callback=progress)
        assert second.structured_content["answer"] == f"I mark.\n\n{LONG}"
        assert "runs mark" in heard
        assert (await client.read_resource(f"roost://sessions/{session}/transcript")).contents


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_a_cancelled_call_ends_the_turn(node, mode):
    async with Client(server(node), mode=mode) as client:
        begun = asyncio.Event()

        async def progress(done: float, total: float | None, message: str | None) -> None:
            begun.set()

        asked = {"message": "mark it slowly"}
        call = asyncio.create_task(client.call_tool("ask_marker", asked, progress_callback=progress))
        await begun.wait()
        while not (node.marks.exists() and node.marks.read_text()):
            await asyncio.sleep(0.01)
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call
        (session,) = (await asyncio.to_thread(node.get, "/sessions"))["sessions"]
        ended: list[str] = []
        while not ended:
            await asyncio.sleep(0.05)
            events = (await asyncio.to_thread(node.get, f"/sessions/{session['id']}/events?limit=500"))["events"]
            ended = [e["event"]["outcome"] for e in events if e["event"]["type"] == "turn.completed"]
        assert ended == ["cancelled"]


async def test_a_call_goes_on_after_the_daemon_was_killed(node):
    async with Client(server(node), mode="legacy") as client:
        call = asyncio.create_task(client.call_tool("ask_marker", {"message": "mark it"}))
        while not (node.marks.exists() and node.marks.read_text()):
            await asyncio.sleep(0.01)
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.up)
        assert (await call).structured_content["answer"] == f"I mark.\n\n{LONG}"
    assert node.marks.read_text() == "x"
    assert len(node.get("/sessions")["sessions"]) == 1


def test_a_server_that_is_removed_is_named(roost: Machine) -> None:
    roost("mcp", "add", "mine", "--", "cat").ok()
    assert roost("mcp", "remove", "mine").ok().out == "removed mine\n"
    assert roost("mcp", "remove", "mine").code == 1
