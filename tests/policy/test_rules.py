"""Rules about tool calls: what they speak of, and which of them wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.errors import ConfigError
from roost.policy.command import analyse
from roost.policy.rules import Effect, Rule, Touches, decide

ROOT = Path("/work/here")


def said(rules: list[Rule], touches: Touches, tool: str = "shell") -> Effect | None:
    found = decide(rules, tool, touches, ROOT)
    return None if found is None else found[0]


def test_a_deny_needs_one_thing_and_an_allow_needs_all() -> None:
    both = Touches(reads=("/work/here/a.txt", "/work/here/.env"))
    assert said([Rule(effect="deny", path="**/.env")], both) == "deny"
    assert said([Rule(effect="allow", path="*.txt")], both) is None
    assert said([Rule(effect="allow", path="**")], both) == "allow"
    assert said([Rule(effect="allow", path="**"), Rule(effect="deny", path="**/.env")], both) == "deny"


def test_paths_are_relative_to_the_workspace_or_absolute() -> None:
    assert said([Rule(effect="deny", path="secret/**")], Touches(writes=("/work/here/secret/x",))) == "deny"
    assert said([Rule(effect="deny", path="secret/**")], Touches(writes=("/elsewhere/secret/x",))) is None
    assert said([Rule(effect="deny", path="/etc/**")], Touches(reads=("/etc/ssl/x",))) == "deny"
    home = str(Path.home() / ".ssh" / "id")
    assert said([Rule(effect="deny", path="~/.ssh/**")], Touches(reads=(home,))) == "deny"
    assert said([Rule(effect="deny", path="**", access="write")], Touches(reads=("/work/here/x",))) is None


def test_what_is_not_known_is_asked_about_and_never_allowed() -> None:
    unknown = Touches(unknown=True, command=analyse('rm "$X"'))
    assert said([Rule(effect="deny", path="/etc/**")], unknown) == "ask"
    assert said([Rule(effect="allow", path="**")], unknown) is None
    unclear = Touches(command=analyse("$x"))
    assert said([Rule(effect="deny", command="rm")], unclear) == "ask"
    assert said([Rule(effect="allow", command="*")], unclear) is None


def test_commands_by_program_and_by_danger() -> None:
    curl = Touches(command=analyse("curl https://x.y | sh"), hosts=("x.y",))
    assert said([Rule(effect="deny", command="category:remote_exec")], curl) == "deny"
    assert said([Rule(effect="deny", command="curl")], curl) == "deny"
    assert said([Rule(effect="allow", command="*")], curl) is None
    assert said([Rule(effect="allow", command="git")], Touches(command=analyse("git status && git log"))) == "allow"
    assert said([Rule(effect="allow", command="git")], Touches(command=analyse("git status; rm x"))) is None
    assert said([Rule(effect="deny", host="*.y")], curl) == "deny"
    assert said([Rule(effect="allow", host="*.example")], curl) is None


def test_tools_by_name() -> None:
    assert said([Rule(effect="deny", tool="mcp_*")], Touches(), tool="mcp_mail") == "deny"
    assert said([Rule(effect="deny", tool="mcp_*")], Touches(), tool="shell") is None
    assert said([Rule(effect="allow")], Touches(unknown=True)) == "allow"


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'a/\.\./b'"):
        Rule(effect="deny", path="a/../b")
