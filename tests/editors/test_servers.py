"""MCP servers that an editor names: they belong to the session, and the gate judges their tools."""

from __future__ import annotations

import asyncio
import shutil
import sys
import threading
from collections.abc import Iterator

import pytest
from acp.schema import EnvVariable, HttpMcpServer, McpServerStdio, SseMcpServer
from tests.editors.conftest import Home
from tests.harness import mcp_server

from roost.acp.abilities import Abilities
from roost.acp.elicitation import can_ask


def kit(home: Home) -> McpServerStdio:
    """The kit's server, in the folder of the session: it runs in the session's sandbox."""
    place = home.work / "server.py"
    shutil.copy(str(mcp_server.__file__), place)
    environment = [EnvVariable(name="COLOUR", value="blue")]
    return McpServerStdio(name="kit", command=sys.executable, args=[str(place), str(home.work)], env=environment)


async def test_a_program_runs_in_the_sandbox_and_its_calls_are_asked_about(node: Home) -> None:
    server = kit(node)
    async with node.editor() as editor:
        session = await node.new(editor, server)
        assert (await editor.ask(session, "count")).stop_reason == "end_turn"
        (question,) = editor.questions
        assert question["call"]["title"].startswith("kit")
        assert "It says count" in editor.text()
        assert len((node.work / "calls").read_text().splitlines()) == 1
    async with node.editor() as editor:  # it is the session's: an editor need not name it again
        await editor.agent.resume_session(session_id=session, cwd=str(node.work), mcp_servers=[server])
        await editor.agent.load_session(session_id=session, cwd=str(node.work), mcp_servers=[])
        await editor.ask(session, "count")
        assert len((node.work / "calls").read_text().splitlines()) == 2
    assert node.kinds(session).count("mcp.added") == 1


@pytest.mark.daemon
async def test_a_server_outlives_daemon_and_editor(stored: Home) -> None:
    home = stored
    home.up()
    async with home.editor() as editor:
        editor.answer = asyncio.get_running_loop().create_future()
        session = await home.new(editor, kit(home))
        prompt = asyncio.ensure_future(editor.ask(session, "count"))
        await editor.until(lambda: editor.questions)
        home.kill()
        home.up()
        editor.process.kill()
        prompt.cancel()
    assert not (home.work / "calls").exists()
    async with home.editor() as editor:
        await editor.agent.load_session(session_id=session, cwd=str(home.work), mcp_servers=[])
        await editor.until(lambda: "It says count" in editor.text())
    assert len((home.work / "calls").read_text().splitlines()) == 1


@pytest.mark.parametrize("fill", [{"colour": "red"}, None])
async def test_a_question_of_a_server_is_a_form(home: Home, fill: dict[str, str] | None) -> None:
    async with home.editor() as editor:
        editor.fill = fill
        session = await home.new(editor, kit(home))
        await editor.ask(session, "colour")
        (form,) = editor.forms
        assert form["message"] == "The MCP server kit asks: Which colour?"
        assert form["requestedSchema"]["required"] == ["colour"]
        assert form["toolCallId"] == editor.of("tool_call")[0]["toolCallId"]
        assert len(editor.questions) == 1  # about the call itself
        ended = editor.of("tool_call_update")[-1]
        assert ended["status"] == ("failed" if fill is None else "completed")
        assert ('"colour": "red"' in editor.text()) == (fill is not None)


@pytest.fixture(params=["http", "sse"])
def official(request: pytest.FixtureRequest) -> Iterator[HttpMcpServer | SseMcpServer]:
    """A server of the official SDK, in both transports that the editor may name."""
    import uvicorn
    from mcp.server.mcpserver import MCPServer

    made = MCPServer("sums")

    @made.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    app = made.streamable_http_app() if request.param == "http" else made.sse_app()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        while not server.started:
            thread.join(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        where = {"name": "sums", "headers": []}
        yield (
            HttpMcpServer(type="http", url=f"http://127.0.0.1:{port}/mcp", **where)
            if request.param == "http"
            else SseMcpServer(type="sse", url=f"http://127.0.0.1:{port}/sse", **where)
        )
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join()


async def test_servers_at_an_address(home: Home, official: HttpMcpServer | SseMcpServer) -> None:
    async with home.editor() as editor:
        session = await home.new(editor, official)
        await editor.ask(session, "add")
        assert "the MCP server sums cannot be used" in editor.text()  # a private network, which nobody has allowed
    home.environment["ROOST_WEB_ALLOW"] = official.url.split("/")[2]
    async with home.editor() as editor:
        session = await home.new(editor, official)
        await editor.ask(session, "add")
        assert "It says 5" in editor.text()


async def test_a_server_that_cannot_be_one_is_named(home: Home) -> None:
    wrong = HttpMcpServer(type="http", name="?!", url="https://example.com/mcp", headers=[])
    async with home.editor() as editor:
        session = await home.new(editor, wrong)
        await editor.until(lambda: "?! is not used" in editor.text())
        assert (await editor.ask(session, "hello")).stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("https://example.com/in", True),
        ("vscode://file/etc/passwd", False),
        ("file:///etc/passwd", False),
        (None, False),
    ],
)
def test_an_editor_opens_addresses_of_the_web_only(url: str | None, opened: bool) -> None:
    """A server that nobody trusts names the address; the others are asked about in words."""
    assert can_ask(Abilities(forms=True, urls=True), {"one": {"mode": "url", "url": url}}) is opened
