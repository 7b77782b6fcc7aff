"""The page "Connect", as a newcomer follows it: its files are saved in an empty folder, its commands are run one after
the other, and they print what the page says. Only ports are other ones, and what it installs is there already."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import BIN, ROOT, _free_port

PAGE = (ROOT / "docs/guides/connect.md").read_text()
CLIENTS = Path(os.environ.get("ROOST_TEST_CLIENTS", "/nowhere")) / "node_modules"
_SAVED = re.compile(r"(?:Save (?:it )?as|, as) `([^`]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMANDS = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PRINTED = re.compile(r"^```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
_BY_HAND = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
_FILES = {
    "script.json", ".codex/config.toml", "turn_results.py", "ask.py", "three.py", "a2a_client.py", "a2a_client.mjs",
    "editor.py", "agui.mjs",
}  # fmt: skip
_END = """
finish() {
  cat {.,small}/{stub,codex,three}.log ~/.roost/daemon.log
  roost down || kill %1 || true
}
trap 'set +e; finish >&2' EXIT
"""

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.timeout(600),  # programs of others start slowly on a busy machine
    pytest.mark.skipif(not CLIENTS.is_dir(), reason="the clients of others are not in $ROOST_TEST_CLIENTS"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder with the files of the page, and what `npm install` and `pip download` of it leave."""
    work = tmp_path / "connect"
    work.mkdir()
    ports = {"7667": str(_free_port()), "8900": str(_free_port())}
    saved = dict(_SAVED.findall(PAGE))
    assert saved.keys() == _FILES
    for name, text in saved.items():
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text(_elsewhere(text, ports))
    (work / "commands").write_text(_elsewhere("".join(_COMMANDS.findall(PAGE)), ports))
    (work / "by_hand").write_text(_elsewhere("".join(_BY_HAND.findall(PAGE)), ports))
    (work / "port").write_text(ports["7667"])
    (work / "node_modules").symlink_to(CLIENTS)
    shutil.copy(ROOT / "tests/quick_starts/anthropic/agents.py", work)
    return work


def _elsewhere(text: str, ports: dict[str, str]) -> str:
    text = re.sub(r"^(npm install|pip install|python3 -m venv) .*\n", "", text, flags=re.MULTILINE)
    for old, new in ports.items():
        text = text.replace(old, new)
    return text


def run(folder: Path, commands: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run commands in one shell that ends at the first failure, in a home of its own."""
    kept = {name: os.environ[name] for name in ("LANG", "ROOST_CACHE", "SSL_CERT_FILE") if name in os.environ}
    quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1", "IS_SANDBOX": "1"}
    env = {
        **kept,
        **quiet,
        "HOME": str(folder.parent),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ROOST_PORT": (folder / "port").read_text(),
        **more,
    }
    script = "set -e -o pipefail\n" + _END + commands
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=560,
    )


def test_what_is_installed_is_what_the_page_says() -> None:
    """The first command installs the packages that the other tests use, in these versions."""
    pinned = (ROOT / ".ci/clients/package.json").read_text() + (ROOT / "requirements.lock").read_text()
    named = re.findall(r"`([@\w/-]+)` ([\d.]+)", PAGE.partition("```sh")[0].partition("A walk through")[2])
    assert len(named) >= 6
    for name, version in named:
        assert f'"{name}": "{version}"' in pinned or f"{name}=={version}" in pinned, f"{name} {version}"
    for package in re.findall(r"@[\w-]+/[\w-]+", "".join(re.findall(r"^npm install (.*)$", PAGE, re.MULTILINE))):
        assert f'"{package}"' in pinned, package


def test_the_walk_through_all_doors(folder: Path) -> None:
    done = run(folder, (folder / "commands").read_text())
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    lines = [line.strip() for line in done.stdout.splitlines()]
    at = 0
    for expected in "".join(_PRINTED.findall(PAGE)).splitlines():
        found = next((number for number, line in enumerate(lines[at:]) if line == expected.strip()), None)
        assert found is not None, (expected, lines[at:], done.stderr[-3000:])
        at += found + 1
    assert (folder / "claude.txt").read_text() == "made by Claude Code\n"
    assert (folder / "codex.txt").read_text() == "made by Codex\n"


@pytest.mark.soak
@pytest.mark.local_model
@pytest.mark.timeout(3600)
def test_the_clients_finish_on_the_built_in_model(folder: Path) -> None:
    """As the commands of the page stand there; minutes on a busy machine."""
    begin, clients, *_ = _COMMANDS.findall(PAGE)[1:]
    setting = "\n".join(line for line in clients.splitlines() if line.startswith("export"))
    commands = "\n".join(('export PATH="$PWD/node_modules/.bin:$PATH"', *begin.splitlines()[2:], setting))
    assert sys.platform == "linux"
    ports = {"7667": (folder / "port").read_text()}
    done = run(
        folder, _elsewhere(commands, ports) + "\n" + (folder / "by_hand").read_text(), ROOST_MODEL_DEADLINE="1800"
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert (folder / "small/hello.txt").read_text().strip() == "good morning"
    assert (folder / "small/copy.txt").read_text().split() == "bread 3 the meeting is at noon".split()
