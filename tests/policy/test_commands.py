"""Command lines judged by what they would do, from a list of those that people and attackers write."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

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
        before = time.process_time()
        analyse(text)
        assert time.process_time() - before < 1, text[:10]
    assert analyse("a|" * 200 + "rm").unclear


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
    began = time.process_time()
    for _ in range(200):
        analyse(text)
    assert (time.process_time() - began) / 200 < 0.002
