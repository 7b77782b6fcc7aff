"""`roost checkpoint`, `checkpoints`, `rollback` and `fork`, with a daemon and without one."""

from __future__ import annotations

import pytest

from .conftest import Machine


@pytest.mark.parametrize("daemon", [False, True])
def test_there_and_back(roost: Machine, daemon: bool) -> None:
    roost("run", "hello", "-q").ok()
    if daemon:
        roost.up()
    assert "`roost checkpoint` makes one" in roost("checkpoints").ok().err
    refused = roost("rollback")
    assert refused.code == 1
    assert "roost logs" in refused.err
    made = roost("checkpoint", "@last", "good", "--json").ok().json
    assert (made["label"], made["files"]) == ("good", False)
    assert "folder" in made["why_no_files"]
    session = made["session"]
    roost("send", session, "hello again").ok()
    assert roost("rollback", session, "--to", "nowhere").code == 1
    back = roost("rollback", session, "--to", "good", "--json").ok().json
    assert back["to"] == made["seq"]
    assert "hello again" not in roost("show", session).ok().out
    undone = roost("rollback", session, "--undo").ok()
    assert "is again as it was" in undone.out
    assert f"`roost rollback {session[-8:]} --undo`" in undone.err
    assert "no checkpoint" in roost("rollback", session, "--to", "١").err
    if daemon:
        assert "hello again" in roost("show", session).ok().out
    fork = roost("fork", session, "--at", str(made["seq"]), "--title", "other", "--json").ok().json
    assert (fork["title"], fork["state"]) == ("other", "created")
    assert "hello again" not in roost("show", fork["id"]).ok().out
    log = roost("logs", session).ok().out
    assert "checkpoint.made" in log
    assert "session.rolled_back" in log
    assert [one["label"] for one in roost("checkpoints", session, "--json").ok().json if one["label"]] == ["good"]
    assert "dropped" in roost("checkpoint", session, "good", "--drop").ok().out
    assert roost("rollback", session, "--undo", "--to", "3").code == 2


@pytest.mark.parametrize("daemon", [False, True])
def test_resumed_from_a_checkpoint(roost: Machine, daemon: bool) -> None:
    roost("run", "hello", "-q").ok()
    if daemon:
        roost.up()
    session = roost("checkpoint", "@last", "good", "--json").ok().json["session"]
    roost("send", session, "hello again").ok()
    roost("stop", session).ok()
    assert "no checkpoint" in roost("resume", session, "--from", "nowhere").err
    assert "running, again as it was at good" in roost("resume", session, "--from", "good").ok().out
    assert "hello again" not in roost("show", session).ok().out
    roost("send", session, "on").ok()
    (back,) = roost("resume", session, "--from", "good", "--json").ok().json
    assert back["label"] == "good"
    fork = roost("fork", session, "--json").ok().json["id"]
    assert "good" in [one["label"] for one in roost("checkpoints", fork, "--json").ok().json]


@pytest.mark.parametrize("daemon", [False, True])
def test_what_changed_in_the_files(roost: Machine, daemon: bool) -> None:
    session = roost("run", "make it", "--yes", "--private", "--json").ok().json["session"]
    if daemon:
        roost.up()
    folder = roost.home / "workspaces" / session
    roost("checkpoint", session, "good").ok()
    assert "0 added, 0 removed, 0 changed" in roost("diff", session).ok().err
    (folder / "made.txt").write_text("made\nand \x1b[31mmore\n")
    (folder / "picture").write_bytes(bytes(10))
    shown = roost("diff", session, "good").ok()
    assert "added    picture (binary, 10 bytes)\n" in shown.out
    assert "--- a/made.txt\n+++ b/made.txt\n@@ -1 +1,2 @@\n made\n+and more\n" in shown.out
    assert "1 added, 0 removed, 1 changed" in shown.err
    roost("checkpoint", session, "better").ok()
    found = roost("diff", session, "better", "good", "--json").ok().json
    assert [(one["path"], one["change"]) for one in found["changes"]] == [
        ("made.txt", "changed"),
        ("picture", "removed"),
    ]
    mine = roost("run", "hello", "--json").ok().json["session"]
    roost("checkpoint", mine, "good").ok()
    refused = roost("diff", mine, "good")
    assert (refused.code, "a folder of its user's" in refused.err) == (1, True)
    assert "no checkpoint 'nowhere'" in roost("diff", session, "nowhere").err
