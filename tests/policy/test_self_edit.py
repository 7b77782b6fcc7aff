"""What the gate says to an agent that would change its own policy, or what runs by itself, from a list of ways."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roost.policy.gate import GateCall, LayeredGate, Permissions
from roost.policy.rules import Rule, Touches
from roost.policy.system_rules import system_rules
from roost.tools.builtin import builtin_tools
from roost.tools.run_tool import arguments_of

_CORPUS = Path(__file__).with_name("corpus") / "self_edit.txt"
_MODES: dict[str, tuple[Permissions, ...]] = {
    "deny": ("all", "auto", "workspace", "ask", "read_only", "custom"),
    "ask": ("all", "auto", "workspace", "ask"),
    "unless": ("auto", "workspace", "ask"),
}


def _cases() -> list[tuple[str, str]]:
    lines = [line for line in _CORPUS.read_text().splitlines() if line and not line.startswith("#")]
    return [(expected, text) for expected, _, text in (line.partition("\t") for line in lines)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("self-edit")
    for folder in ("work/.git/hooks", "work/.roost", "work/src", "home/agents"):
        (base / folder).mkdir(parents=True)
    for file in ("home/policy.toml", "home/token", "home/roost.db", "work/.roost/policy.toml", "work/.git/config"):
        (base / file).write_text("# mine\n")
    (base / "work/link").symlink_to(base / "home")
    (base / "work/hooks").symlink_to(".git/hooks")
    (base / "work/own").symlink_to(".roost")
    return base


def judged(mode: Permissions, text: str, place: Path) -> str:
    home, root = place / "home", place / "work"
    text = text.replace("{home}", str(home)).replace("{HOME}", str(home.with_name("HOME")))
    name, brace, rest = text.partition("{")
    tool = builtin_tools()[name] if brace and name in builtin_tools() else builtin_tools()["shell"]
    given = brace + rest if tool.name != "shell" else json.dumps({"command": text})
    arguments = arguments_of(tool, given)
    assert not isinstance(arguments, str), arguments
    allowed = (Rule(effect="allow", tool="read_file"),)
    call = GateCall(
        session="s",
        call="c",
        tool=tool.name,
        arguments=given,
        safety=tool.safety,
        inside=tool.inside,
        private_workspace=True,
        root=root,
        touches=tool.reach(arguments, root) if tool.reach else Touches(),
        walled=True,
    )
    return LayeredGate(mode, {"user": allowed, "system": system_rules()}, hidden=(home,)).decide(call).decision


@pytest.mark.parametrize(("expected", "text"), _cases())
def test_nobody_changes_what_holds_them(expected: str, text: str, place: Path) -> None:
    said = {mode: judged(mode, text, place) for mode in _MODES[expected]}
    if expected == "deny":
        assert set(said.values()) == {"deny"}, said
    else:
        assert "allow" not in said.values(), said


def test_ordinary_work_is_not_asked_about(place: Path) -> None:
    for text in (
        "make test > out.txt",
        "cd src && touch a.py",
        "rm src/*.pyc",
        "git add -A && git commit -m x",
        "mv a b",
    ):
        assert judged("auto", text, place) == "allow", text
    assert judged("workspace", 'write_file{"path": "src/a.py", "content": "x"}', place) == "allow"
