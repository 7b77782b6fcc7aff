"""The examples of the README and of the first pages are run as they stand there, against a stub provider."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roost.agent.agent_files import load_agents
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SCRIPT = Script(
    rules=(
        Rule(
            when="Ghent",
            answers=(Reply(calls=(Call("distance", {"a": "Ghent", "b": "Brussels"}),)), Reply(text="{result}")),
        ),
        Rule(
            when="How many lines",
            answers=(Reply(calls=(Call("count_lines", {"path": "notes.txt"}),)), Reply(text="{result}")),
        ),
        Rule(answers=(Reply(text="You said: {input}"),)),
    )
)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def blocks(language: str, page: str = "README.md") -> list[str]:
    return [text for kind, text in _BLOCK.findall((ROOT / page).read_text()) if kind == language]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    with ProviderServer(_SCRIPT) as server:
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        yield {
            **kept,
            "HOME": str(tmp_path),
            "ROOST_HOME": str(tmp_path / ".roost"),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "OPENAI_API_KEY": "stub",
            "OPENAI_BASE_URL": server.url,
            "ROOST_PORT": str(_free_port()),
        }


@pytest.mark.parametrize(
    ("page", "answer"),
    [("README.md", "56 km"), ("docs/start/tutorial.md", "56 km"), ("docs/extend/first-tool.md", "2 lines")],
)
def test_the_python_example(page: str, answer: str, tmp_path: Path, environment: dict[str, str]) -> None:
    example = blocks("python", page)[0]
    (tmp_path / "notes.txt").write_text("one\ntwo\n")
    done = subprocess.run(
        [sys.executable, "-c", example], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == answer, done.stderr


def test_the_test_of_the_first_tool(tmp_path: Path, environment: dict[str, str]) -> None:
    tool, reach, test = blocks("python", "docs/extend/first-tool.md")
    (tmp_path / "counter.py").write_text(tool)
    (tmp_path / "test_counter.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_counter.py"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    names: dict[str, Any] = {}
    exec(compile(reach, "reach", "exec"), names)
    touches = names["copies"]({"source": "a", "target": "b"}, tmp_path.resolve())
    assert (touches.reads, touches.writes) == ((str(tmp_path.resolve() / "a"),), (str(tmp_path.resolve() / "b"),))


def test_the_first_tool_asks_before_it_reads_a_secret(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "counter.py").write_text(blocks("python", "docs/extend/first-tool.md")[0])
    (command,) = re.findall(r"`(roost policy check [^`]+)`", (ROOT / "docs/extend/first-tool.md").read_text())
    for path, code in ((".env", 3), ("notes.txt", 0)):
        given = shlex.split(command.replace(".env", path))
        done = subprocess.run(given, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr


def test_a_turn_on_the_command_line_without_a_key(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "docs/extend/testing-models.md"
    (tmp_path / "counter.py").write_text(blocks("python", "docs/extend/first-tool.md")[0])
    (tmp_path / "notes.txt").write_text("one\ntwo\n")
    (script,) = [block for block in blocks("json", page) if "count_lines" in block]
    (tmp_path / "script.json").write_text(script)
    (commands,) = [block for block in blocks("sh", page) if "roost stub" in block and "roost run" in block]
    ready = "&\nuntil curl -s http://127.0.0.1:8900/stats >/dev/null; do sleep 0.1; done\n"
    commands = commands.replace("&\n", ready, 1).replace("8900", str(_free_port()))
    shell = f"trap 'kill $!' EXIT\n{commands}"
    done = subprocess.run(
        ["bash", "-c", shell], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert "It says: 2 lines" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/start/first-agent.md", "docs/guides/agents.md"])
def test_the_agent_file(page: str, tmp_path: Path) -> None:
    (example,) = blocks("markdown", page)
    (tmp_path / "clerk.md").write_text(example)
    (agent,) = load_agents([tmp_path])
    assert (agent.spec.name, agent.spec.permissions) == ("clerk", "read_only")
    assert "grep" in agent.spec.tools


@pytest.mark.parametrize("page", ["first-sandbox.md", "first-event.md", "account-hooks.md"])
def test_the_python_of_a_page_can_be_imported(page: str) -> None:
    exec(compile("\n".join(blocks("python", f"docs/extend/{page}")), page, "exec"), {"__name__": "page"})


def test_the_agents_of_the_examples() -> None:
    assert [agent.spec.name for agent in load_agents([ROOT / "examples" / "agents"])] == ["clerk"]


@pytest.fixture
def daemon(tmp_path: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    daemon = subprocess.Popen([BIN / "roost", "up"], env=environment, cwd=tmp_path, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / ".roost" / "daemon.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        yield daemon
    finally:
        daemon.terminate()
        daemon.communicate(timeout=20)


@pytest.mark.usefixtures("daemon")
def test_the_http_example(environment: dict[str, str]) -> None:
    (example,) = [block for block in blocks("sh") if "curl" in block]
    example = example.replace("7667", environment["ROOST_PORT"])
    done = subprocess.run(["sh", "-c", example], env=environment, capture_output=True, text=True, timeout=60)
    assert "event: turn.completed" in done.stdout, done.stdout + done.stderr
    assert "You said: Hello" in done.stdout


@pytest.mark.usefixtures("daemon")
def test_the_examples_of_the_client(tmp_path: Path, environment: dict[str, str]) -> None:
    said: list[str] = []
    for example in blocks("python", "docs/guides/client.md"):
        code = [sys.executable, "-c", example]
        done = subprocess.run(code, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    asked, blocking, followed, decided = said
    assert asked == "You said: Hello\nanswered 1\n"
    assert blocking.startswith("You said: Hello\nses_")
    assert followed.endswith("TurnCompleted\n")
    assert decided == "You said: Hello\n"


@pytest.mark.usefixtures("daemon")
def test_the_examples_for_openai_clients(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "docs/guides/openai-clients.md"
    programs, (commands, codex) = blocks("python", page), blocks("sh", page)
    said = ["You said: Hello\nYou said: And again\n"] * 2
    said[1] += "You said: Take your time\n['user', 'user', 'assistant']\n"
    for program, expected in zip(programs, said, strict=True):
        code = [sys.executable, "-c", program]
        done = subprocess.run(code, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.stdout == expected, done.stderr
    commands = commands.replace("7667", environment["ROOST_PORT"])
    done = subprocess.run(["sh", "-c", commands], env=environment, capture_output=True, text=True, timeout=60)
    assert '"id":"assistant"' in done.stdout, done.stderr
    assert '"content":"You said: Hello"' in done.stdout
    if shutil.which("codex") is None:
        return
    (settings,) = blocks("toml", page)
    home = tmp_path / ".codex"
    home.mkdir()
    (home / "config.toml").write_text(settings.replace("7667", environment["ROOST_PORT"]))
    env = {**environment, "CODEX_HOME": str(home)}
    done = subprocess.run(["sh", "-c", codex], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert "You said: " in done.stdout, done.stderr


@pytest.mark.usefixtures("daemon")
def test_the_examples_for_mcp_clients(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "docs/guides/mcp.md"
    (program,), (commands,), settings = blocks("python", page), blocks("sh", page), blocks("json", page)
    http, stdio = (json.loads(one)["mcpServers"]["roost"] for one in settings)
    assert http["url"].endswith("/mcp")
    assert [stdio["command"], *stdio["args"]] == ["roost", "mcp"]  # tests/cli/test_mcp.py runs it
    code = [sys.executable, "-c", program]
    done = subprocess.run(code, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    tools, *answers = done.stdout.splitlines()
    assert {"ask_assistant", "session_wait", "memory_search"} <= {*tools.split()}, done.stderr
    assert answers == ["You said: Hello", "You said: And again"]
    commands = commands.replace("7667", environment["ROOST_PORT"])
    done = subprocess.run(["sh", "-c", commands], env=environment, capture_output=True, text=True, timeout=60)
    assert '"name":"ask_assistant"' in done.stdout, done.stderr
    for tool in tools.split():
        name = "ask_NAME" if tool.startswith("ask_") else tool
        assert f"`{name}`" in Path(page).read_text(), f"{page} does not have {name}"


@pytest.mark.usefixtures("daemon")
def test_the_examples_for_user_interfaces(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "docs/guides/ag-ui.md"
    (program,), (commands,) = blocks("js", page), blocks("sh", page)
    commands = commands.replace("7667", environment["ROOST_PORT"])
    done = subprocess.run(["sh", "-c", commands], env=environment, capture_output=True, text=True, timeout=60)
    assert '"path":"/ag-ui/assistant"' in done.stdout, done.stderr
    assert '"type":"RUN_FINISHED"' in done.stdout
    clients = Path(os.environ.get("ROOST_TEST_CLIENTS", "/nowhere")) / "node_modules"
    if (clients / "@ag-ui/client").is_dir():  # tests/doors/test_agui_client.py says where it is missing
        (tmp_path / "node_modules").symlink_to(clients)
        (tmp_path / "example.mjs").write_text(
            program.replace("7667", environment["ROOST_PORT"]).replace("run-1", "run-2")
        )
        env = {**environment, "ROOST_TOKEN": (Path(environment["ROOST_HOME"]) / "token").read_text().strip()}
        command = ["node", "example.mjs"]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.stdout == "You said: Hello", done.stderr


@pytest.mark.usefixtures("daemon")
def test_the_examples_for_other_agents(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "docs/guides/a2a.md"
    (program,), (commands,) = blocks("python", page), blocks("sh", page)
    commands = commands.replace("7667", environment["ROOST_PORT"])
    done = subprocess.run(["sh", "-c", commands], env=environment, capture_output=True, text=True, timeout=60)
    assert '"protocolBinding":"JSONRPC"' in done.stdout, done.stderr
    assert '"parts":[{"text":"You said: Hello"}]' in done.stdout
    code = [sys.executable, "-c", program]
    done = subprocess.run(code, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "You said: Hello\n", done.stderr


@pytest.mark.usefixtures("daemon")
def test_the_examples_for_anthropic_clients(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "docs/guides/anthropic-clients.md"
    (program,), (_, commands) = blocks("python", page), blocks("sh", page)  # the first needs Claude Code
    code = [sys.executable, "-c", program]
    done = subprocess.run(code, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "You said: Hello\nYou said: And again\n", done.stderr
    commands = commands.replace("7667", environment["ROOST_PORT"])
    done = subprocess.run(["sh", "-c", commands], env=environment, capture_output=True, text=True, timeout=60)
    assert '"id":"assistant"' in done.stdout, done.stderr
    assert '"text":"You said: Hello"' in done.stdout


def test_the_commands(tmp_path: Path, environment: dict[str, str]) -> None:
    """Each line of "Use" but those that wait for a person at a terminal."""
    (example,) = [block for block in blocks("sh") if "roost chat" in block]
    lines = [line.split("#")[0].strip() for line in example.splitlines()]
    commands = [line for line in lines if line.startswith("roost ") and not re.search("chat|attach|doctor", line)]
    assert len(commands) >= 5
    for command in commands:
        done = subprocess.run(
            ["sh", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
