"""Claude Code as a client of MCP: it asks an agent, over HTTP and by `roost mcp`. It runs where it is on the PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.doors.test_claude_code import QUIET, SECONDS

from roost.agent.definition import Agent
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call, ScriptedModel

pytestmark = pytest.mark.skipif(shutil.which("claude") is None, reason="Claude Code is not on the PATH")
TOOL = "mcp__roost__ask_clerk"
ASK = Reply(text="I ask.", calls=(Call(TOOL, {"message": "the secret word?"}),))
SCRIPT = Script(rules=(Rule(when="ASK THE CLERK", answers=(ASK, Reply(text="DONE: {result}"))),))


@pytest.mark.parametrize("transport", ["http", "stdio"])
@pytest.mark.timeout(300)
def test_claude_code_asks_an_agent(serve, tmp_path, transport):
    served = serve(agents=[Agent("clerk", description="Knows the word.", model=ScriptedModel(lambda _: "swordfish"))])
    http = {"type": "http", "url": f"{served.url}/mcp", "headers": {"Authorization": f"Bearer {served.token}"}}
    roost = str(Path(sys.executable).parent / "roost")
    stdio = {"command": roost, "args": ["mcp"], "env": {"ROOST_HOME": str(served.home)}}
    settings = tmp_path / "mcp.json"
    settings.write_text(json.dumps({"mcpServers": {"roost": http if transport == "http" else stdio}}))
    work, home = tmp_path / "work", tmp_path / "claude"
    work.mkdir()
    home.mkdir()
    with ProviderServer(SCRIPT) as stub:
        clean = {"PATH": os.environ["PATH"], "HOME": str(home), **dict.fromkeys(QUIET, "1")}
        # Claude Code otherwise begins before its servers are connected, and a busy machine is slow to start one.
        clean |= {"MCP_CONNECTION_NONBLOCKING": "0", "MCP_CONNECT_TIMEOUT_MS": "120000", "MCP_TIMEOUT": "120000"}
        clean |= {"ANTHROPIC_BASE_URL": stub.url.removesuffix("/v1"), "ANTHROPIC_API_KEY": "k"}
        command = ["claude", "-p", "ASK THE CLERK please", "--output-format", "json", "--allowedTools", TOOL]
        done = subprocess.run(
            [*command, "--mcp-config", str(settings), "--strict-mcp-config"],
            cwd=work,
            env=clean,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert "swordfish" in found["result"], found
    (session,) = served.get("/sessions")["sessions"]
    assert session["agent"] == "clerk"
