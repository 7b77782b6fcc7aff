"""The examples of the README and of the first pages are run as they stand there, against a stub provider."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from roost.agent.agent_files import check_found, load_agent_file, load_agents
from roost.errors import ConfigError
from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call
from tests.harness.prefork import Order
from tests.harness.processes import Prefork, Process, start

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
        Rule(when="does not fit", answers=(Reply(text='{"city": "Ghent", "days": 3}'),)),
        Rule(when="Plan a trip", answers=(Reply(text='```json\n{"city": "Ghent", "days": "three"}\n```'),)),
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


_PROGRAMS = (
    ("56 km", "56 km"),
    ("You said: Hello", "15"),
    ("Ghent", "3"),
    ("100", "You said: Hello number 99"),
)


@pytest.mark.parametrize("number", range(4))
def test_the_programs_of_the_python_page(number: int, tmp_path: Path, environment: dict[str, str]) -> None:
    program = blocks("python", "docs/guides/python.md")[number]
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    for said in _PROGRAMS[number]:
        assert said in done.stdout, done.stdout + done.stderr


def test_the_python_page_runs_in_a_notebook(tmp_path: Path, environment: dict[str, str]) -> None:
    """A notebook awaits at its top level, on a loop that runs already."""
    program = blocks("python", "docs/guides/python.md")[0].replace("asyncio.run(main())", "await main()")
    code = (
        "import ast, asyncio, inspect\n"
        f"code = compile({program!r}, 'cell', 'exec', flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)\n"
        "async def cell():\n"
        "    names = {'__name__': '__main__'}\n"
        "    made = eval(code, names)\n"
        "    if inspect.isawaitable(made):\n"
        "        await made\n"
        "asyncio.run(cell())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert "56 km" in done.stdout, done.stdout + done.stderr


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
def daemon(tmp_path: Path, environment: dict[str, str], prefork: Prefork) -> Iterator[Process]:
    with (tmp_path / "daemon.log").open("ab") as log:
        daemon = start(prefork, Order(["up", "--json"], str(tmp_path), environment), stderr=log.fileno())
    try:
        assert daemon.stdout is not None
        assert daemon.stdout.readline(), (tmp_path / "daemon.log").read_text()
        yield daemon
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.communicate(timeout=60)


_EACH = """
import json, sys

for program in json.load(sys.stdin):
    exec(compile(program, "example", "exec"), {"__name__": "__main__"})
    print(end="\\0", flush=True)
