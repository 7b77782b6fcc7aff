"""The examples of the guides on skills and packages are run as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from roost.agent.definition import Agent
from roost.features.packages.commands import hub
from roost.features.packages.skill_validation import validate
from roost.features.skills.commands import skills

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_AGENT = "---\ndescription: Releases.\ntools: [grep]\n---\nCheck the notes.\n"


def blocks(kind: str, page: str) -> list[str]:
    return [text for language, text in _BLOCK.findall((GUIDES / page).read_text()) if language == kind]


def commands(page: str) -> list[list[str]]:
    lines = "".join(blocks("console", page)).splitlines()
    return [shlex.split(line.removeprefix("$ ")) for line in lines if line.startswith("$ ")]


def test_the_examples_of_skills(tmp_path: Path) -> None:
    names: dict[str, object] = {}
    exec(blocks("python", "skills.md")[0], names)
    assert isinstance(names["clerk"], Agent)
    folder = tmp_path / "release-notes"
    folder.mkdir()
    (folder / "SKILL.md").write_text(blocks("markdown", "skills.md")[0])
    assert validate(folder) == []
    known = {*skills.commands}
    assert {words[2] for words in commands("skills.md") if words[1] == "skills"} <= known


def test_the_commands_of_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, with what the package needs published before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROOST_HOME", str(tmp_path / "home"))
    kit, needed = tmp_path / "release-kit", tmp_path / "changelog-tools"
    for folder, name in ((kit, "release-notes"), (needed, "changelog")):
        (folder / "skills" / name).mkdir(parents=True)
        text = blocks("markdown", "skills.md")[0].replace("release-notes", name)
        (folder / "skills" / name / "SKILL.md").write_text(text)
    (kit / "roost-package.toml").write_text(blocks("toml", "packages.md")[0])
    (needed / "roost-package.toml").write_text('name = "changelog-tools"\nversion = "1.2.0"\n')
    (kit / "agents").mkdir()
    (kit / "agents" / "releaser.md").write_text(_AGENT)
    first = ["roost", "hub", "install", "./changelog-tools", "--yes"]
    for words in (first, *commands("packages.md")):
        done = CliRunner().invoke(hub, words[2:])
        assert done.exit_code == 0, (words, done.output, done.exception)
    assert "release-kit" in done.output
