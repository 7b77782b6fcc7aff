"""`roost store`: migrate, copy, check, sweep."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from roost.log.dispatch import NodeCard
from roost.log.events import Emitted, encode_event
from roost.log.protocols import Append, NewSession
from roost.stores.copy import checksum
from roost.stores.open import open_store
from roost.stores.postgres.migrate import MIGRATIONS
from tests.harness.postgres.server import PostgresServer
from tests.harness.processes import Process

from .conftest import ROOST, Machine


async def fill(where: str, sessions: int, events: int, size: int = 100) -> None:
    store = await open_store(where, durability="relaxed")
    await store.dispatch.beat(NodeCard(id="n"), ttl=60)
    body = encode_event(Emitted(at=1.0, name="x", data="y" * size))
    for number in range(sessions):
        await store.sessions.create(NewSession(id=f"s{number}", agent="a", version="1"), [])
        (claim,) = await store.dispatch.claim("n", session=f"s{number}")
        for head in range(0, events, 1000):
            bodies = [body] * min(1000, events - head)
            await store.logs.append(Append(session=f"s{number}", epoch=claim.epoch, expected=head, bodies=bodies))
    await store.dispatch.leave("n")
    await store.close()


async def sums(where: str) -> dict[str, str]:
    store = await open_store(where)
    try:
        return {session: await checksum(store, session) async for session in store.portable.sessions()}
    finally:
        await store.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return await request.getfixturevalue("postgres").database()
    return str(tmp_path / "new.db")


def test_a_life_moves_and_goes_on(roost: Machine, target: str) -> None:
    roost("run", "hello there").ok()
    old = str(roost.home / "roost.db")
    checked = roost("store", "check").ok()
    assert checked.out.startswith(f"{old}: 1 sessions, ")
    assert "all as it should be" in checked.out
    copied = roost("store", "copy", old, target).ok()
    assert copied.out.startswith("copied 1 sessions (")
    assert f"continue with it: roost up --store {target}" in copied.err
    again = roost("store", "copy", "--json", old, target).ok().json
    assert (again["copied"], again["same"], again["problems"], again["extra"]) == (0, 1, [], [])
    assert asyncio.run(sums(old)) == asyncio.run(sums(target))
    report = roost("store", "check", "--json", target).ok().json
    assert (report["store"], report["sessions"], report["faults"]) == (target, 1, [])
    assert report["events"] == again["events"] + report["events"] > 3


def test_a_copy_that_is_killed_is_taken_up(roost: Machine, tmp_path: Path) -> None:
    old, new = str(tmp_path / "old.db"), str(tmp_path / "new.db")
    asyncio.run(fill(old, 200, 20))
    process = roost.start("store", "copy", old, new)
    strike(process, lambda: count(new) >= 10, signal.SIGKILL)
    process.wait()
    there = count(new)
    assert 10 <= there < 200
    done = roost("store", "copy", "--json", old, new).ok().json
    assert done["copied"] + done["same"] == 200
    assert done["same"] >= there
    assert asyncio.run(sums(old)) == asyncio.run(sums(new))
    assert roost("store", "check", "--json", new).ok().json["faults"] == []


def test_a_copy_that_is_interrupted_says_so(roost: Machine, tmp_path: Path) -> None:
    old, new = str(tmp_path / "old.db"), str(tmp_path / "new.db")
    asyncio.run(fill(old, 200, 20))
    process = roost.start("store", "copy", old, new)
    strike(process, lambda: count(new) >= 10, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: the copied sessions" in said
    assert "Traceback" not in said
    roost("store", "copy", old, new).ok()


def strike(process: Process, begun: Callable[[], bool], blow: int) -> None:
    """In the midst of its work, however seldom this process gets to look: it is stopped while it is looked at."""
    deadline = time.monotonic() + 60
    while not begun():
        assert time.monotonic() < deadline
        process.send_signal(signal.SIGCONT)
        time.sleep(0.003)
        process.send_signal(signal.SIGSTOP)
    process.send_signal(blow)
    process.send_signal(signal.SIGCONT)


def count(where: str) -> int:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{where}?mode=ro", uri=True, timeout=0)) as connection:
            return int(connection.execute("SELECT count(*) FROM sessions").fetchone()[0])
    except sqlite3.Error:
        return 0


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One session, 20,000 events of 3 KB."""
    where = str(tmp_path_factory.mktemp("long") / "roost.db")
    asyncio.run(fill(where, 1, 20_000, 3000))
    return where


