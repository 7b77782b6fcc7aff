"""`roost memory`, with a daemon and without one."""

from __future__ import annotations

import json
import re

import pytest

from .conftest import Machine


def test_without_a_daemon(roost: Machine) -> None:
    roost.home.mkdir(mode=0o700)
    id = roost("memory", "add", "user:ann", "Ann drinks mate").ok().out.strip()
    found = roost("memory", "search", "mate", "--json").ok().json
    assert [one["fact"]["id"] for one in found["facts"]] == [id]


def test_facts_from_the_command_line(roost: Machine) -> None:
    roost.home.mkdir(mode=0o700)
    roost.up()
    assert "nothing is remembered" in roost("memory", "list").ok().err
    first = roost("memory", "add", "user:ann", "Ann drinks mate", "--key", "drink").ok().out.strip()
    learned = roost("memory", "add", "user:ann", "Ann drinks oolong", "--key", "drink", "--json").ok().json
    second = learned["fact"]["id"]
    assert (learned["op"], learned["former"][0]["id"]) == ("update", first)
    roost("memory", "add", "shared:team", "Zürich is where the office is", "--category", "project").ok()
    listed = roost("memory", "list", "--space", "user:*", "--json").ok().json
    assert [fact["id"] for fact in listed] == [second]
    assert [fact["id"] for fact in roost("memory", "list", "--key", "drink", "--json").ok().json] == [second]
    shown = roost("memory", "show", first).ok().out.splitlines()
    assert shown[0] == "Ann drinks mate"
    assert any(line.startswith("  went ") and line.endswith(", by a person") for line in shown)
    assert any(
        re.fullmatch(f"  superseded  by {second}, from person, .* ago: Ann drinks oolong", line) for line in shown
    )
    shown = roost("memory", "show", second).ok().out
    assert re.search(f"^  supersedes  {first}, from person, .* ago: Ann drinks mate$", shown, re.MULTILINE)
    found = roost("memory", "search", "where is the office in zurich", "--json").ok().json
    assert found["facts"][0]["fact"]["space"] == "shared:team"
    assert found["how"] == "words"
    assert "roost pull minilm" in found["why"]
    updated = roost("memory", "update", second, "Ann drinks water").ok().out.strip()
    assert "removed: " in roost("memory", "remove", updated).ok().err
    assert "gone already: " in roost("memory", "remove", updated).ok().err
    assert roost("memory", "list", "--space", "user:ann", "--json").ok().json == []
    gone = roost("memory", "list", "--space", "user:ann", "--ended", "--json").ok().json
    assert [fact["text"] for fact in gone] == ["Ann drinks water", "Ann drinks oolong", "Ann drinks mate"]
    assert "erased: 3 facts" in roost("memory", "purge", "--space", "user:ann", "--yes").ok().err
    gone = roost("memory", "list", "--space", "user:ann", "--ended").ok().out
    assert gone.count("(gone) (erased)") == 3
    spaces = roost("memory", "spaces", "--json").ok().json
    assert [(space["name"], space["facts"]) for space in spaces] == [("shared:team", 1), ("user:ann", 0)]
    lines = roost("memory", "export").ok().out.splitlines()
    assert [json.loads(line)["space"] for line in lines] == ["shared:team"]
    assert "nothing waits" in roost("memory", "review").ok().err


def test_agents_that_came_with_a_folder_have_no_part_in_what_others_remember(roost: Machine) -> None:
    (roost.work / "agents").mkdir()
    for line in ('read = ["*"]', 'write = ["user:*"]'):
        (roost.work / "agents" / "clerk.toml").write_text(f"memory = {{ {line} }}\n")
        refused = roost("run", "clerk", "hello")
        assert refused.code != 0
        assert "what others remember" in refused.err


@pytest.mark.parametrize("daemon", [False, True])
def test_what_a_session_did_is_undone_by_any_name_of_it(roost: Machine, daemon: bool) -> None:
    """Its facts are of no account here: a session that is found is answered, whatever it is called."""
    roost("run", "hello", "-q").ok()
    if daemon:
        roost.up()
    whole = roost("ps", "--all", "--json").ok().json[0]["id"]
    for name in (whole, whole[-8:], "@last"):
        assert "0 facts" in roost("memory", "undo", name, "--since", "0").ok().err


def test_wrong_words_are_told(roost: Machine) -> None:
    roost.home.mkdir(mode=0o700)
    wrong = roost("memory", "add", "nonsense", "x")
    assert (wrong.code, "no space" in wrong.err) == (1, True)
    wrong = roost("memory", "add", "session:zzz", "x")
    assert (wrong.code, "there is no session 'zzz'" in wrong.err) == (1, True)
    wrong = roost("memory", "search", "x" * 100_000)
    assert (wrong.code, "too long for a query" in wrong.err) == (2, True)
    assert roost("memory", "add", "user:ann", "-", stdin="Ann drinks tea\n").ok().out.startswith("fct_")
    assert [one["text"] for one in roost("memory", "list", "--json").ok().json] == ["Ann drinks tea"]
    wrong = roost("memory", "undo", "nope", "--since", "0")
    assert (wrong.code, "no session 'nope'" in wrong.err) == (1, True)
    wrong = roost("memory", "undo", "@last", "--since", "0")
    assert (wrong.code, "no sessions yet" in wrong.err) == (1, True)
    wrong = roost("memory", "show", "fct_1")
    assert (wrong.code, "no fact" in wrong.err) == (1, True)
