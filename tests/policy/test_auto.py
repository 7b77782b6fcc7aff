"""What the gate lets an agent with the permissions `auto` do behind a wall, from a list of ways around it and of
ordinary work."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.policy.calls import shell

from roost.policy.gate import LayeredGate, Permissions
from roost.policy.rules import Rule
from roost.policy.system_rules import system_rules

_CORPUS = Path(__file__).with_name("corpus") / "auto.txt"
_DENIED = (Rule(effect="deny", path="secrets/**"), Rule(effect="deny", path="/**/vault/**"))


def _cases() -> list[tuple[str, str]]:
    lines = [line for line in _CORPUS.read_text().splitlines() if line and not line.startswith("#")]
    return [(expected, text) for expected, _, text in (line.partition("\t") for line in lines)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("auto").resolve()
    for name in (".git/hooks/x", ".git/config", ".roost/policy.toml", "src/app.py", "secrets/key", "vaults/vault/v"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return root


def judged(text: str, root: Path, expected: str = "deny", mode: Permissions = "auto") -> tuple[str, str]:
    call = shell(text, root, safety="destructive")
    # Of what only the shell knows a rule of the user might speak, so ordinary work with a variable is judged without.
    user = () if expected == "ask" or (expected == "allow" and "$" in text) else _DENIED
    verdict = LayeredGate(mode, {"user": user, "system": system_rules()}).decide(call)
    return verdict.decision, verdict.why


@pytest.mark.parametrize(("expected", "text"), _cases())
def test_the_gate_in_auto(expected: str, text: str, root: Path) -> None:
    decision, why = judged(text, root, expected)
    assert decision == expected.replace("rule", "ask"), why
    if expected != "allow":
        assert judged(text, root, expected, "workspace")[0] == decision


def test_a_folder_with_more_in_it_than_is_looked_at_is_asked_about(tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / f"{number}").touch()
    assert judged("grep -r x .", tmp_path.resolve())[0] == "ask"
