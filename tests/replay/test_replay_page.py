"""The page about replays: its blocks run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.stub.provider import ProviderServer
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SCRIPT = Script(
    rules=(
        Rule(
            when="Write a greeting",
            answers=(
                Reply(calls=(Call("write_file", {"path": "greeting.txt", "content": "hello\n"}),)),
                Reply(text="greeting.txt says hello."),
            ),
        ),
    )
)

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def blocks(kind: str) -> list[str]:
    page = (ROOT / "docs/guides/replay.md").read_text()
    return [text for one, text in _BLOCK.findall(page) if one == kind]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    with ProviderServer(_SCRIPT) as server:
        kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
        own = {"HOME": str(tmp_path), "ROOST_HOME": str(tmp_path / ".roost"), "PATH": f"{BIN}:{os.environ['PATH']}"}
        yield {**kept, **own, "OPENAI_API_KEY": "stub", "OPENAI_BASE_URL": server.url}


def test_the_commands(tmp_path: Path, environment: dict[str, str]) -> None:
    first, changed, models, live, suite, many = blocks("sh")
    (tmp_path / "replay.toml").write_text(blocks("toml")[0])
    script = f"set -e\n{first}\n{changed}\n{models}\n{live}\n{suite}\n{many}"
    done = subprocess.run(
        ["bash", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 replays passed" in done.stderr
    suites = ET.parse(tmp_path / "report.xml").getroot()
    assert (suites.get("tests"), suites.get("failures"), suites.get("errors")) == ("2", "0", "0")
    assert [case.get("name") for case in suites.iter("testcase")] == ["greeting.jsonl", "greets with any model"]


def test_the_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", blocks("python")[0]], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("gate the gate decides otherwise about write_file: deny")
