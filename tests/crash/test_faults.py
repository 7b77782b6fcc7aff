"""Disks that are full, read-only or damaged, and clocks that jump."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.log import events as ev
from roost.stores.sqlite.store import open_sqlite
from tests.crash.support import Rig, rig
from tests.harness.crash.check import Sent, check
from tests.harness.crash.client import HttpDaemon
from tests.harness.crash.hands import Hands, at_rest
from tests.harness.crash.plans import AGENT, message

_BIG = 100_000


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user may not mount: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", "size=32m", "roost-test", str(disk))
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


async def _until_refused(one: Rig, session: str) -> tuple[list[Sent], dict[str, str]]:
    """Say long things until one is refused: (what was accepted, the refusal)."""
    accepted: list[Sent] = []
    for _ in range(200):
        text = f"{message('say')}"[:-1] + " " + "x" * _BIG + text_end()
        status, answer = await one.post(session, text)
        if status != 202:
            return accepted, answer
        accepted.append(Sent(session, answer["input"], text))
    raise AssertionError("the disk never got full")


def _fill(disk: Path) -> None:
    (disk / "ballast").write_bytes(b"x" * (_free(disk) - 1024 * 1024))


def _free(disk: Path) -> int:
    free = os.statvfs(disk)
    return free.f_bavail * free.f_bsize


_numbers = iter(range(10_000, 100_000))


def text_end() -> str:
    return f" [say] #{next(_numbers)}."


async def test_full_disk(tmp_path: Path, small_disk: Path) -> None:
    async with rig(tmp_path, home=small_disk / "home") as one:
        user = await one.user("s")
        await user.send(message("two"))
        await user.settle()
        _fill(small_disk)
        accepted, refusal = await _until_refused(one, "s")
        assert (refusal["status"], refusal["code"]) == (507, "disk_full"), refusal
        status, _ = await one.http.once("GET", "/sessions/s")
        assert status == 200
        (small_disk / "ballast").unlink()
        user.sent += accepted
        await user.send(message("two"))
        await one.check(user)
        status, _ = await one.http.once("GET", "/health")
        assert status == 200


async def test_killed_and_started_with_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    """A daemon may refuse to start on a full disk, if it says so; what was accepted before is answered later."""
    async with rig(tmp_path, home=small_disk / "home") as one:
        user = await one.user("s")
        await user.send(message("two"))
        _fill(small_disk)
        accepted, _ = await _until_refused(one, "s")
        one.process.kill()
        (small_disk / "rest").write_bytes(b"x" * _free(small_disk))
        one.process.spawn()
        deadline = time.monotonic() + 5.0
        while not one.process.exited and not await asyncio.to_thread(one.process.answers):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.02)
        if one.process.exited:
            last = one.process.log_tail()
            assert "disk is full" in last or "No space left" in last
            assert "Traceback" not in last
        else:
            one.process.kill()
        (small_disk / "ballast").unlink()
        await one.process.start()
        user.sent += accepted
        await one.check(user)


async def test_files_that_may_not_grow(tmp_path: Path) -> None:
    """What a quota does; needs no mount."""
    async with rig(tmp_path) as one:
        user = await one.user("s")
        await user.send(message("two"))
        await user.settle()
        hard = resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE, (512 * 1024, hard))
        accepted, refusal = await _until_refused(one, "s")
        assert (refusal["status"], refusal["code"]) == (507, "store_failed"), refusal
        resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        user.sent += accepted
        await user.send(message("two"))
        await one.check(user)


async def test_read_only_database(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        user = await one.user("s")
        await user.send(message("two"))
        await user.settle()
        await one.process.stop()
        with _read_only(one.database):
            one.process.spawn()
            assert await one.process.died(20), "it runs on a database that it cannot write"
        assert "read-only" in one.process.log_tail()
        await one.process.start()
        await user.send(message("say"))
        await one.check(user)


@contextlib.contextmanager
def _read_only(path: Path) -> Iterator[None]:
    if os.getuid():
        path.chmod(0o400)
        yield
        path.chmod(0o600)
        return
    _mount("--bind", str(path), str(path))
    try:
        _mount("-o", "remount,ro,bind", str(path))
        yield
    finally:
        subprocess.run(["umount", str(path)], check=False)


async def test_a_damaged_page_harms_one_session(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        good, bad = await one.user("good"), await one.user("bad")
        await good.send(message("two"))
        await good.settle()
        for number in range(3):
            await bad.send(f"MARK{number} " + "y" * 3000 + text_end())
            await bad.settle()
        await good.send(message("two"))
        await good.settle()
        await one.process.stop()
        _damage(one.database, b"MARK1")
        await one.process.start()
        status, _ = await one.post("bad", message("say"))
        assert status == 202
        await good.send(message("two"))
        await one.check(good)
        status, answer = await one.http.once("GET", "/sessions/bad/events")
        assert status == 500
        assert b"store_corrupt" in answer
        async with asyncio.timeout(30):
            while (await one.post("bad", message("say")))[1]["code"] != "session_error":
                await asyncio.sleep(0.1)
        status, answer = await one.http.once("GET", "/sessions?state=error")
        assert b'"id":"bad"' in answer


def _damage(database: Path, mark: bytes) -> None:
    """Overwrite the page of the events that holds the mark."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        try:
            query = "SELECT pageno FROM dbstat WHERE name = 'events' AND pagetype = 'leaf'"
            leaves = {number for (number,) in connection.execute(query)}
        except sqlite3.OperationalError:
            pytest.skip("this SQLite cannot say which pages a table has")
    with database.open("r+b") as file:
        pages = file.read()
        marked = [number for number in leaves if mark + b" yyy" in pages[(number - 1) * size : number * size]]
        assert marked, "the mark is in no page"
        for number in marked:
            file.seek((number - 1) * size)
            file.write(b"\xff" * 64)


async def test_a_damaged_end_of_the_write_ahead_log(tmp_path: Path) -> None:
    """What the disk lost cannot be brought back; what is left is a log that goes on."""
    async with rig(tmp_path) as one:
        user = await one.user("s")
        await user.send(message("long"))
        await user.seen(ev.ToolStarted)
        one.process.kill()
        with one.database.with_name("roost.db-wal").open("r+b") as file:
            file.seek(-100, os.SEEK_END)
            file.write(os.urandom(300))
        await one.process.start()
        again = HttpDaemon(one.process.endpoint)
        after = Hands(again, "s", agent=AGENT)
        await after.until(lambda log: bool(log) and at_rest(log, set(), ()), "the end")
        await again.close()
        journal = await open_sqlite(one.database)
        await check(journal, "s", settled=True)
        await journal.close()


async def test_clock_steps(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    async with rig(tmp_path, clock=clock, tools=(0.3, 0.3), lease=20.0) as one:
        user = await one.user("s")
        await user.set_timer("later", 1800, message("say"))
        for step in ("3600", "-7200"):
            await user.send(message("two"))
            await user.until(lambda log: isinstance(log[-1], ev.ToolStarted), "a tool")
            epoch = (await one.get("s"))["info"]["epoch"]
            clock.write_text(step)
            await asyncio.sleep(0.1)
            assert (await one.get("s"))["info"]["epoch"] == epoch
            began = time.monotonic()
            await user.settle()
            assert time.monotonic() - began < 40
        clock.write_text("86400")
        one.process.kill()
        await one.process.start()
        await user.send(message("two"))
        await one.check(user)
