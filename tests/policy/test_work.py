"""The gate looks at a command on the event loop: what that costs is bounded, whatever a model writes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

import pytest

from roost.policy.gate import GateCall, LayeredGate
from roost.policy.system_rules import system_rules
from roost.policy.touched_paths import command

_SIZE = 60 * 1024
_MOST_CALLS = 900_000
"""Calls of functions, of Python and of C. Without bounds some of these commands took over a hundred million."""


def many(text: str, between: str = " ") -> str:
    return between.join([text] * (_SIZE // len(text + between)))


def numbered(text: str, size: int = _SIZE) -> str:
    return " ".join(text.replace("#", str(number)) for number in range(size // (len(text) + 4)))


_VALUES = "x=a; x=b; x=c; x=d; x=e; x=f; x=g; "
HOSTILE = {
    "words": "ls " + numbered("f#"),
    "folders × words": _VALUES + "cd $x || true; cat " + numbered("y/#"),
    "values × words": "; ".join(f"x=v{n}" for n in range(24)) + "; cat " + many("$x/y"),
    "long values": "x='" + "v " * 3_800 + "'; " + "cat $x; " * 3_000,
    "braces": "ls " + many("{a,b}{c,d}{e,f}"),
    "ranges": "ls " + many("{1..100}"),
    "open braces": "ls " + many("{a" * 15 + "x" * 3_000),
    "brackets": "ls " + "a[" * 30_000,
    "closed brackets": "ls " + "a[" * 2_000 + "]",
    "patterns": "cat " + numbered("*#*/.e*"),
    "cd": many("cd x && cat ../y", "; "),
    "redirections × commands": "{ " + "ls; " * 900 + "} " + numbered(">f#", 40_000),
    "wrappers": many("sudo -u x"),
    "hidden commands": "foo " + many("python"),
    "texts of commands": "; ".join(["foo 'python -c " + "x " * 100 + "'"] * 250),
    "removed": "rm -rf " + numbered("/x#"),
    "written": "touch " + numbered("d#/.env"),
    "find": "find . " + many("-exec rm {} \\;"),
    "pipes": "a|" * 30_000,
    "arrays": "x=(" * 20_000,
    "expansions": "${" * 30_000,
    "a script of awk": "; ".join(["awk '" + 'print ("b" ' * 300 + "'"] * 16),
    "a script of sed": "sed '" + "s[[[" * 1_000 + "'",
    "shells": "; ".join(["bash <<'E'\n" + "ls a; " * 1_000 + "\nE\n"] * 8),
    "functions": "f() { " + "ls a; " * 900 + "}; " + "f; " * 64,
}


@pytest.mark.parametrize("share", [1, 6])
@pytest.mark.parametrize("name", list(HOSTILE))
def test_what_is_done_for_a_command_is_bounded(name: str, share: int, tmp_path: Path) -> None:
    text = HOSTILE[name]
    calls = 0

    def count(_frame: FrameType, event: str, _given: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")
        assert calls <= _MOST_CALLS

    sys.setprofile(count)
    try:
        judged(text[: len(text) // share], tmp_path.resolve())
    finally:
        sys.setprofile(None)


def judged(text: str, root: Path) -> str:
    call = GateCall(
        session="s",
        call="c",
        tool="shell",
        arguments="{}",
        safety="high_risk",
        inside=False,
        private_workspace=False,
        root=root,
        touches=command(text, root),
        walled=True,
    )
    verdict = LayeredGate("workspace", {"system": system_rules()}).decide(call)
    return f"{verdict.decision}: {verdict.reason}"


def test_what_is_not_looked_at_is_not_understood(tmp_path: Path) -> None:
    said = judged("touch " + numbered("f#"), tmp_path)
    assert said.startswith("ask: the command cannot be understood: it has more words"), said


@pytest.mark.parametrize(
    "text",
    [
        "cat > doc.md <<'E'\n" + "| a | b | c |\n" * 4_000 + "E",
        "cat > app.py <<'E'\n" + "def f(x):\n    return x['a']\n" * 2_000 + "E",
        "pytest -q " + " ".join(f"tests/part/test_module_{number}.py" for number in range(400)),
        "set -e\n" + "if [ -f a ]; then\n  mkdir -p build/x && cp src/a build/x/ # why\nfi\n" * 60,
    ],
    ids=["a document", "a program", "many files", "a script"],
)
def test_what_people_write_is_looked_at_whole(text: str, tmp_path: Path) -> None:
    assert not command(text, tmp_path).unknown
