"""What servers list and people set up, in both stores, over HTTP and on the command line."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.mcp_servers.support import KIT, calling, clerk, events, kit, results

from roost import Agent, Client, Runtime
from roost.agent.agent_files import load_agents
from roost.agent.servers import McpServer
from roost.client.app_transport import AppTransport
from roost.errors import Invalid, RoostError
from roost.features.mcp.commands import mcp
from roost.features.mcp.events import McpFailed, McpOffered
from roost.server.app import build_app


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request):
    return None if request.param == "sqlite" else request.getfixturevalue("database")


async def test_a_list_is_found_again_without_the_server(tmp_path, store):
    agent = clerk(tmp_path, calling(("kit__echo", {}), ("kit__echo", {})))
    async with Runtime(tmp_path / "one", agents=[agent], store=store) as runtime:
        session = await runtime.session("clerk")
        await session.ask("go")
    home = "one" if store is None else "two"
    broken = clerk(tmp_path, calling(), servers=[kit(tmp_path)])
    (tmp_path / "description").write_text("Not asked for.")
    async with Runtime(tmp_path / home, agents=[broken], store=store) as runtime:
        other = await runtime.session("clerk")
        await other.ask("hello")
        offered = [one for one in await events(runtime, other.id) if isinstance(one, McpOffered)]
        assert [one.tools for one in offered] == [6]
        pool = runtime.node.feature(duties()).servers.pool
        assert pool.all() == []  # nobody asked the server


def duties():
    from roost.features.mcp.duties import McpDuties

    return McpDuties


async def test_servers_of_home_workspace_and_session(tmp_path, store):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir(mode=0o700)
    work.mkdir()
    entry = {"command": sys.executable, "args": [KIT, str(tmp_path)]}
    (home / "mcp.json").write_text(json.dumps({"mcpServers": {"of-home": {**entry, "trust": True}, "bad": {}}}))
    code = ["-c", Path(KIT).read_text(), "."]
    theirs = {"mcpServers": {"theirs": {"type": "stdio", **entry, "args": code, "trust": True}}}
    (work / ".mcp.json").write_text(json.dumps(theirs))
    agent = Agent("clerk", model=calling(), servers=["*"])
    async with Runtime(home, agents=[agent], store=store) as runtime:
        app, _ = build_app(runtime, token=None)
        async with Client(AppTransport(app)) as client:
            made = await client.mcp.add("extra", {**entry, "env": {"A": "${TOKEN}"}})
            assert made.server["env"] == {"A": "{{secret:TOKEN}}"}
            assert not (await client.mcp.add("plain", entry)).server.get("trust")
            await client.mcp.remove("plain")
            session = await runtime.session("clerk", workspace=str(work))
            await session.ask("hello")
            found = await client.mcp.list(folder=str(work))
            assert {(one.name, one.source, one.accepted) for one in found.servers} == {
                ("of-home", "home", True),
                ("extra", "added", True),
                ("theirs", "workspace", False),
            }
            assert "'bad'" in found.wrong[0]
            failed = {one.server for one in await events(runtime, session.id) if isinstance(one, McpFailed)}
            assert failed == {"", "theirs", "extra"}  # `extra` wants a secret that is not there
            accepted = await client.mcp.accept("theirs", str(work))
            assert accepted.server.get("trust") is None  # a file that came with a folder cannot say so
            await client.mcp.add_to_session(session.id, "mine", {"command": sys.executable, "args": code})
            await session.ask("again")
            await session.ask("and again")
            offered = {one.server for one in await events(runtime, session.id) if isinstance(one, McpOffered)}
            assert offered == {"of-home", "theirs", "mine"}
            (work / ".mcp.json").write_text(json.dumps({**theirs, "mcpServers": {"theirs": {"command": "other"}}}))
            listed = (await client.mcp.list(folder=str(work))).servers
            assert [one.accepted for one in listed if one.name == "theirs"] == [False]
            with pytest.raises(Invalid):
                await client.mcp.add("wrong", {"command": "x", "url": "http://x"})
            with pytest.raises(RoostError) as error:
                await client.mcp.tools("of-nobody")
            assert error.value.status == 404
            shown = await client.mcp.tools("of-home")
            assert {one.name: one.safety for one in shown.tools}["echo"] == "read_only"
            assert {one.name: one.safety for one in shown.tools}["wipe"] == "destructive"


def test_commands(tmp_path, monkeypatch):
    monkeypatch.setenv("ROOST_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        done = CliRunner().invoke(mcp, list(words))
        assert done.exit_code == 0, done.output
        return done.output

    assert run("add", "kit", "--trust", "--reads", "e*", "--", sys.executable, KIT, str(tmp_path)) == "kit\n"
    assert "kit" in run("list")
    assert "echo" in run("tools", "kit")
    (tmp_path / ".mcp.json").write_text(json.dumps({"mcpServers": {"docs": {"url": "https://docs.example.com/mcp"}}}))
    assert "not accepted" in run("list")
    run("accept", "docs")
    assert "not accepted" not in run("list")
    run("remove", "kit")
    assert "added" not in run("list")


async def test_a_session_cannot_reach_into_the_network_of_the_machine(tmp_path):
    agent = Agent("clerk", model=calling())
    async with Runtime(tmp_path / "home", agents=[agent]) as runtime:
        app, _ = build_app(runtime, token=None)
        async with Client(AppTransport(app)) as client:
            session = await runtime.session("clerk")
            for name, url in (("own", "http://127.0.0.1:1/mcp"), ("cloud", "http://169.254.169.254/latest")):
                await client.mcp.add_to_session(session.id, name, {"url": url})
            await session.ask("go")
            await session.ask("again")
        failed = {one.server: one.reason for one in await events(runtime, session.id) if isinstance(one, McpFailed)}
    assert failed.keys() == {"own", "cloud"}
    assert all("not a public address" in reason for reason in failed.values())


async def test_the_official_server_over_http(tmp_path):
    import asyncio

    import uvicorn
    from mcp.server.mcpserver import MCPServer

    official = MCPServer("official")

    @official.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    server = uvicorn.Server(uvicorn.Config(official.streamable_http_app(), port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    there = McpServer(name="official", url=f"http://127.0.0.1:{port}/mcp")
    agent = clerk(tmp_path, calling(("official__add", {"a": 2, "b": 3})), servers=[there])
    async with Runtime(tmp_path / "home", agents=[agent]) as runtime:
        session = await runtime.session("clerk")
        assert await session.ask("go", on_approval=lambda _: True) == "done"
        ((outcome, said),) = await results(runtime, session.id)
    server.should_exit = True
    await serving
    assert (outcome, said.strip()) == ("ok", "5")


def test_the_guide_is_right(tmp_path):
    page = (Path(__file__).parents[2] / "docs/guides/mcp-servers.md").read_text()
    (toml,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "clerk.toml").write_text(toml)
    (found,) = load_agents([tmp_path / "clerk.toml"])
    assert [one.name for one in found.servers] == ["git", "docs"]
    (python,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    scope: dict = {}
    exec(python, scope)
    assert scope["clerk"].servers[-1] == "*"
    home = ["--home", str(tmp_path / "home")]
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            assert words[:2] == ["roost", "mcp"]
            if words[2] in ("add", "list", "remove"):
                place = words.index("--") if "--" in words else len(words)
                done = CliRunner().invoke(mcp, [*words[2:place], *home, *words[place:]])
                assert done.exit_code == 0, done.output
            else:  # these need the server
                assert CliRunner().invoke(mcp, [words[2], "--help"]).exit_code == 0
                assert words[2] in mcp.commands
