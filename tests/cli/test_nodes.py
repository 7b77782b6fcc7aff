"""The command line where several daemons share one store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from roost.install import install_extra
from roost.stub.provider import ProviderServer
from tests.harness.processes import Prefork

from .conftest import Machine


@pytest.fixture
def other(tmp_path: Path, provider: ProviderServer, prefork: Prefork) -> Iterator[Machine]:
    machine = Machine(tmp_path / "other", provider.url, prefork)
    try:
        yield machine
    finally:
        machine.close()


@pytest.fixture
def address(database: str) -> str:
    """Of a database; the password means nothing there, and must be seen nowhere."""
    return database.replace("postgres@", "postgres:sesame@")


def test_two_daemons_on_one_database(roost: Machine, other: Machine, address: str) -> None:
    first = roost("up", "-d", "--json", "--store", address).ok().json
    second = other("up", "-d", "--json", "--shared-folder", str(other.work), env={"ROOST_STORE": address}).ok().json
    assert (roost.home / "token").read_text() == (other.home / "token").read_text()
    listed = roost("nodes", "--json").ok().json
    assert {row["url"]: row["this"] for row in listed["nodes"]} == {first["url"]: True, second["url"]: False}
    assert roost("nodes").ok().out.count(" ready ") == 2
    session = roost("run", "which files?", "--json").ok().json["session"]
    assert other("show", session).ok().out.count("which files?") == 1
    assert other("send", session, "hello", "--wait").ok().out == "You said: hello\n"
    assert other("rm", session, "--json").ok().json == [{"session": session, "deleted": True}]
    seen = [
        Path(f"/proc/{one['pid']}/{name}").read_bytes() for one in (first, second) for name in ("cmdline", "environ")
    ]
    seen += [path.read_bytes() for one in (roost, other) for path in one.home.iterdir() if path.is_file()]
    assert not [text for text in seen if b"sesame" in text]


def test_drain(roost: Machine, other: Machine, address: str) -> None:
    for machine in (roost, other):
        machine.env["ROOST_STORE"] = address
        machine.home.mkdir()
        (machine.home / "policy.toml").write_text('[[rules]]\neffect = "allow"\ntool = "shell"\n')
    roost("up", "-d", "--shared-folder", str(roost.work)).ok()
    process = roost.start("run", "wait for go")
    roost.until_made("begun")
    other("up", "-d", "--shared-folder", str(roost.work)).ok()  # now: else it might be the one that takes the session
    held = roost("drain", "--timeout", "0", "--json")
    assert (held.code, held.json["drained"], held.json["live"]) == (1, False, 1)
    (roost.work / "go").touch()
    assert "drained: `roost down` stops it" in roost("drain").ok().out
    assert roost("drain", "--json").ok().json["live"] == 0
    states = {row["this"]: row["draining"] for row in roost("nodes", "--json").json["nodes"]}
    assert states == {True: True, False: False}
    assert " draining " in other("nodes").ok().out
    process.communicate(timeout=90)
    assert process.returncode == 0
    assert roost("run", "hello").ok().out == "You said: hello\n"
    assert roost("down").ok().out == "stopped\n"
    assert [row["this"] for row in other("nodes", "--json").json["nodes"]] == [True]


def test_without_a_daemon_commands_work_on_the_same_store(roost: Machine, address: str) -> None:
    roost("--store", address, "run", "hello").ok()
    listed = roost("ps", "--json", env={"ROOST_STORE": address}).ok().json
    assert len(listed) == 1
    assert roost("ps", "--json").ok().json == []
    assert roost("nodes", "--json", env={"ROOST_STORE": address}).ok().json["nodes"] == []
    assert "no node works on this store" in roost("nodes").ok().err
    assert "no daemon is running" in roost("drain").err
    roost.up()
    assert roost("ps", "--json").ok().json == []
    assert roost("--store", address, "ps", "--json").ok().json[0]["id"] == listed[0]["id"]


def test_a_database_that_is_not_there_is_said_with_what_to_do(roost: Machine, address: str) -> None:
    server = address.rpartition("/")[0]
    nobody = address.replace("postgres:", "nobody:")
    for done, words in (
        (roost("up", "-d", "--store", f"{server}/nowhere"), "there is no such database"),
        (roost("--store", "postgresql://me:sesame@127.0.0.1:1/x", "ps"), "the database does not answer"),
        (roost("up", "--store", nobody), "refuses the user or the password"),
        (roost("up", "--store", address, "--advertise", "nowhere"), "it looks like 'http://10.0.0.5:7667'"),
    ):
        assert done.code == 1
        assert words in done.err
        assert len(done.err.splitlines()) == 1
        assert "sesame" not in done.out + done.err
    assert "sesame" not in (roost.home / "daemon.log").read_text()


def test_the_driver_of_the_database_is_named_when_it_is_missing(roost: Machine, address: str) -> None:
    code = "import sys; sys.modules['asyncpg'] = None; from roost.cli.main import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--store", address, "ps"]
    done = subprocess.run(command, env=roost.env, cwd=roost.work, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"error: PostgreSQL needs asyncpg: {install_extra('postgres')}\n")


async def test_dbos_as_the_dispatcher(roost: Machine, other: Machine, address: str) -> None:
    """Also with several hosts in the address, of which the first is gone."""
    server = urlsplit(address)
    user, _, host = server.netloc.rpartition("@")
    both = urlunsplit(server._replace(netloc=f"{user}@127.0.0.1:1,{host}"))
    roost("up", "-d", "--dispatcher", "dbos", "--store", both).ok()
    other("up", "-d", env={"ROOST_DISPATCHER": "dbos", "ROOST_STORE": address}).ok()
    session = roost("run", "--private", "hello", "--json").ok().json["session"]
    assert roost("send", session, "again", "--wait").ok().out == "You said: again\n"
    assert roost("down").ok().out == "stopped\n"
    assert other("run", "hello").ok().out == "You said: hello\n"
    assert other("down").ok().out == "stopped\n"
    connection = await asyncpg.connect(address)
    rows = await connection.fetch("SELECT workflow_uuid FROM dbos.workflow_status")
    await connection.close()
    ours = [name for row in rows if (name := row["workflow_uuid"]).startswith(f"{session}:")]
    assert sum(":again-" not in name for name in ours) == 2, "one an input; a slow machine may ask again"
    logs = [path.read_bytes() for one in (roost, other) for path in one.home.iterdir() if path.is_file()]
    assert not [text for text in logs if b"sesame" in text or b"Traceback" in text]


def test_what_dbos_needs_is_said(roost: Machine, address: str) -> None:
    code = "import sys; sys.modules['dbos'] = None; from roost.cli.main import run; sys.exit(run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "up", "--dispatcher", "dbos", "--store", address]
    done = subprocess.run(command, env=roost.env, cwd=roost.work, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, f"error: the dispatcher needs DBOS: {install_extra('dbos')}\n")
    assert "--dispatcher dbos needs PostgreSQL: give --store" in roost("up", "--dispatcher", "dbos").err
    assert "needs PostgreSQL" in roost("up", "-d", env={"ROOST_DISPATCHER": "dbos"}).err
    assert "'rabbit' is no dispatcher: give store or dbos" in roost("up", env={"ROOST_DISPATCHER": "rabbit"}).err
