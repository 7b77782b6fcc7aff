"""How often the default mode asks about an ordinary day's commands, and that it lets nothing hostile through."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.policy.calls import shell

from roost.policy.gate import LayeredGate, Permissions, Verdict
from roost.policy.system_rules import system_rules

CORPUS = Path(__file__).with_name("corpus")


def lines(name: str) -> list[list[str]]:
    said = (CORPUS / name).read_text().splitlines()
    return [line.split("\t") for line in said if line and not line.startswith("#")]


def judged(text: str, root: Path, mode: Permissions = "workspace", *, private: bool = False) -> Verdict:
    call = shell(text, root, private_workspace=private)
    return LayeredGate(mode, {"system": system_rules()}).decide(call)


@pytest.mark.parametrize("private", [True, False])
def test_at_most_one_in_twenty_ordinary_commands_is_asked_about(tmp_path: Path, private: bool) -> None:
    corpus = lines("ordinary.txt")
    assert len(corpus) >= 300
    work = [text for wanted, _, text in corpus if wanted == "run"]
    asked = [text for text in work if judged(text, tmp_path.resolve(), private=private).decision != "allow"]
    assert len(asked) <= len(work) / 20, asked


def test_what_installs_publishes_or_speaks_to_others_is_asked_about(tmp_path: Path) -> None:
    for wanted, _, text in lines("ordinary.txt"):
        if wanted == "ask":
            assert judged(text, tmp_path.resolve()).decision == "ask", text


@pytest.mark.parametrize("mode", ["workspace", "auto"])
def test_no_command_with_a_known_danger_runs_unasked(tmp_path: Path, mode: Permissions) -> None:
    hostile = [text for known, text in lines("commands.txt") if known not in ("read", "plain")]
    assert len(hostile) >= 300
    for text in hostile:
        assert judged(text, tmp_path.resolve(), mode, private=True).decision != "allow", text
