"""The examples of the labs' own libraries, run as programs: only address, key and model differ."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doors.managed_support import TOML
from tests.doors.test_lab_credentials import guarded
from tests.mcp_servers.test_sign_in import Guarded
from tests.server.conftest import Served

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

__all__ = ["guarded"]
EXAMPLES = Path(__file__).parents[1] / "quick_starts" / "anthropic"
SKILL = "---\nname: xlsx\ndescription: Works on spreadsheets.\n---\nUse a spreadsheet.\n"
SCRIPT = Script(
    rules=(
        Rule(
            when="column names",
            answers=(Reply(calls=(Call("read_file", {"path": "uploads/data.csv"}),)), Reply(text="They are: {result}")),
        ),
        Rule(
            when="List every tool",
            answers=(Reply(calls=(Call("get_weather", {"city": "Ghent"}),)), Reply(text="It is {result}")),
        ),
        Rule(
            when="Find catalog item",
            answers=(Reply(calls=(Call("lookup_item", {"item_id": "A123"}),)), Reply(text="It is {result}")),
        ),
        Rule(when="Summarize", answers=(Reply(text='{"summary": "short", "findings": ["one", "two"]}'),)),
        Rule(
            when="Read source.pdf",
            answers=(
                Reply(calls=(Call("write_file", {"path": "outputs/report.md", "content": "# Report\n"}),)),
                Reply(text="Written."),
            ),
        ),
        Rule(when="haiku", answers=(Reply(text="waves under the moon", piece=4),)),
        Rule(answers=(Reply(text="You said: {input}"),)),
    )
)


@pytest.fixture
def served(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("ONE_KEY", "k")
    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    (home / "skills" / "xlsx").mkdir(parents=True)
    (home / "skills" / "xlsx" / "SKILL.md").write_text(SKILL)
    with ProviderServer(SCRIPT) as provider:
        (home / "models.toml").write_text(TOML.format(url=provider.url))
        yield serve(home=home)


def run(served: Served, path: Path) -> str:
    address = {"ANTHROPIC_BASE_URL": served.url, "ANTHROPIC_API_KEY": served.token, "GITHUB_TOKEN": "github-token-0"}
    done = subprocess.run(
        [sys.executable, str(path)], env={**os.environ, **address}, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_agents(served: Served) -> None:
    said = run(served, EXAMPLES / "agents.py")
    assert "You said: Hello Claude!" in said
    assert said.rstrip().endswith("}")
    assert '"session.status_idle"' in said


def test_agents_with_files(served: Served) -> None:
    assert "alpha,bravo,charlie" in run(served, EXAMPLES / "agents_with_files.py")


def test_streaming_deltas(served: Served) -> None:
    assert "[final] waves under the moon" in run(served, EXAMPLES / "managed-agents-streaming-deltas-manual.py")


def test_agents_comprehensive(served: Served, guarded: Guarded, tmp_path: Path) -> None:
    """The library that is installed calls a parameter by another name than that of the example, and the MCP server is
    one of this machine."""
    guarded.valid.add("github-token-0")
    program = (EXAMPLES / "agents_comprehensive.py").read_text()
    program = program.replace("display_title=", "display_name=").replace(
        "https://api.githubcopilot.com/mcp/", f"{guarded.url}/mcp"
    )
    (tmp_path / "agents_comprehensive.py").write_text(program)
    (tmp_path / "greeting-SKILL.md").write_bytes((EXAMPLES / "greeting-SKILL.md").read_bytes())
    said = run(served, tmp_path / "agents_comprehensive.py")
    assert '"agent.custom_tool_use"' in said
    assert "temperature_c" in said
    assert '"session.error"' not in said, "the MCP server took the credential of the vault"


OPENAI = EXAMPLES.with_name("openai") / "helpers.md"
SETTING = """
import logging
from pathlib import Path

from openai import OpenAI
from openai.lib.beta.agents import function_tool

MODEL = "one/m"
client = OpenAI()
handlers = {}
logger = logging.getLogger("example")
show_progress = lambda event: print(event.type)
Path("source.pdf").write_bytes(b"%PDF-1.4")


@function_tool
def lookup_item(item_id: str) -> str:
    raise OSError("the catalog is closed")


"""
"""What the examples take for granted."""


def example(words: str) -> str:
    """The one example that has these words."""
    pages = re.findall(r"^```py(?:thon)?\n(.*?)^```", OPENAI.read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [page for page in pages if words in page and "client.beta.agents" in page]
    return found


def test_openai_agents(served: Served, tmp_path: Path) -> None:
    """The examples share an interpreter: importing the library takes seconds. One of them goes on with a session that
    has a tool."""
    begun = (
        'SESSION_ID = client.beta.agents.sessions.create(agent={"model": MODEL, "tools": [lookup_item.definition]},'
        ' environment={"type": "openai_hosted"}).id\nhandlers = {lookup_item.name: lookup_item}\n'
    )
    examples = (
        example("Explain this policy."),
        example("def lookup(item_id: str) -> dict"),
        begun + example("report_tool_error"),
        example("class Report(BaseModel)"),
        example("files.prepare("),
    )
    address = {"OPENAI_BASE_URL": f"{served.url}/v1", "OPENAI_API_KEY": served.token}
    command = [sys.executable, "-c", SETTING + "print(end=chr(0))\n".join(examples)]
    env = {**os.environ, **address}
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    results, tools, _, output, _ = done.stdout.split("\0")
    said = results.splitlines()
    assert (said[0], said[-1]) == ("You said: Explain this policy.", "You said: Give me an example.")
    assert "agent.session.turn.completed" in said
    assert "Notebook" in tools
    assert "Tool lookup_item failed during" in done.stderr
    assert output == "summary='short' findings=['one', 'two']\n"
    assert (tmp_path / "downloaded-report.md").read_text() == "# Report\n"
