"""`roost config`, `reload` and `agents move`: with a daemon, and without one where that makes sense."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from .conftest import Machine


def eventually(check: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_keys_are_set_shown_and_told_in_the_history(roost: Machine) -> None:
    assert roost("config", "history", "--json").ok().json == []
    roost("config", "set", "linger=0.5", "retention=604800").ok()
    roost.up()
    assert roost("config", "get", "linger").ok().out.strip() == "0.5"
    wrong = roost("config", "set", "linger=1", "retension=5")
    assert (wrong.code, "did you mean 'retention'" in wrong.err) == (1, True)
    assert roost("config", "set", "linger").code == 2
    assert roost("config", "get", "no").code == 1
    told = roost("config", "set", "retention=").ok().out
    assert told == "retention: 604800 → (as started)\n"
    (second, first) = roost("config", "history", "--json").ok().json
    assert (second["number"], second["changes"]) == (2, [{"key": "retention", "old": 604800}])
    assert first["by"] == second["by"]
    assert {change["key"]: change["new"] for change in first["changes"]} == {"linger": 0.5, "retention": 604800}
    found = {one["key"]: one for one in roost("config", "get", "--json").ok().json}
    assert (found["linger"]["value"], found["linger"]["set"], found["retention"]["set"]) == (0.5, True, False)
    assert "retention: (as started) → 604800" in roost("config", "history").ok().out


def test_agents_are_read_again_and_sessions_move_when_told(roost: Machine) -> None:
    folder = roost.home / "agents"
    folder.mkdir(parents=True)
    clerk = folder / "clerk.toml"
    clerk.write_text('instructions = "one"\n')
    roost.up()
    session = roost("run", "--agent", "clerk", "hello", "--json").ok().json["session"]
    before = roost("show", session, "--json").ok().json["info"]["version"]
    clerk.write_text('instructions = "two"\n')
    assert roost("reload").ok().out.startswith(("agents: clerk", "agents: as they were"))  # it looks by itself, too
    assert roost("show", session, "--json").ok().json["info"]["version"] == before
    done = {"moved": [session], "later": [], "already": [], "failed": 0}
    assert roost("agents", "move", "--all", "clerk", "--json").ok().json == done
    version = roost("show", session, "--json").ok().json["info"]["version"]
    assert version != before
    assert roost("agents", "move", "--all", "clerk").ok().out == "nothing to move\n"
    assert roost("agents", "move", session).ok().out.endswith(f" is already at version {version} of its agent\n")
    assert roost("logs", session).ok().out.count("session.moved") == 1
    assert roost("agents", "move", "nobody").code == 1
    assert roost("agents", "move").code == 2
    clerk.write_text("instructions = ")
    broken = roost("reload")
    assert (broken.code, "clerk.toml:1: not valid TOML" in broken.err) == (1, True)
    assert "not valid TOML" in roost("agents").ok().err
    findings = roost("doctor", "--json").json
    assert any(one["check"] == "config" and "not valid TOML" in one["detail"] for one in findings)
    roost("send", session, "hello again", "--wait").ok()  # with the definition that it has
    clerk.write_text('instructions = "three"\n')
    os.kill(roost.daemon_pid(), signal.SIGHUP)
    eventually(lambda: "not valid" not in roost("agents").ok().err)
    roost("pause", session).ok()
    assert roost("agents", "move", session).ok().out.endswith(" moves when it is resumed\n")
    roost("resume", session).ok()
    roost("down").ok()
    clerk.write_text('instructions = "four"\n')
    assert " moved to version " in roost("agents", "move", session).ok().out  # without a daemon too
    assert roost("agents", "move", session, "--json").ok().json["already"] == [session]