"""


def output_of(programs: Sequence[str], environment: dict[str, str], folder: Path) -> list[str]:
    """Run programs one after the other and return what each prints. They share an interpreter: importing a provider's
    library takes a second."""
    done = subprocess.run(
        [sys.executable, "-c", _EACH],
        input=json.dumps(programs),
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split("\0")[:-1]


@pytest.mark.usefixtures("daemon")
def test_the_http_example(environment: dict[str, str]) -> None:
    (example,) = [block for block in blocks("sh") if "curl" in block]
    example = example.replace("7667", environment["ROOST_PORT"])
    done = subprocess.run(["sh", "-c", example], env=environment, capture_output=True, text=True, timeout=60)
    assert "event: turn.completed" in done.stdout, done.stdout + done.stderr
    assert "You said: Hello" in done.stdout


@pytest.mark.usefixtures("daemon")
def test_the_examples_of_the_client(tmp_path: Path, environment: dict[str, str]) -> None:
    examples = blocks("python", "docs/guides/client.md")
    asked, blocking, followed, decided = output_of(examples, environment, tmp_path)
    assert asked == "You said: Hello\nanswered 1\n"
    assert blocking.startswith("You said: Hello\nses_")
    assert followed.endswith("TurnCompleted\n")
    assert decided == "You said: Hello\n"


@pytest.mark.usefixtures("daemon")
def test_the_remote_program_of_the_python_page(tmp_path: Path, environment: dict[str, str]) -> None:
    (said,) = output_of(blocks("python", "docs/guides/python.md")[4:], environment, tmp_path)
    assert said == "You said: Hello\n"


@pytest.mark.usefixtures("daemon")
def test_the_examples_for_openai_clients(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "docs/guides/openai-clients.md"
    programs, (commands, codex) = blocks("python", page), blocks("sh", page)
    said = ["You said: Hello\nYou said: And again\n"] * 2
    said[1] += "You said: Take your time\n['user', 'user', 'assistant']\n"
    assert output_of(programs, environment, tmp_path) == said
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
def test_the_examples_for_the_agents_api(tmp_path: Path, environment: dict[str, str]) -> None:
    said = [
        "You said: Hello\n['user', 'assistant']\n",
        "You said: Hello again\n",
        "['/workspace/list.txt', '/workspace/more.txt']\n",
    ]
    assert output_of(blocks("python", "docs/guides/openai-agents.md"), environment, tmp_path) == said


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
    (program, definition), (commands,) = blocks("python", page), blocks("sh", page)
    (tmp_path / "clerk.py").write_text(definition)
    (tmp_path / "boss.toml").write_text(blocks("toml", page)[0])
    (clerk, boss) = (load_agent_file(tmp_path / name)[0].agent for name in ("clerk.py", "boss.toml"))
    assert [one.remote_agents[0].url for one in (clerk, boss)] == ["https://agents.example.com/a2a/lawyer"] * 2
    with pytest.raises(ConfigError, match="remote agents with your secrets"):
        check_found(load_agent_file(tmp_path / "boss.toml")[0])
    commands = commands.replace("7667", environment["ROOST_PORT"])
    done = subprocess.run(["sh", "-c", commands], env=environment, capture_output=True, text=True, timeout=60)
    assert '"protocolBinding":"JSONRPC"' in done.stdout, done.stderr
    assert '"parts":[{"text":"You said: Hello"}]' in done.stdout
    code = [sys.executable, "-c", program]
    done = subprocess.run(code, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "You said: Hello\n", done.stderr


def test_the_examples_for_coding_agents(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "docs/guides/coding-agents.md"
    (definition,), (commands,) = blocks("toml", page), blocks("sh", page)
    (tmp_path / "coder.toml").write_text(definition)
    assert load_agent_file(tmp_path / "coder.toml")[0].agent.program == "claude-code"
    bare = {**environment, "PATH": f"{BIN}:/usr/bin:/bin"}  # a program that is here would need its own script
    for line, missing in zip(commands.splitlines(), ("claude-code", "codex"), strict=True):
        done = subprocess.run(["sh", "-c", line], env=bare, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1, done.stderr
        assert f"npm install -g @{'anthropic-ai' if 'claude' in missing else 'openai'}/{missing}" in done.stderr


def test_the_examples_for_agents_of_other_frameworks(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "docs/guides/bring-your-agent.md"
    (code, keeper), (definition, *others), (command,) = blocks("python", page), blocks("toml", page), blocks("sh", page)
    compile(keeper, page, "exec")  # tests/frameworks has it as `agents/openai_agents_mcp.py`
    (tmp_path / "agents" / "clerk").mkdir(parents=True)
    for at, other in enumerate(others):
        (tmp_path / f"{at}.toml").write_text(other)
        assert load_agent_file(tmp_path / f"{at}.toml")[0].agent.framework
    (tmp_path / "agents" / "clerk" / "clerk.py").write_text(code)
    (tmp_path / "agents" / "clerk.toml").write_text(definition)
    done = subprocess.run(
        ["sh", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=110
    )
    assert "You said: Hello" in done.stdout, done.stderr
    with pytest.raises(ConfigError, match="install packages and run code"):
        check_found(load_agent_file(tmp_path / "agents" / "clerk.toml")[0])


def test_the_examples_of_system_calls(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "docs/guides/system-calls.md"
    (definition,), (commands,), (program,) = blocks("toml", page), blocks("sh", page), blocks("python", page)
    (tmp_path / ".roost" / "agents").mkdir(parents=True)
    (tmp_path / ".roost" / "agents" / "library.toml").write_text(definition)
    given: dict[str, Any] = {"env": environment, "cwd": tmp_path, "capture_output": True, "text": True, "timeout": 100}
    try:
        done = subprocess.run(["sh", "-c", commands.replace("7667", environment["ROOST_PORT"])], **given)
        assert '"outcome":"ok"' in done.stdout, (done.stdout, done.stderr)
        done = subprocess.run([sys.executable, "-c", program], **given)
        assert done.stdout.startswith("done ok\nqueued "), done.stderr
    finally:
        subprocess.run(["roost", "down"], **given)


@pytest.mark.usefixtures("daemon")
def test_the_examples_of_goals(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "docs/guides/outcomes.md"
    (commands,), (program,) = blocks("sh", page), blocks("python", page)
    given: dict[str, Any] = {"env": environment, "cwd": tmp_path, "capture_output": True, "text": True, "timeout": 100}
    done = subprocess.run(["sh", "-c", commands], **given)
    assert "unmet  checked 2 of 2 times\n  ✗ file report.md\n      there is no such file" in done.stdout, done.stderr
    done = subprocess.run([sys.executable, "-c", program], **given)
    assert done.stdout == "open\n", done.stderr


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


@pytest.mark.usefixtures("daemon")
def test_the_examples_of_migration(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "docs/guides/migrate.md"
    (program,), (commands,) = blocks("python", page), blocks("sh", page)
    said = ["done You said: Hello", "['user', 'assistant']", "paused", "pause-checkpoint", "running {'theme': 'dark'}"]
    assert output_of([program], environment, tmp_path) == ["\n".join(said) + "\n"]
    commands = commands.replace("7667", environment["ROOST_PORT"])
    done = subprocess.run(["sh", "-c", commands], env=environment, capture_output=True, text=True, timeout=60)
    assert '"adapter":"roost"' in done.stdout, done.stderr
    assert '"type":"done","content":"You said: Hello"' in done.stdout
    assert '"name":"my-agent"' in done.stdout


@pytest.mark.usefixtures("daemon")
def test_the_examples_for_managed_agents(tmp_path: Path, environment: dict[str, str]) -> None:
    said = ["You said: Hello\n", "files\n", "True\n"]
    assert output_of(blocks("python", "docs/guides/managed-agents.md"), environment, tmp_path) == said


def test_the_examples_of_accounts(tmp_path: Path, environment: dict[str, str]) -> None:
    """The commands of the owner; the others need the token that one of them printed."""
    make, use, provider = blocks("bash", "docs/guides/accounts.md")
    for command in [*make.splitlines(), *provider.splitlines()]:
        done = subprocess.run(["sh", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (command, done.stderr)
    assert "roost_..." in use
    said = subprocess.run(["roost", "account", "list"], env=environment, capture_output=True, text=True)
    assert "alice" in said.stdout, said.stderr
    assert "bob" in said.stdout


def test_the_commands(tmp_path: Path, environment: dict[str, str]) -> None:
    """Each line of "Use" but those that wait for a person at a terminal."""
    (example,) = [block for block in blocks("sh") if "roost attach" in block and "roost ps" in block]
    lines = [line.split("#")[0].strip() for line in example.splitlines()]
    commands = [line for line in lines if line.startswith("roost ") and not re.search("top|attach|doctor", line)]
    assert len(commands) >= 5
    for command in commands:
        done = subprocess.run(
            ["sh", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
