"""Claude Code finishes a task of files through Roost, in both modes. It runs where it is on the PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.doors.test_anthropic_gateway_mode import TOML
from tests.server.conftest import Served

from roost.agent.definition import Agent
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

pytestmark = pytest.mark.skipif(shutil.which("claude") is None, reason="Claude Code is not on the PATH")
SECONDS = 240
WRITE = Reply(
    text="I write.",
    thinking="hm",
    calls=(Call("Bash", {"command": "echo forty-two > answer.txt", "description": "write"}),),
)
READ = Reply(text="I look.", calls=(Call("Bash", {"command": "cat answer.txt", "description": "look"}),))
SCRIPT = Script(
    rules=(
        Rule(when="AND AGAIN", answers=(READ, Reply(text="STILL: {result}"))),
        Rule(when="USE IT", answers=(WRITE, READ, Reply(text="TASK DONE: {result}"))),
    )
)
QUIET = ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER", "IS_SANDBOX")


def claude(served: Served, folder: Path, *words: str, **env: str) -> dict[str, Any]:
    """Run Claude Code without a terminal. Returns the result that it prints."""
    home = folder.parent / "claude"
    home.mkdir(exist_ok=True)
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), **dict.fromkeys(QUIET, "1"), **env}
    clean |= {"ANTHROPIC_BASE_URL": served.url, "ANTHROPIC_API_KEY": served.token}
    command = ["claude", "-p", *words, "--output-format", "json", "--allowedTools", "Bash"]
    done = subprocess.run(
        command, cwd=folder, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert not found["is_error"], found
    return found


@pytest.fixture(params=["openai_chat", "anthropic"])
def served(serve, tmp_path, monkeypatch, request):
    monkeypatch.setenv("ONE_KEY", "k")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    with ProviderServer(SCRIPT) as stub:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=stub.url, wire=request.param))
        yield serve(agents=[Agent("clerk", model="one/m", tools=[])])
        assert not stub.stats.violations, stub.stats.reasons


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_a_task_on_the_default_model_needs_only_the_base_url(served: Served, folder: Path) -> None:
    done = claude(served, folder, "USE IT please")
    assert "TASK DONE: forty-two" in done["result"], done
    assert (folder / "answer.txt").read_text() == "forty-two\n"
    again = claude(served, folder, "AND AGAIN please", "--resume", done["session_id"])
    assert "STILL: forty-two" in again["result"], again
    assert served.get("/sessions")["sessions"] == []
    assert served.get("/costs")["month"]["spent"] > 0


def test_a_task_of_an_agent_is_one_session(served: Served, folder: Path) -> None:
    done = claude(served, folder, "USE IT please", "--model", "clerk")
    assert "TASK DONE: forty-two" in done["result"], done
    assert (folder / "answer.txt").read_text() == "forty-two\n"
    again = claude(served, folder, "AND AGAIN please", "--model", "clerk", "--resume", done["session_id"])
    assert "STILL: forty-two" in again["result"], again
    (session,) = served.get("/sessions")["sessions"]
    kinds = [e["event"]["type"] for e in served.history(session["id"])]
    assert (kinds.count("turn.completed"), kinds.count("client.called")) == (2, 3)
