"""Rules in an agent's definition: how they are written, what is wrong with them, and whose may allow."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.agent.agent_files import load_agent_files, load_agents
from roost.agent.definition import AgentSpec, decode_spec, encode_spec
from roost.errors import ConfigError
from roost.policy.rules import Rule

TEXT = """
tools = ["shell"]
permissions = "custom"

[[rules]]
effect = "EFFECT"
tool = "shell"
command = "git"

[[rules]]
effect = "deny"
path = "PATH"
"""


def write(folder: Path, *, effect: str = "allow", path: str = "secret/**") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "clerk.toml").write_text(TEXT.replace("EFFECT", effect).replace("PATH", path))
    return folder


def test_rules_of_a_file_are_pinned_with_the_definition(tmp_path: Path) -> None:
    (agent,) = load_agents([write(tmp_path / "agents")])
    assert [rule.shown for rule in agent.spec.rules] == ["allow tool=shell command=git", "deny path=secret/**"]
    assert decode_spec(encode_spec(agent.spec)) == agent.spec
    assert AgentSpec(name="a").version != AgentSpec(name="a", rules=(Rule(effect="deny"),)).version


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"effect": "maybe"}, "clerk.toml:5: field 'rules[0].effect'"),
        ({"path": "../x"}, "clerk.toml:5: the rule's path '../x'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, changed: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as told:
        load_agents([write(tmp_path / "agents", **changed)])
    assert said in told.value.message


def test_an_agent_that_comes_with_a_folder_cannot_allow_itself_anything(tmp_path: Path) -> None:
    folder = write(tmp_path / "agents")
    with pytest.raises(ConfigError, match="may only ask or deny"):
        load_agent_files([folder], found=[folder])
    write(folder, effect="ask")
    assert len(load_agent_files([folder], found=[folder])) == 1
