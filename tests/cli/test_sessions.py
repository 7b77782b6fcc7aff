"""Looking at sessions and steering them, with no daemon."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from roost.cli.spinner import Working
from roost.log.frames import Progress
from roost.stub.provider import ProviderServer
from roost.stub.script import Fault, Reply, Rule, Script

from .conftest import ROOST, Machine


def test_nothing_yet(roost: Machine) -> None:
    assert roost("ps", "--json").ok().json == []
    assert "roost run" in roost("ps").ok().err
    for command in (["show"], ["logs"], ["attach"], ["cancel", "@last"]):
        done = roost(*command)
        assert done.code == 1
        assert "there are no sessions yet" in done.err


def test_ps_show_and_logs(roost: Machine) -> None:
    roost("run", "which files?", "-q").ok()
    roost("run", "hello", "-q").ok()
    rows = roost("ps").ok().out.splitlines()
    assert rows[0].split() == ["SESSION", "AGENT", "STATE", "ACTIVE", "QUEUE", "ABOUT"]
    assert len(rows) == 3
    assert rows[1].split()[1:3] == ["assistant", "idle"]
    assert rows[1].endswith(str(roost.work))
    assert [row.split()[0] for row in roost("ps", "-n", "1").out.splitlines()] == ["SESSION", rows[1].split()[0]]
    assert roost("ps", "--agent", "nobody", "--json").json == []
    old = rows[2].split()[0]
    shown = roost("show", old).ok().out
    assert "> which files?" in shown
    assert "● list_files" in shown
    assert "turns      1, 2 model calls" in shown
    view = roost("show", "--json").ok().json
    assert view["messages"][-1]["parts"][0]["text"] == "You said: hello"
    events = [json.loads(line) for line in roost("logs", "--json").ok().out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["event"]["type"] == "turn.completed"
    tail = roost("logs", "--after", str(len(events) - 1)).ok().out
    assert len(tail.splitlines()) == 1
    assert "turn.completed" in tail


def test_ps_lists_the_sessions_of_each_state_that_it_shows(roost: Machine) -> None:
    idle = roost("run", "hello", "--json").ok().json["session"]
    paused = roost("run", "hello", "--json").ok().json["session"]
    roost("pause", paused).ok()
    for state, sessions in (("idle", [idle]), ("running", [idle]), ("paused", [paused]), ("working", [])):
        assert [info["id"] for info in roost("ps", "--state", state, "--json").ok().json] == sessions, state
    assert "'asleep' is not one of 'idle', 'failed', 'working', 'waiting'" in roost("ps", "--state", "asleep").err


def test_attach_shows_what_was_said_last_and_what_a_session_waits_for(roost: Machine) -> None:
    session = roost("run", "hello", "--json").ok().json["session"]
    terminal = roost.terminal("attach")
    shown = terminal.expect(f'roost send {session[-8:]} "…"')
    assert "> hello\n" in shown
    assert "You said: hello\nit waits for a message" in shown
    terminal.type("\x03")
    terminal.wait()
    roost("pause", session).ok()
    terminal = roost.terminal("attach")
    terminal.expect(f"it goes on after: roost resume {session[-8:]}")


def test_a_paused_session_goes_on_without_a_daemon_as_the_hints_say(roost: Machine) -> None:
    session = roost("run", "hello", "--json").ok().json["session"]
    name = session[-8:]
    roost("pause", session).ok()
    refused = roost("run", "--session", session, "hello")
    assert f"`roost resume {name}` first, and `roost attach {name}` if no daemon runs" in refused.err
    assert f"takes effect with `roost attach {name}`" in roost("resume", session).ok().out
    terminal = roost.terminal("attach", session)
    terminal.expect("You said: hello")
    deadline = time.monotonic() + 60
    while not roost("ps", "--state", "running", "--json").ok().json and time.monotonic() < deadline:
        time.sleep(0.1)
    terminal.type("\x03")
    terminal.wait()
    assert roost("run", "--session", session, "hello").ok().out == "You said: hello\n"


def test_a_reader_that_joins_a_step_sees_its_progress() -> None:
    working = Working()
    assert working.spinner() is None
    working.at(Progress(step=1, after=3, stage="reading", done=1, total=2))
    time.sleep(0.6)
    assert "reading the prompt: 50% of 2 tokens" in (working.spinner() or "")


def test_messages_for_people_shorten_ids(roost: Machine) -> None:
    session = roost("run", "hello", "--json").ok().json["session"]
    assert f"no call 'c' of session {session[-8:]} waits" in roost("approve", session, "c").err
    assert f"session {session[-8:]} has no checkpoint" in roost("rollback", session, "--to", "x").err


def test_logs_says_what_a_position_is(roost: Machine) -> None:
    assert "'x' is no whole number" in roost("logs", "--after", "x").err


def test_ps_says_that_the_last_turn_failed(roost: Machine) -> None:
    session = roost("run", "hello", "--json").ok().json["session"]
    assert roost.newest()["last_turn"] == {"number": 1, "outcome": "answered", "reason": None}
    refusal = Script(rules=(Rule(answers=(Reply(fault=Fault(kind="status", status=401, times=0)),)),))
    with ProviderServer(refusal) as broken:
        roost("run", "--session", session, "hi", env={"OPENAI_BASE_URL": broken.url})
    for daemon in (False, True):
        if daemon:
            roost.up()
        row = roost.newest()
        assert (row["phase"], row["last_turn"]["number"], row["last_turn"]["outcome"]) == ("idle", 2, "failed")
        reason = row["last_turn"]["reason"]
        for listed in (roost("ps").ok().out, roost("ps", "--tree").ok().out):
            (line,) = listed.splitlines()[1:]
            assert " failed " in line
            assert " ".join(reason.split()) in line
        assert reason.split("\n")[0] in roost("show", session).ok().out
    roost("run", "--session", session, "well?").ok()
    assert roost.newest()["last_turn"]["outcome"] == "answered"
    assert " idle " in roost("ps").ok().out


def test_compact_says_what_came_of_it(roost: Machine) -> None:
    def tokens() -> int:
        return roost("show", "--json").ok().json["context_tokens"]

    roost("run", "first", "-q").ok()
    said = roost("compact", "@last").ok().out
    assert f"about {tokens()} tokens of messages: nothing to compact, all of them stay word for word" in said
    for _ in range(2):
        roost("run", "and so on " * 300, "-q", "-s", "@last").ok()
    before = tokens()
    said = roost("compact", "@last").ok().out
    after = tokens()
    assert f"from about {before} to {after} tokens of messages; 4 messages became a summary by the model" in said
    (told,) = roost("compact", "@last", "--json").ok().json
    came = told["compaction"]
    assert (came["outcome"], came["before"], came["after"]) == ("nothing", after, after)


@pytest.mark.parametrize("command", [["logs"], ["ps", "--json"], ["--help"]])
def test_a_reader_that_leaves_is_no_error(roost: Machine, command: list[str]) -> None:
    roost("run", "hello", "-q").ok()
    process = subprocess.Popen(
        [ROOST, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=roost.work, env=roost.env
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait(20)


def test_send_is_kept_until_somebody_answers(roost: Machine) -> None:
    session = roost("run", "hello", "--json").ok().json["session"]
    sent = roost("send", session, "and now?").ok()
    assert "no daemon runs" in sent.err
    assert roost("ps", "--json").json[0]["pending"] == 1
    done = roost("send", session, "last one", "--wait").ok()
    assert done.out == "You said: and now?\nYou said: last one\n"
    assert roost("send", session, "-", "--json", stdin="piped").ok().json["session"] == session
    assert roost("send", session, " ").code == 1


def test_the_life_of_a_session(roost: Machine) -> None:
    session = roost("run", "hello", "--json").ok().json["session"]
    assert "paused" in roost("pause", session).ok().out
    refused = roost("run", "--session", session, "hi")
    assert refused.code == 1
    assert f"session {session[-8:]} is paused: `roost resume {session[-8:]}` first" in refused.err
    assert "stopped" in roost("stop", session).ok().out
    assert f"`roost start {session[-8:]}`" in roost("resume", session).ok().out
    assert roost("ps", "--json").json == []
    assert roost("ps", "--all", "--json").json[0]["state"] == "stopped"
    assert "start it again" in roost("send", session, "hi").err
    assert roost("start", session, "--json").ok().json[0]["id"] == session
    assert roost("run", "--session", session, "back?").code == 1  # a daemon, or attach, makes it take effect
    mixed = roost("cancel", session, "nonsense")
    assert mixed.code == 1
    assert "there is no session 'nonsense'" in mixed.err
    assert roost("rm", session).ok().out.endswith("deleted\n")
    assert roost("show", session).code == 1


def test_a_call_that_waits_is_answered_from_another_command(roost: Machine) -> None:
    terminal = roost.terminal("run", "make it")
    terminal.expect("[?] help:")
    shown = roost("show").ok().out
    assert "waits" in shown
    assert "roost approve" in shown
    assert "waits for an answer" in shown
    assert "no result yet" not in shown
    assert roost("approve", "@last", "nothing").code == 1
    assert "approved shell" in roost("approve", "@last").ok().out
    assert "answered elsewhere" in terminal.expect("2 steps")  # the question ends by itself
    assert terminal.wait() == 0
    again = roost("approve", "@last")
    assert again.code == 1
    assert "nothing of session" in again.err


def test_what_waits_outlives_its_command(roost: Machine) -> None:
    terminal = roost.terminal("run", "make it")
    terminal.expect("[?] help:")
    terminal.process.kill()
    terminal.process.wait()
    assert roost.newest()["phase"] == "waiting"
    assert "rejected" in roost("approve", "@last", "--reject", "--note", "too late").ok().out
    attached = roost.start("attach")
    assert attached.stdout is not None
    assert "too late" in attached.stdout.readline()
    assert not (roost.work / "made.txt").exists()


def test_a_home_that_cannot_be_used(roost: Machine) -> None:
    blocked = roost.work / "file"
    blocked.write_text("")
    done = roost("--home", str(blocked / "home"), "ps")
    assert done.code == 1
    assert done.err.startswith("error: cannot use the home")
    assert roost("ps", "--url", "http://127.0.0.1:1").err.startswith("error: no daemon answers at http://127.0.0.1:1")
    assert "is not a server's URL" in roost("ps", "--url", "nonsense").err


def test_a_wrong_agent_file_stands_in_the_way_of_no_session(roost: Machine) -> None:
    session = roost("run", "--json", "hello").ok().json["session"]
    (roost.work / "agents").mkdir()
    (roost.work / "agents" / "broken.toml").write_text("permissions = 'root'")
    listed = roost("ps", "--json").ok()
    assert [row["id"] for row in listed.json] == [session]
    assert "broken.toml:1" in listed.err
    roost("show", session).ok()
    roost("rm", session).ok()
    assert "skipped: agents/broken.toml:1" in roost("run", "hello").ok().err