_MEASURE = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""
# In a small process between: until it begins its own program, a child is as large as who started it.


def test_a_long_log_takes_no_memory(roost: Machine, long: str, target: str) -> None:
    """60 MB pass through a process that holds a few pages of them."""
    for argv in (["copy", long, target], ["check", target]):
        command = [sys.executable, "-c", _MEASURE, ROOST, "store", *argv]
        done = subprocess.run(command, env=roost.env, stdout=subprocess.PIPE, text=True, check=True)
        assert int(done.stdout.split()[-1]) < 75_000, "KiB, of which 34,000 are the command's own"


def test_what_is_wrong_is_an_exit_code_and_names_the_session(roost: Machine) -> None:
    roost("run", "hello").ok()
    session = roost.newest()["id"]
    with contextlib.closing(sqlite3.connect(roost.home / "roost.db", isolation_level=None)) as raw:
        raw.execute("DELETE FROM events WHERE seq = 2")
    found = roost("store", "check")
    assert found.code == 1
    assert f"fail gap        {session}: event 3 follows event 1" in found.out
    assert "restore it from a backup" in found.out
    (fault,) = roost("store", "check", "--json").json["faults"]
    assert (fault["kind"], fault["session"]) == ("gap", session)
    copied = roost("store", "copy", str(roost.home / "roost.db"), str(roost.work / "new.db"))
    assert copied.code == 1
    assert session in copied.err


def test_a_damaged_file(roost: Machine) -> None:
    roost("run", "hello").ok()
    path = roost.home / "roost.db"
    body = bytearray(path.read_bytes())
    for page in range(4096, len(body), 4096):
        body[page : page + 64] = b"\xff" * 64
    path.write_bytes(body)
    found = roost("store", "check")
    assert found.code == 1
    assert "fail store" in found.out, found.err
    assert "restore a backup" in found.out


def test_a_damaged_page(roost: Machine) -> None:
    """The rest is looked at all the same."""
    for _ in range(3):
        roost("run", "hello " * 200).ok()
    path = roost.home / "roost.db"
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = raw.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'inbox_key'").fetchone()
    body = bytearray(path.read_bytes())
    body[(page - 1) * 4096 : page * 4096] = b"\x00" * 4096
    path.write_bytes(body)
    report = roost("store", "check", "--json")
    assert report.code == 1
    assert report.json["sessions"] == 3
    assert "page" in {fault["kind"] for fault in report.json["faults"]}


def test_daemons_must_be_stopped_first(roost: Machine, target: str) -> None:
    roost.up()
    refused = roost("store", "copy", str(roost.home / "roost.db"), target)
    assert refused.code == 1
    assert "1 nodes are at work in the store to copy from" in refused.err
    assert "roost down" in refused.err
    online = roost("store", "copy", "--online", str(roost.home / "roost.db"), target).ok()
    assert "copy again with --replace" in online.err
    assert roost("store", "check").ok().out
    roost("down").ok()
    roost("store", "copy", "--replace", str(roost.home / "roost.db"), target).ok()


def test_mistakes_are_named(roost: Machine) -> None:
    here = str(roost.work / "a.db")
    asyncio.run(fill(here, 1, 1))
    assert "FROM and TO are the same store" in roost("store", "copy", here, f"sqlite:///{here}").err
    assert f"there is no store '{here}x'" in roost("store", "check", f"{here}x").err
    assert not Path(f"{here}x").exists()
    assert "is a folder: give the file in it" in roost("store", "copy", str(roost.work), here).err
    assert "mysql:// is no store" in roost("store", "check", "mysql://x/y").err
    for almost in ("127.0.0.1:5432/roost", "roost@db/roost", " "):
        assert "that is no store" in roost("--store", almost, "up", "--port", "0").err
    assert roost("store", "copy", here).code == 2
    assert roost("store", "check").ok().out.endswith("0 sessions, 0 events: all as it should be\n")


