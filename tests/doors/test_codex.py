"""Codex finishes a task of files through Roost, in both modes. It runs where it is on the PATH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.doors.test_openai_gateway_mode import TOML
from tests.server.conftest import Served

from roost.agent.definition import Agent
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

pytestmark = pytest.mark.skipif(shutil.which("codex") is None, reason="Codex is not on the PATH")
SECONDS = 240
WRITE = Reply(text="I write.", calls=(Call("exec_command", {"cmd": "echo forty-two > answer.txt"}),))
READ = Reply(text="I look.", calls=(Call("exec_command", {"cmd": "cat answer.txt"}),))
SCRIPT = Script(rules=(Rule(when="USE IT", answers=(WRITE, READ, Reply(text="TASK DONE: {result}"))),))


def codex(served: Served, folder: Path, model: str, *words: str) -> list[Any]:
    """Run Codex without a terminal. Returns the events that it prints."""
    home = folder / "codex"
    home.mkdir(exist_ok=True, parents=True)
    provider = f'{{name="roost", base_url="{served.url}/v1", env_key="ROOST_KEY", wire_api="responses"}}'
    settings = [f'model="{model}"', 'model_provider="roost"', f"model_providers.roost={provider}"]
    settings += ['approval_policy="never"', 'sandbox_mode="danger-full-access"']
    options = [word for setting in settings for word in ("-c", setting)]
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "CODEX_HOME": str(home), "ROOST_KEY": served.token}
    command = ["codex", "exec", *words[:-1], "--skip-git-repo-check", "--json", *options, words[-1]]
    done = subprocess.run(
        command, cwd=folder, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def said(events: list[Any]) -> list[str]:
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return [item["text"] for item in items if item["type"] == "agent_message"]


@pytest.fixture
def served(serve, tmp_path, monkeypatch):
    monkeypatch.setenv("ONE_KEY", "k")
    with ProviderServer(SCRIPT) as stub:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "models.toml").write_text(TOML.format(url=stub.url))
        yield serve(agents=[Agent("clerk", model="one/m", tools=[])])
        assert not stub.stats.violations, stub.stats.reasons


def test_codex_finishes_a_task_on_a_model(served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    events = codex(served, folder, "one/m", "USE IT please")
    assert "forty-two" in said(events)[-1], events
    assert (folder / "answer.txt").read_text() == "forty-two\n"
    assert served.get("/sessions")["sessions"] == []
    assert served.get("/costs")["month"]["spent"] > 0


def test_codex_finishes_a_task_with_an_agent(served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    events = codex(served, folder, "clerk", "USE IT please")
    assert "forty-two" in said(events)[-1], events
    assert (folder / "answer.txt").read_text() == "forty-two\n"
    (info,) = served.get("/sessions")["sessions"]
    kinds = [entry["event"]["type"] for entry in served.history(info["id"])]
    assert (kinds.count("turn.completed"), kinds.count("client.called")) == (1, 2)
    thread = next(event["thread_id"] for event in events if event["type"] == "thread.started")
    more = codex(served, folder, "clerk", "resume", thread, "USE IT once more")
    assert said(more), more
    (info,) = served.get("/sessions")["sessions"]
    kinds = [entry["event"]["type"] for entry in served.history(info["id"])]
    assert kinds.count("turn.completed") == 2
