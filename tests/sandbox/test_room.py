"""Commands that fill their workspace, or the machine's disk, are ended; those that make room are not."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.disks import disk_of

from roost.sandbox.backend import PRIVATE, Bounds, Guest
from roost.sandbox.base import ExecResult, Quota
from roost.sandbox.containers.bwrap import BwrapBackend
from roost.sandbox.disk_reserve import DiskReserve, Free, free_of
from roost.sandbox.folder_size import Measure
from roost.sandbox.host_process import ProcessSandbox
from roost.sandbox.quota_watch import Watched
from roost.sandbox.workspace_quota import SMALL, WorkspaceQuota
from roost.testing.backends import made

MB = 1024**2
LONG = Quota(wall_seconds=60, file_bytes=None, cpu_seconds=None)
ALLOCATE = "import os, sys\nfd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\nos.posix_fallocate(fd, 0, {size})\n"
"""What takes no time at all, where the file system can do it."""
levels = pytest.mark.parametrize("level", [0, 1])
mostly = pytest.mark.parametrize("level", [0, pytest.param(1, marks=pytest.mark.soak)])
"""Where the wall has little to do with it."""


_SHM = Path("/dev/shm")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Generator[Path]:
    """Where nobody else writes and removes meanwhile, if there is such a place."""
    if not (os.access(_SHM, os.W_OK) and shutil.disk_usage(_SHM).free > 1024 * MB):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="roost-room-", dir=_SHM) as folder:
        yield Path(folder)


def python(program: str, *arguments: str) -> list[str]:
    return [os.path.realpath(sys.executable), "-I", "-S", "-c", program, *arguments]


@asynccontextmanager
async def sandbox(level: int, folder: Path) -> AsyncGenerator[Guest | ProcessSandbox]:
    if level == 0:
        process = ProcessSandbox(marker=f"test-{secrets.token_hex(4)}")
        yield process
        await process.close()
        return
    if not (probe := await BwrapBackend().probe()).able:
        pytest.skip(f"no bubblewrap here: {probe.why}")
    async with made(BwrapBackend(), folder) as guest:
        yield guest


class Work:
    """A workspace with its commands. `ended`: what programs in the background were ended for."""

    def __init__(self, box: Guest | ProcessSandbox, folder: Path, room: WorkspaceQuota) -> None:
        self.box, self.folder, self.room = box, folder, room
        self.ended: list[str] = []
        self.watched = Watched(room, self.ended.append)

    async def run(self, *argv: str, quota: Quota = LONG) -> ExecResult:
        return await self.watched.exec(self.box, argv, cwd=str(self.folder), quota=quota)

    async def shell(self, script: str, quota: Quota = LONG) -> ExecResult:
        return await self.run("/bin/sh", "-c", script, quota=quota)


@asynccontextmanager
async def working(
    level: int, folder: Path, size: int | None = None, files: int | None = None, floor: DiskReserve | None = None
) -> AsyncGenerator[Work]:
    async with sandbox(level, folder) as box:
        work = Work(box, folder, WorkspaceQuota(lambda: folder, (size, files), floor))
        try:
            yield work
        finally:
            await work.watched.close()


def test_whose_workspace_has_which_bound() -> None:
    assert Bounds().workspace(private=True) == PRIVATE
    assert Bounds().workspace(private=False) == (None, None)
    assert Bounds(workspace_bytes=5).workspace(private=False) == (5, None)
    assert Bounds(workspace_bytes=5, workspace_files=None).workspace(private=True) == (5, None)


@levels
async def test_one_that_writes_and_writes(level: int, tmp_path: Path) -> None:
    async with working(level, tmp_path, 40 * MB) as work:
        result = await work.shell("echo on; trap '' TERM; while :; do head -c 8000000 /dev/zero >> big; done")
        assert (result.killed_by, result.exit_code, result.stdout) == ("workspace_bytes", None, "on\n")
        assert (tmp_path / "big").stat().st_size > 32 * MB


@levels
async def test_one_that_allocates(level: int, tmp_path: Path) -> None:
    async with working(level, tmp_path, 40 * MB) as work:
        program = ALLOCATE.format(size=60 * MB) + "import time; time.sleep(60)"
        while not (tmp_path / "big").exists() or (tmp_path / "big").stat().st_size < 60 * MB:
            # A kernel may undo an allocation that a kill interrupts: then nothing is too large, and it goes on anew.
            assert (await work.run(*python(program, "big"))).killed_by == "workspace_bytes"
        quick = await work.run(*python(ALLOCATE.format(size=90 * MB), "more"))
        assert "workspace_bytes" in (*quick.limits, quick.killed_by) or quick.exit_code
        third = await work.run(*python(ALLOCATE.format(size=90 * MB), "third"))
        assert third.exit_code != 0
        assert (tmp_path / "third").stat().st_size < MB


@levels
async def test_names_without_end(level: int, tmp_path: Path) -> None:
    async with working(level, tmp_path, None, 400) as work:
        program = "import os, time\nfor n in range(10**6): os.mkdir(f'd{n}'); open(f'd{n}/f', 'w'); time.sleep(0.002)"
        assert (await work.run(*python(program))).killed_by == "workspace_files"
        assert len(os.listdir(tmp_path)) > 200


async def test_what_takes_no_room(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "big").write_bytes(bytes(30 * MB))
    (work_folder := tmp_path / "work").mkdir()
    async with working(0, work_folder, 20 * MB) as work:
        script = "head -c 12000000 /dev/zero > a; truncate -s 100G sparse; ln -s ../other out; ln -s . round;"
        script += " for n in 1 2 3 4 5 6 7 8; do ln a again$n; done; sleep 0.6; echo fine"
        result = await work.shell(script)
        assert (result.stdout, result.killed_by, result.limits) == ("fine\n", None, ())
        assert work.room.admit(1) is None


async def test_whoever_writes_elsewhere_ends_nobody(tmp_path: Path) -> None:
    (work_folder := tmp_path / "work").mkdir()
    async with working(0, work_folder, 20 * MB) as work:
        result = await work.shell("head -c 60000000 /dev/zero > ../elsewhere; sleep 0.6; echo fine")
        assert (result.stdout, result.killed_by, result.limits) == ("fine\n", None, ())


@mostly
async def test_one_that_is_over_is_told_and_room_can_be_made(level: int, tmp_path: Path) -> None:
    async with working(level, tmp_path, 40 * MB) as work:
        told = await work.shell("head -c 30000000 /dev/zero > a; cp a b")
        assert "workspace_bytes" in (told.killed_by, *told.limits)
        kept = await work.shell(f"head -c {4 * SMALL} /dev/zero > more || head -c 100 /dev/zero > note")
        assert kept.exit_code is not None or kept.killed_by == "file_bytes"
        assert not (tmp_path / "more").exists() or (tmp_path / "more").stat().st_size <= SMALL
        assert work.room.admit(1) == "workspace_bytes"
        assert work.room.admit(-1) is None
        slow = await work.shell("sleep 0.6; rm a; sleep 0.3; echo gone")
        assert (slow.stdout, slow.killed_by) == ("gone\n", None)
        again = await work.shell("head -c 5000000 /dev/zero > c; echo fine")
        assert (again.stdout, again.killed_by, again.limits) == ("fine\n", None, ())
        assert work.room.admit(1) is None


async def test_one_that_was_over_before(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(bytes(100 * MB))
    async with working(0, tmp_path, 20 * MB) as work:
        fine = await work.shell("sleep 0.4; head -c 500000 /dev/zero > new; rm new; sleep 0.4; echo fine")
        assert (fine.stdout, fine.killed_by) == ("fine\n", None)
        assert work.room.admit(2 * MB) == "workspace_bytes"
        assert work.room.admit(1) == "workspace_bytes"
        assert (await work.shell("while :; do head -c 60000 /dev/zero >> more$((n += 1)); done")).killed_by


async def test_short_commands_are_not_missed(tmp_path: Path) -> None:
    """Each is over before the first look."""
    async with working(0, tmp_path, 40 * MB) as work:
        said: list[str] = []
        for n in range(8):
            result = await work.run(*python(ALLOCATE.format(size=8 * MB), f"part{n}"))
            said += [*result.limits, *([result.killed_by] if result.killed_by else [])]
        assert "workspace_bytes" in said
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 56 * MB


async def test_file_tools_are_asked(tmp_path: Path) -> None:
    room = WorkspaceQuota(lambda: tmp_path / "later", (10 * MB, 5))
    assert room.admit(9 * MB, 1) is None
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "a").write_bytes(bytes(9 * MB))
    assert room.admit(2 * MB, 1) == "workspace_bytes"
    for n in range(6):
        said = room.admit(0, 1)
        assert said == (None if n < 4 else "workspace_files")
        if said is None:
            (tmp_path / "later" / f"{n}").touch()
    assert WorkspaceQuota(lambda: tmp_path, (None, None)).admit(10**15, 10**9) is None


@mostly
async def test_a_program_in_the_background(level: int, tmp_path: Path) -> None:
    async with working(level, tmp_path, 30 * MB) as work:
        quiet = await work.watched.spawn(work.box, ["sleep", "60"], cwd=str(tmp_path))
        fine = await work.shell("sleep 0.3; echo fine")
        assert fine.stdout == "fine\n"
        script = "trap '' HUP TERM; while :; do head -c 4000000 /dev/zero >> big; done"
        terminal = await work.watched.spawn(work.box, ["/bin/sh", "-c", script], cwd=str(tmp_path))
        async with asyncio.timeout(30):
            assert await terminal.wait() < 0
            assert await quiet.wait() < 0
        assert set(work.ended) == {"workspace_bytes"}
        size = (tmp_path / "big").stat().st_size
        await asyncio.sleep(0.3)
        assert (tmp_path / "big").stat().st_size == size


@mostly
async def test_a_program_in_the_background_has_no_large_files_without_room(level: int, tmp_path: Path) -> None:
    async with working(level, tmp_path, 4 * MB) as work:
        async with asyncio.timeout(60):
            while work.room.admit(1) is None:  # ended in the midst by the watch, its file is as small as before
                await work.run(*python(ALLOCATE.format(size=6 * MB), "old"))
        script = "head -c 1000000 /dev/zero > large; echo over"
        terminal = await work.watched.spawn(work.box, ["/bin/sh", "-c", script], cwd=str(tmp_path))
        said = b"".join([piece async for piece in terminal.read()])
        assert b"over" in said or "workspace_bytes" in work.ended, "the watch was first"
        assert (tmp_path / "large").stat().st_size <= SMALL
        (tmp_path / "old").unlink()
        async with asyncio.timeout(30):
            while work.room.admit(1) is not None:
                await asyncio.sleep(0.02)
        terminal = await work.watched.spawn(work.box, ["/bin/sh", "-c", script], cwd=str(tmp_path))
        await terminal.wait()
        assert (tmp_path / "large").stat().st_size == 1_000_000


async def test_who_grows_as_others_make_room_is_soon_noticed(tmp_path: Path) -> None:
    (folder := tmp_path / "work").mkdir()
    (others := tmp_path / "others").write_bytes(bytes(8 * MB))
    room = WorkspaceQuota(lambda: folder, (4 * MB, None))
    room.begin(alone=True)
    (folder / "some").write_bytes(bytes(2 * MB))
    assert room.look(lambda: False) is None  # it has been measured now
    others.unlink()
    (folder / "big").write_bytes(bytes(8 * MB))
    async with asyncio.timeout(60):
        while (said := room.look(lambda: False)) is None:
            await asyncio.sleep(0.1)
    assert said == "workspace_bytes"


async def test_nobody_watches_when_nothing_runs(tmp_path: Path) -> None:
    async with working(0, tmp_path, 30 * MB) as work:
        before = asyncio.all_tasks()
        await work.shell("echo")
        terminal = await work.watched.spawn(work.box, ["sleep", "60"], cwd=str(tmp_path))
        async with asyncio.timeout(30):
            while len(asyncio.all_tasks()) <= len(before):
                await asyncio.sleep(0.01)
            await terminal.close()
            while asyncio.all_tasks() != before:
                await asyncio.sleep(0.01)


async def test_a_cancelled_command_is_over(tmp_path: Path) -> None:
    async with working(0, tmp_path, 30 * MB) as work:
        task = asyncio.create_task(work.shell("while :; do echo x >> beat; sleep 0.02; done"))
        while not (tmp_path / "beat").exists():
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        size = (tmp_path / "beat").stat().st_size
        await asyncio.sleep(0.2)
        assert (tmp_path / "beat").stat().st_size == size


async def test_a_short_command_pays_for_no_walk(tmp_path: Path) -> None:
    """In a tree of which a walk would take longer than all of them."""
    for n in range(60):
        folder = tmp_path / f"d{n}"
        folder.mkdir()
        for m in range(30):
            (folder / f"f{m}").touch()
    room = WorkspaceQuota(lambda: tmp_path, PRIVATE)
    began = time.thread_time()
    for _ in range(20):
        room.begin(alone=True)
        assert room.look(lambda: False) is None
        room.finish()
        assert WorkspaceQuota(lambda: tmp_path, PRIVATE).admit(100, 2) is None
    quick = time.thread_time() - began
    began = time.thread_time()
    for _ in range(5):
        Measure(most=10**6).of(tmp_path)
    assert quick / 20 < (time.thread_time() - began) / 5


async def test_who_is_over_pays_for_few_walks(tmp_path: Path) -> None:
    """Whatever it does; and when it has made room, that is soon known."""
    for n in range(80):
        (tmp_path / f"d{n}").mkdir()
        for m in range(100):
            (tmp_path / f"d{n}" / f"f{m}").touch()
    room = WorkspaceQuota(lambda: tmp_path, (None, 4000))
    assert room.admit(0, 300) == "workspace_files"
    began = time.thread_time()
    Measure(most=10**6).of(tmp_path)
    walk, began = time.thread_time() - began, time.thread_time()
    for _ in range(12):
        room.begin(alone=True)
        (tmp_path / "note").write_text("x")
        assert room.finish() in (None, "workspace_files")
        assert room.admit(0, 1) == "workspace_files"
    assert time.thread_time() - began < 6 * walk
    for n in range(50):
        shutil.rmtree(tmp_path / f"d{n}")
    async with asyncio.timeout(30):
        while room.admit(0, 1) is not None:
            await asyncio.sleep(0.02)


def test_two_who_want_to_measure_at_once(tmp_path: Path) -> None:
    """What was lost is not taken out twice; else what is written next would go unnoticed."""
    (folder := tmp_path / "work").mkdir()
    room = WorkspaceQuota(lambda: folder, (40 * MB, None))
    room.begin(alone=True)
    (folder / "first").write_bytes(bytes(4 * MB))
    assert room.finish() is None
    (tmp_path / "elsewhere").write_bytes(bytes(100 * MB))
    inside, on = threading.Event(), threading.Event()

    def stop() -> bool:
        inside.set()
        return not on.wait(20)

    with ThreadPoolExecutor(2) as threads:
        look = threads.submit(room.look, stop)
        assert inside.wait(20)
        finish = threads.submit(room.finish)
        time.sleep(0.1)
        on.set()
        assert (look.result(), finish.result()) == (None, None)
    (folder / "second").write_bytes(bytes(60 * MB))
    until = time.monotonic() + 60
    while (said := room.look(lambda: False)) is None and time.monotonic() < until:
        time.sleep(0.02)
    assert said == "workspace_bytes"


async def test_a_command_that_is_over_before_it_can_be_ended(tmp_path: Path) -> None:
    """What the looks have found is told with its result."""

    class Quick(ProcessSandbox):
        async def exec(self, *arguments: object, stop: asyncio.Future[str] | None = None, **rest: object) -> ExecResult:
            (tmp_path / "big").write_bytes(bytes(30 * MB))
            assert stop is not None
            await stop
            (tmp_path / "big").unlink()
            return ExecResult(exit_code=0, stdout="", stderr="", seconds=0)

    async with asyncio.timeout(30):
        watched = Watched(WorkspaceQuota(lambda: tmp_path, (20 * MB, None)), lambda limit: None)
        result = await watched.exec(Quick(marker="test-quick"), ["x"], cwd=str(tmp_path))
    assert (result.killed_by, result.limits) == (None, ("workspace_bytes",))


@pytest.fixture
def small_disk() -> Generator[Path]:
    """64 MB of their own."""
    with disk_of("size=64m,nr_inodes=20000") as folder:
        yield folder


@mostly
async def test_a_disk_that_is_nearly_full(level: int, small_disk: Path) -> None:
    """Whoever it is that writes: what the log needs is left. Here a sixteenth of the disk, 4 MB."""
    (home := small_disk / "home").mkdir()
    (folder := small_disk / "work").mkdir()
    (folder / "part0").write_bytes(bytes(56 * MB))
    async with working(level, folder, floor=DiskReserve(home, 256 * MB)) as work:
        slow = "n=0; while :; do n=$((n + 1)); head -c 400000 /dev/zero > part$n; sleep 0.05; done"
        assert (await work.shell(slow)).killed_by == "free_bytes"
        (home / "log").write_bytes(bytes(MB))
        assert work.room.admit(1) == "free_bytes"
        large = await work.shell("head -c 1000000 /dev/zero > large; echo $?")
        assert large.killed_by in (None, "file_bytes")
        assert (folder / "large").stat().st_size <= SMALL
        fine = await work.shell("sleep 0.4; rm part*; sleep 0.4; echo room")
        assert (fine.stdout, fine.killed_by, fine.limits) == ("room\n", None, ())
        fine = await work.shell("head -c 1000000 /dev/zero > large; echo fine")
        assert (fine.stdout, fine.killed_by, fine.limits) == ("fine\n", None, ())
        assert work.room.admit(1) is None


async def test_room_can_be_made_beside_what_runs_on(small_disk: Path) -> None:
    """Others have filled the disk since it began; nobody is ended for that twice."""
    (folder := small_disk / "work").mkdir()
    (folder / "old").write_bytes(bytes(5 * MB))
    async with working(0, folder, floor=DiskReserve(small_disk, 256 * MB)) as work:
        quiet = await work.watched.spawn(work.box, ["sleep", "60"], cwd=str(folder))
        (small_disk / "others").write_bytes(bytes(57 * MB))
        async with asyncio.timeout(30):
            assert await quiet.wait() < 0
        assert work.ended == ["free_bytes"]
        quiet = await work.watched.spawn(work.box, ["sleep", "60"], cwd=str(folder))
        made = await work.shell("sleep 0.4; rm old; sleep 0.4; echo room")
        assert (made.stdout, made.killed_by, made.limits) == ("room\n", None, ())
        await quiet.close()
        assert work.ended == ["free_bytes"]


async def test_one_file_cannot_fill_it_at_once(small_disk: Path) -> None:
    async with working(0, small_disk, floor=DiskReserve(small_disk, 256 * MB)) as work:
        await work.run(*python(ALLOCATE.format(size=63 * MB), "all"))
        (small_disk / "log").write_bytes(bytes(2 * MB))


def test_the_floor_of_small_disks_and_of_those_without_files() -> None:
    floor = DiskReserve(Path("/"), 256 * MB)
    assert floor.room(Free(300 * MB, None, 10**12)) == 44 * MB
    assert floor.room(Free(100 * MB, 10**6, 1024 * MB)) == 36 * MB
    assert floor.room(Free(10**12, 10, 10**13)) < 0


async def test_the_reserve_is_given_up_when_somebody_was_quicker(small_disk: Path) -> None:
    """Not before the command is over, which would take that too."""
    (home := small_disk / "home").mkdir()
    (home / "reserve").write_bytes(bytes(8 * MB))
    floor = DiskReserve(home, 256 * MB, home / "reserve")
    async with working(0, small_disk, floor=floor) as work:
        program = "import os, time\nfor n in range(1000):\n  fd = os.open(f'p{n}', os.O_CREAT | os.O_WRONLY)\n"
        program += "  try: os.posix_fallocate(fd, 0, 400000)\n  except OSError: os.write(fd, b'x' * 65536)\n"
        result = await work.run(*python(program))
        assert "free_bytes" in (result.killed_by, *result.limits)
        free = free_of(home)
        assert free is not None
        assert free.bytes >= (0.5 if (home / "reserve").exists() else 8) * MB


def test_the_reserve_is_kept_and_given_up(tmp_path: Path) -> None:
    """Also where whoever made it died before anything was in it."""
    large = DiskReserve(tmp_path, 0, tmp_path / "reserve")
    (tmp_path / "reserve").touch()
    large.keep(Free(10**12, None, 10**12))
    assert (tmp_path / "reserve").stat().st_blocks * 512 == 4 * MB
    large.keep(Free(10**12, None, 10**12))
    large.give(Free(10**12, None, 10**12))
    assert (tmp_path / "reserve").exists()
    large.give(Free(MB, None, 10**12))
    assert not (tmp_path / "reserve").exists()
    large.give(Free(MB, None, 10**12))
    large.keep(Free(MB, None, 10**12))
    assert not (tmp_path / "reserve").exists()