async def test_migrate(roost: Machine, postgres: PostgresServer) -> None:
    where, newest = await postgres.database(), len(MIGRATIONS)
    dry = roost("store", "migrate", "--dry-run", where).ok()
    assert dry.out.startswith(f"an empty store would be brought to layout {newest}: layout 1")
    assert roost("store", "migrate", "--dry-run", "--json", where).ok().json["from"] == 0
    done = roost("store", "migrate", "--json", where).ok().json
    assert (done["from"], done["to"], done["done"]) == (0, newest, True)
    assert roost("store", "migrate", where).ok().out == f"up to date: layout {newest}\n"
    assert roost("store", "check", env={"ROOST_STORE": where}).ok().out.startswith(f"{where}: 0 sessions")


async def test_a_password_is_not_printed(roost: Machine, postgres: PostgresServer) -> None:
    where = (await postgres.database()).replace("postgres@", "postgres:sesame@")
    roost("store", "migrate", where).ok()
    report = roost("store", "check", where).ok()
    assert "sesame" not in report.out + report.err
    old = str(roost.work / "a.db")
    await fill(old, 1, 1)
    copied = roost("store", "copy", old, where).ok()
    assert "sesame" not in copied.out + copied.err


def test_sweep_removes_what_no_session_needs(roost: Machine, tmp_path: Path) -> None:
    """While the daemon runs; and never by the word of another database, or of one that cannot be read."""
    shared, other = tmp_path / "shared", str(tmp_path / "other.db")
    shared.mkdir()
    roost.env["ROOST_SNAPSHOTS"] = f"file://{shared}"
    assert "there is no store" in roost("store", "sweep").err
    roost.up()
    assert roost("store", "sweep").ok().out == "0 objects (0 B) removed, 0 (0 B) kept\n"
    roost("run", "--private", "--yes", "make").ok()
    kept = len(list(shared.glob("*/*/*")))
    old = shared / "blobs/20000" / ("ab" * 32)
    old.parent.mkdir()
    old.write_bytes(b"x" * 2000)

    asyncio.run(fill(other, 3, 1))
    refused = roost("store", "sweep", other)
    assert (refused.code, "no node of this database ever saved" in refused.err) == (1, True)
    with contextlib.closing(sqlite3.connect(roost.home / "roost.db", isolation_level=None)) as raw:
        (body,) = raw.execute("SELECT body FROM events WHERE seq = 1").fetchone()
        raw.execute("UPDATE events SET body = X'78' WHERE seq = 1")
        unreadable = roost("store", "sweep")
        raw.execute("UPDATE events SET body = ? WHERE seq = 1", (body,))
    assert unreadable.code == 1
    assert f"session {roost.newest()['id'][-8:]} cannot be read, so nothing is removed" in unreadable.err

    assert roost("store", "sweep", "--dry-run").ok().out.startswith("1 objects (2.0 KB) would be removed, ")
    assert old.exists()
    done = roost("store", "sweep", "--json").ok().json
    assert (done["removed"], done["removed_bytes"], done["kept"], done["done"]) == (1, 2000, kept, True)
    assert not old.exists()
    (shared / "owners/store-of-somebody-else").write_text("x")
    assert "other databases keep files in this snapshot store (owners/store-of" in roost("store", "sweep").err


def test_sweep_stops_at_once(roost: Machine, tmp_path: Path) -> None:
    """Ctrl-C while thousands of objects are removed; what is left is removed by the next."""
    roost("run", "hello").ok()
    folder = tmp_path / "shared/blobs/20000"
    folder.mkdir(parents=True)
    (tmp_path / "shared/owners").mkdir()
    with contextlib.closing(sqlite3.connect(roost.home / "roost.db")) as raw:
        (name,) = raw.execute("SELECT value FROM settings WHERE name = 'store_id'").fetchone()
    (tmp_path / "shared/owners" / name.replace("_", "-")).touch()
    argv = ("store", "sweep", "--snapshots", f"file://{tmp_path}/shared")
    (folder / f"{0:064x}").touch()
    for number in range(1, 5_000):
        os.link(folder / f"{0:064x}", folder / f"{number:064x}")
    full = folder.stat().st_mtime_ns
    process = roost.start(*argv)
    strike(process, lambda: folder.stat().st_mtime_ns != full, signal.SIGINT)
    process.wait(60)
    left = len(os.listdir(folder))
    assert 0 < left < 5_000
    assert roost(*argv).ok().out == f"{left} objects (0 B) removed, 0 (0 B) kept\n"
