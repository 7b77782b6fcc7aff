"""`roost policy check`, `roost audit`, `roost approve --with`, and that a policy counts for what a command runs."""

from __future__ import annotations

import json

import pytest

from .conftest import Machine


@pytest.mark.parametrize(
    ("arguments", "code", "layer"),
    [
        (("ls -la",), 0, "level"),
        (("npm publish",), 3, "level"),
        (("cat ~/.ssh/id_rsa",), 4, "system"),
        (("git status",), 0, "user"),
        (("git push; rm -rf /opt/x",), 3, "level"),
        (("git push; rm -rf /",), 4, "roost"),
        (("--tool", "read_file", "--path", "../work/../tokens"), 4, "user"),
        (("--tool", "read_file", "--path", "../home/token"), 4, "roost"),
        (("--tool", "write_file", "--path", ".roost/policy.toml"), 3, "system"),
        (("--path", "made/by/hand"), 4, "project"),
    ],
)
def test_check_shows_who_decides(roost: Machine, arguments: tuple[str, ...], code: int, layer: str) -> None:
    _policies(roost)
    done = roost("policy", "check", *arguments)
    assert done.code == code, done.out + done.err
    assert f"by the layer {layer}" in done.out
    told = roost("policy", "check", "--json", *arguments)
    assert (told.code, told.json["verdict"]["layer"]) == (code, layer)
    if layer in ("user", "project", "system"):
        assert told.json["layers"][layer]["rule"]


def test_check_shows_who_may_call_whom(roost: Machine) -> None:
    agents = roost.home / "agents"
    agents.mkdir(parents=True)
    (agents / "lead.toml").write_text('tools = ["task"]\n[children]\nagents = ["scout*", "shy"]\n')
    (agents / "scout.toml").write_text('callable_by = ["lead"]\n')
    (agents / "shy.toml").write_text("")
    check = ("policy", "check", "--agent", "lead", "--call")
    done = roost(*check, "scout")
    assert (done.code, "allow by the layer level" in done.out, done.err) == (0, True, "")
    shy = roost(*check, "shy", "--json")
    assert (shy.code, shy.json["verdict"]["layer"]) == (4, "agents")
    assert shy.json["layers"]["agents"]["reason"] == "`callable_by` of 'shy' names no 'lead'"
    own = roost("policy", "check", "--agent", "scout", "--call", "lead")
    assert (own.code, "`children.agents` of 'scout' names no 'lead'" in own.out) == (4, True)
    assert "scout does not have the tool task" in own.err
    assert "there is no agent 'nobody'" in roost(*check, "nobody").err
    assert roost(*check, "scout", "ls").code == 2
    (roost.home / "policy.toml").write_text('[[rules]]\neffect = "ask"\ntool = "task"\n')
    assert roost(*check, "scout").code == 3


COUNTER = """
from roost import Agent, ToolContext, tool
from roost.policy.touched_paths import reads_at

@tool(safety="read_only", reach=reads_at("path"))
def count(context: ToolContext, path: str) -> str: "Count."

@tool(safety="read_only")
def blind(context: ToolContext, path: str) -> str: "Count."

agent = Agent("counter", tools=[count, blind])
"""


def test_check_knows_the_tools_of_an_agent_in_python(roost: Machine) -> None:
    (roost.work / "counter.py").write_text(COUNTER)
    check = ("policy", "check", "--agents", "counter.py", "--agent", "counter", "--tool")
    notes = roost(*check, "count", "--path", "notes.txt")
    assert (notes.code, "the tool only reads" in notes.out, notes.err) == (0, True, "")
    secret = roost(*check, "count", "--path", ".env")
    assert (secret.code, "by the layer system" in secret.out) == (3, True)
    blind = roost(*check, "blind", "--path", ".env")
    assert (blind.code, "blind has no `reach`" in blind.err) == (0, True)


def _policies(roost: Machine) -> None:
    roost.home.mkdir()
    (roost.home / "policy.toml").write_text(
        '[[rules]]\neffect = "allow"\ncommand = "git"\n[[rules]]\neffect = "deny"\npath = "/**/tokens"\n'
    )
    (roost.work / ".roost").mkdir()
    (roost.work / ".roost" / "policy.toml").write_text('[[rules]]\neffect = "deny"\npath = "made/**"\n')


def test_a_policy_that_is_wrong_is_told_before_anything_runs(roost: Machine) -> None:
    roost.home.mkdir()
    (roost.home / "policy.toml").write_text('[[rules]]\neffect = "never"\n')
    for command in (("policy", "check", "ls"), ("run", "words")):
        done = roost(*command)
        assert done.code == 1
        assert f"{roost.home / 'policy.toml'}:2: rules.1.effect" in done.err


def test_a_call_is_approved_with_other_arguments(roost: Machine) -> None:
    roost.up()
    try:
        session = roost("run", "hello", "--json").ok().json["session"]
        roost("send", session, "please make it").ok()
        roost.until("waiting")
        wrong = roost("approve", session, "--with", "command=[1]")
        assert wrong.code == 1
        assert "command must be of type string" in wrong.err
        assert roost("approve", session, "--reject", "--with", "command=x").code == 2
        done = roost("approve", session, "--with", "command=echo instead > made.txt; cat made.txt").ok()
        assert "changed and approved shell" in done.out
        roost.until("idle")
        assert "instead" in roost("show", session).ok().out
        assert '"modify"' in roost("logs", session, "--json").ok().out
    finally:
        roost("down").ok()


def test_audit(roost: Machine) -> None:
    key = "sk-proj-" + "aB3dE6fG" * 5
    assert roost("audit").code == 0
    (roost.work / ".settings").write_text(f"# mine\nkey={key}\n")
    done = roost("audit")
    assert done.code == 1
    assert f"{roost.work / '.settings'}:2: " in done.out
    assert key not in done.out + done.err
    (leak,) = json.loads(roost("audit", "--json", str(roost.work)).out)
    assert (leak["line"], leak["path"]) == (2, str(roost.work / ".settings"))
