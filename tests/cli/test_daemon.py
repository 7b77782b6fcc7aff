"""The command line over a daemon."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time

import pytest

from roost.client.daemon_address import Unreachable, of_home
from roost.client.requests import ApiError
from roost.client.sync_client import SyncClient
from roost.ids import short

from .conftest import WORDS, Machine


@pytest.fixture
def daemon(roost: Machine) -> Machine:
    roost.up()
    return roost


def test_up_and_down(roost: Machine) -> None:
    started = roost("up", "-d", "--json", executable=True).ok().json
    assert started["started"] is True
    assert "already running" in roost("up").ok().out
    assert roost("up", "-d", "--json").json == {"url": started["url"], "pid": started["pid"], "started": False}
    assert f"ok   daemon   {started['url']}, version" in roost("doctor").out
    assert roost("down", executable=True).ok().out == "stopped\n"
    assert not (roost.home / "daemon.json").exists()
    assert "not running" in roost("doctor").out
    assert roost("down", "--json").ok().json == {"stopped": False}


_NODE = ("roost.kernel", "roost.stores", "roost.runtime", "roost.server.app")
_EVENTS = ("roost.features", "roost.agent", "roost.log.events", "roost.log.inputs", "asyncio")


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        (("ps",), (*_NODE, *_EVENTS)),
        (("send", "@last", "hello"), (*_NODE, *_EVENTS)),
        (("show",), (*_NODE, "roost.features", "roost.agent", "asyncio")),
        (("run", "hello"), _NODE),
    ],
    ids=["ps", "send", "show", "run"],
)
def test_import_budget(daemon: Machine, command: tuple[str, ...], unneeded: tuple[str, ...]) -> None:
    """A command that a daemon answers imports neither a node nor, to list and to send, what is in a log."""
    daemon("run", "hello").ok()
    told = daemon(*command, env={"PYTHONPROFILEIMPORTTIME": "1"}).ok().err
    imported = {line.rpartition("|")[2].strip() for line in told.splitlines() if line.startswith("import time:")}
    assert "roost.cli.main" in imported
    assert [name for name in imported if name.startswith(unneeded)] == []


def test_of_several_at_once_one_starts_and_all_are_content(roost: Machine) -> None:
    starts = [roost.start("up", "-d", "--json") for _ in range(3)]
    said = [process.communicate(timeout=60) for process in starts]
    assert [process.returncode for process in starts] == [0, 0, 0], said
    found = [json.loads(out) for out, _ in said]
    assert sorted(one["started"] for one in found) == [False, False, True]
    assert len({one["pid"] for one in found}) == 1


def test_old_sessions_are_stopped_and_deleted_when_asked_for(roost: Machine) -> None:
    unused, old = (roost("run", "hello", "--json").ok().json["session"] for _ in range(2))
    roost("stop", old).ok()
    roost.up("--session-timeout", "1", "--retention", "1")
    states = {unused: "running", old: "stopped"}
    deadline = time.monotonic() + 60
    while old in states or states.get(unused) == "running":
        assert time.monotonic() < deadline, states
        time.sleep(0.1)
        states = {row["id"]: row["state"] for row in roost("ps", "--all", "--json").ok().json}
    assert states in ({}, {unused: "stopped"})


def test_up_in_the_foreground_ends_with_ctrl_c(roost: Machine) -> None:
    process = roost.start("up")
    assert process.stdout is not None
    assert "roost is up at http://127.0.0.1:" in process.stdout.readline()
    assert roost("run", "hello").ok().out == "You said: hello\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stopped" in err


def test_up_says_why_it_cannot(roost: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = roost("up", "-d", "--port", str(taken.getsockname()[1]))
    assert done.code == 1
    assert "is taken: choose another with --port" in done.err
    assert len(done.err.splitlines()) == 1
    assert "--allow-public" in roost("up", "--host", "0.0.0.0").err


@pytest.mark.parametrize("text", [b"two\nwords", b"\xff\xfe", "caf\u00e9".encode()])
def test_a_token_file_that_holds_none_is_named(roost: Machine, text: bytes) -> None:
    roost.home.mkdir()
    (roost.home / "token").write_bytes(text)
    done = roost("up", "-d")
    assert done.code == 1
    assert f"{str(roost.home / 'token')!r} holds no token: remove it" in done.err
    (roost.home / "token").write_bytes(b"")
    roost("up", "-d").ok()
    (roost.home / "token").write_bytes(text)
    assert "holds no token" in roost("ps").err


def test_a_token_that_others_could_read_is_hidden_from_them(roost: Machine) -> None:
    roost.home.mkdir()
    (roost.home / "token").write_text("mine")
    (roost.home / "token").chmod(0o644)
    roost("up", "-d").ok()
    assert (roost.home / "token").stat().st_mode & 0o777 == 0o600
    assert (roost.home / "daemon.log").stat().st_mode & 0o777 == 0o600
    assert ("Roost runs as root" in (roost.home / "daemon.log").read_text()) == (os.geteuid() == 0)


def test_a_run_over_the_daemon(daemon: Machine) -> None:
    done = daemon("run", "which files?").ok()
    assert "I found" in done.out
    assert "● list_files" in done.err
    assert daemon("run", "make it", "--yes", "--json").ok().json["text"] == "The result: done"
    view = daemon("show", "--json").ok().json
    assert [message["kind"] for message in view["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert [info["workspace"] for info in daemon("ps", "--json").json] == [str(daemon.work)] * 2
    assert daemon("send", "@last", "hello", "--wait").ok().out == "You said: hello\n"
    name = short(view["info"]["id"])
    assert daemon.completed(f"roost logs {name[:6]}") == daemon.completed(f"roost run -s {name[:6]}") == [name]
    assert daemon.completed("roost logs @") == ["@last"]


def test_a_folders_own_agent_and_model_work_over_the_daemon(daemon: Machine) -> None:
    folder = daemon.work / "agents"
    folder.mkdir()
    (folder / "late.toml").write_text('tools = ["list_files"]\n')  # after the daemon started
    assert "I found" in daemon("run", "late", "files?").ok().out
    daemon("run", "hi", "--model", "openai/other").ok()
    assert "model=openai/other" in daemon("logs").ok().out
    url = of_home(daemon.home).url
    daemon("--url", url, "run", "hi", "--model", "openai/third").ok()
    assert "model=openai/third" in daemon("logs").ok().out
    assert daemon("--url", url, "run", "hi").ok().out == "You said: hi\n"
    assert "refused the token" in daemon("--url", url, "--token", "wrong", "ps").err


def test_ctrl_c_over_the_daemon(daemon: Machine) -> None:
    process = daemon.start("run", "sleep please", "--yes")
    assert process.stderr is not None
    while "sleep 20" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert daemon.until("idle")["state"] == "running"


def test_control_over_the_daemon(daemon: Machine) -> None:
    session = daemon("run", "hello", "--json").ok().json["session"]
    for command, state in (("pause", "paused"), ("resume", "running"), ("stop", "stopped"), ("start", "running")):
        assert state in daemon(command, session).ok().out
    daemon("send", session, "twice please").ok()
    daemon.until("waiting")
    assert "approved" in daemon("approve", session).ok().out
    daemon.until("waiting")
    assert "cancelled" in daemon("cancel", session).ok().out
    assert daemon("rm", session, "--json").ok().json == [{"session": session, "deleted": True}]


def test_attach_leaves_the_run_going(daemon: Machine) -> None:
    session = daemon("run", "hello", "--json").ok().json["session"]
    daemon("send", session, "words please").ok()
    attached = daemon.start("attach", session)
    assert attached.stdout is not None
    assert attached.stdout.read(8)
    attached.send_signal(signal.SIGINT)
    attached.communicate(timeout=60)
    assert attached.returncode == 0
    assert daemon.newest()["phase"] == "working"


def test_attach_and_run_go_on_over_a_killed_daemon(daemon: Machine) -> None:
    process = daemon.start("run", "words please")
    assert process.stdout is not None
    seen = process.stdout.read(30)
    follower = daemon.start("logs", "-f", "--json")
    assert follower.stdout is not None
    lines = [follower.stdout.readline()]
    os.kill(daemon.daemon_pid(), signal.SIGKILL)
    assert "roost is up" in daemon("up", "-d").ok().out
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    assert "begins again" in err
    assert (seen + out).endswith(f"\n{WORDS}\n")
    while lines[-1] and '"turn.completed"' not in lines[-1]:
        lines.append(follower.stdout.readline())
    follower.send_signal(signal.SIGINT)
    assert follower.wait(20) == 0, follower.stderr and follower.stderr.read()
    events = [json.loads(line) for line in lines]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["event"]["type"] == "turn.completed"


def test_who_follows_waits_for_a_daemon_that_ends_and_comes_back(daemon: Machine) -> None:
    process = daemon.start("run", "words please")
    assert process.stdout is not None
    assert process.stdout.read(30)
    session = daemon.newest()["id"]
    attached = daemon.start("attach", session)
    assert attached.stdout is not None
    assert attached.stdout.read(8)
    former = daemon.daemon_pid()
    os.kill(former, signal.SIGTERM)
    while (daemon.home / "daemon.json").exists():
        time.sleep(0.01)
    started = daemon("up", "-d", "--json").ok().json  # the former may still be ending
    assert started["started"]
    assert started["pid"] != former
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.endswith(f"\n{WORDS}\n")
    assert "the daemon is back" in err
    daemon("rm", "-f", session).ok()
    _, err = attached.communicate(timeout=60)
    assert attached.returncode == 1
    assert "the session was deleted" in err


def test_a_session_that_is_deleted_ends_the_run_that_follows_it(daemon: Machine) -> None:
    process = daemon.start("run", "wait for it", "--yes")
    daemon.until_made("begun")
    daemon("rm", "-f", "@last").ok()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.splitlines()[-1].endswith(" was deleted")


def test_the_client(daemon: Machine) -> None:
    client = SyncClient.of(daemon.home)
    assert client.node.health().status == "ok"
    assert [row.name for row in client.node.agents().agents] == ["assistant"]
    session = client.sessions.create("assistant", title="mine").id
    sent = client.inputs.send(session, "hello")
    frames = client.frames(session, after=sent.head)
    bodies: list[bytes] = []
    seqs: list[int] = []
    for frame in frames:
        bodies.append(frame.body)
        if frame.seq is not None:
            seqs.append(frame.seq)
        if b'"turn.completed"' in frame.body:
            break
    frames.close()
    assert seqs == list(range(sent.head + 1, sent.head + 1 + len(seqs)))
    assert any(body.startswith(b'{"type":"delta"') for body in bodies)
    assert [entry.seq for entry in client.sessions.events(session, after=seqs[0], limit=2).events] == [seqs[1], seqs[2]]
    assert len(client.sessions.messages(session).messages) == 2
    assert client.sessions.inspect(session).turns == 1
    with pytest.raises(ApiError) as refused:
        client.sessions.inspect("ses_none")
    assert (refused.value.status, refused.value.code) == (404, "not_found")
    with pytest.raises(ApiError) as ahead:
        next(client.frames(session, after=10_000))
    assert ahead.value.code == "ahead_of_log"
    gone = client.frames(session)
    next(gone)
    client.sessions.delete(session)
    assert all(frame.body for frame in gone)  # and ends
    client.close()
    with pytest.raises(Unreachable, match="roost up"):
        SyncClient.of(daemon.work).node.health()


def test_a_copied_home_leaves_the_daemon_of_the_original_alone(daemon: Machine) -> None:
    session = daemon("run", "hello", "--json").ok().json["session"]
    copy = daemon.home.with_name("copy")
    shutil.copytree(daemon.home, copy, ignore=shutil.ignore_patterns("*.sock"))
    there = {"ROOST_HOME": str(copy)}
    assert daemon("down", env=there).ok().out == "no daemon is running\n"
    started = daemon("up", "-d", "--json", env=there).ok().json
    assert started["started"] is True
    assert started["pid"] != daemon.daemon_pid()
    assert [row["id"] for row in daemon("ps", "--all", "--json", env=there).ok().json] == [session]
    daemon("rm", "-f", session, env=there).ok()
    assert daemon("down", "--json", env=there).ok().json == {"stopped": True, "pid": started["pid"]}
    assert daemon("show", session).ok()
    assert of_home(daemon.home).pid == daemon.daemon_pid()


def test_a_database_that_is_deleted_under_a_daemon_is_noticed(daemon: Machine) -> None:
    session = daemon("run", "hello", "--json").ok().json["session"]
    for name in ("roost.db", "roost.db-wal", "roost.db-shm"):
        (daemon.home / name).unlink()
    refused = daemon("send", session, "into nothing?")
    assert refused.code == 1
    assert "was deleted or replaced" in refused.err
    client = SyncClient.of(daemon.home)
    deadline = time.monotonic() + 60
    while (found := client.node.health()).status != "degraded":  # the store is tried once a second
        assert time.monotonic() < deadline
        time.sleep(0.1)
    client.close()
    assert "rename" in (found.reason or "")
    daemon("down").ok()
    (saved,) = daemon.home.glob("roost.db.rescued-*")
    refused = daemon("up", "-d")
    assert refused.code == 1
    assert str(saved) in refused.err
    saved.rename(daemon.home / "roost.db")
    daemon.up()
    assert daemon("show", session).ok()


def test_the_lease_can_be_set(roost: Machine) -> None:
    assert roost("up", "--lease", "0.1").code == 2
    assert "'--lease': 'soon'" in roost("up", env={"ROOST_LEASE": "soon"}).err
    roost.up("--lease", "1")
    process = roost.daemon_pid()
    os.kill(process, signal.SIGSTOP)
    time.sleep(1.5)
    os.kill(process, signal.SIGCONT)
    deadline = time.monotonic() + 60
    while "the lease is lost" not in (roost.home / "daemon.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert roost("run", "hello").ok()


def test_a_model_of_the_shell_that_a_daemon_does_not_use_is_said(daemon: Machine) -> None:
    said = daemon("run", "hello", env={"ROOST_MODEL": "openai/other"}).ok()
    assert "--model openai/other" in said.err
    assert (
        "--model"
        not in daemon("run", "hello", "--model", "openai/scripted", env={"ROOST_MODEL": "openai/other"}).ok().err
    )
