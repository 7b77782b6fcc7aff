"""What a shell makes of a command before it runs it: folders reached, braces, patterns, variables."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.policy.calls import shell

from roost.policy.gate import LayeredGate, Permissions, Verdict
from roost.policy.rules import Rule
from roost.policy.system_rules import system_rules

_CORPUS = Path(__file__).with_name("corpus") / "expansion.txt"


def _cases() -> list[tuple[str, str]]:
    lines = [line for line in _CORPUS.read_text().splitlines() if line and not line.startswith("#")]
    return [(expected, text) for expected, _, text in (line.partition("\t") for line in lines)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home").resolve()
    (home / "workspaces/one/a/b").mkdir(parents=True)
    for name in ("token", "roost.db", "workspaces/one/x", "workspaces/one/y", "workspaces/one/.env"):
        (home / name).write_text("x")
    (home / "workspaces/one/key.pem").write_text("x")
    return home


def judged(
    text: str, home: Path, mode: Permissions = "auto", *, walled: bool = True, user: tuple[Rule, ...] = ()
) -> Verdict:
    root = home / "workspaces/one"
    call = shell(text, root, walled=walled)
    return LayeredGate(mode, {"user": user, "system": system_rules()}, hidden=(home,)).decide(call)


@pytest.mark.parametrize(("expected", "text"), _cases())
def test_a_command_is_judged_by_what_the_shell_makes_of_it(expected: str, text: str, home: Path) -> None:
    verdict = judged(text, home)
    assert verdict.decision == expected, verdict
    if expected == "deny":
        assert judged(text, home, "all", walled=False).decision == "deny"


@pytest.mark.parametrize(
    "text",
    ["./git", "/tmp/x/git", "bin/git", "PATH=. git", "git() { rm x; }; git", "alias git=rm; git", "git; ./git",
     "/bin/gi?", "$git", "env ./git", "find . -exec ./git {} ;"],
)  # fmt: skip
def test_a_rule_for_a_name_is_not_for_another_program_of_that_name(text: str, home: Path) -> None:
    allowed = (Rule(effect="allow", command="git"), Rule(effect="allow", command="rm.x"))
    assert judged(text, home, "ask", user=allowed).decision == "ask"


@pytest.mark.parametrize("text", ["git status", "/usr/bin/git status", "git add x && git commit -m y"])
def test_a_rule_for_a_name_is_for_the_program_on_the_path(text: str, home: Path) -> None:
    assert judged(text, home, "ask", user=(Rule(effect="allow", command="git"),)).decision == "allow"


def test_a_program_of_the_workspace_on_the_search_path_is_no_match(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bin = home / "workspaces/one/bin"
    bin.mkdir(exist_ok=True)
    rule = (Rule(effect="allow", command="mygit"),)
    monkeypatch.setenv("PATH", f"{bin}:/usr/bin:/bin")
    assert judged("mygit x", home, "ask", user=rule).decision == "allow"
    (bin / "mygit").write_text("")
    assert judged("mygit x", home, "ask", user=rule).decision == "ask"
    monkeypatch.setenv("PATH", ".:/usr/bin:/bin")
    assert judged("git x", home, "ask", user=(Rule(effect="allow", command="git"),)).decision == "ask"


def test_a_rule_may_name_the_beginning_of_a_command(home: Path) -> None:
    rule = (Rule(effect="allow", command="npm test"),)
    for text, decision in (
        ("npm test", "allow"),
        ("npm test -- --watch", "allow"),
        ("npm test && npm test", "allow"),
        ("npm testing", "ask"),
        ("npm install", "ask"),
        ("npm", "ask"),
        ("npm test; rm x", "ask"),
        ("./npm test", "ask"),
        ("npm test $(cat x)", "ask"),
    ):
        assert judged(text, home, "ask", user=rule).decision == decision, text
    denied = (Rule(effect="deny", command="git push"),)
    for text in ("git push", "git -C a push", "/usr/bin/git --no-pager push origin", "ls && git push"):
        assert judged(text, home, "all", user=denied).decision == "deny", text
    assert judged("git pull", home, "all", user=denied).decision == "allow"


@pytest.mark.parametrize("text", ["/bin/r? x", "/bin/r[m] x", "/usr/bin/[r]m x", "$x y", "/bin/{r?,ls} x"])
def test_a_program_that_only_the_shell_knows_is_asked_about_where_one_is_denied(text: str, home: Path) -> None:
    assert judged(text, home, "auto", user=(Rule(effect="deny", command="rm"),)).decision == "ask"
