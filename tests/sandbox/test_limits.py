"""What keeps limits and refuses system calls, apart from any backend."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from roost.errors import SandboxError
from roost.sandbox import seccomp
from roost.sandbox.backend import Backend, Bounds, Capabilities, Guest, Probe, SandboxSpec
from roost.sandbox.cgroups import find_groups
from roost.sandbox.choose import Chooser, Isolation, IsolationUnavailable
from roost.sandbox.prewarmed_pool import Pool
from roost.sandbox.watchdog import Watchdog

ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x50001, 0x50026, 0x80000000


def judged(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the filter says, as the kernel would run it."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *(arguments + (0,) * 6)[:6])
    steps = [struct.unpack_from("=HBBI", program, place) for place in range(0, len(program), 8)]
    place = value = 0
    while True:
        code, true, false, k = steps[place]
        place += 1
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, k)
        elif code == 0x06:
            return k
        else:
            holds = {0x15: value == k, 0x25: value > k, 0x35: value >= k, 0x45: bool(value & k)}[code]
            place += true if holds else false


@pytest.mark.parametrize(
    ("machine", "arch", "read", "mount", "clone", "ioctl", "socket"),
    [("x86_64", 0xC000003E, 0, 165, 56, 16, 41), ("aarch64", 0xC00000B7, 63, 40, 220, 29, 198)],
)
def test_the_filter_of_system_calls(
    machine: str, arch: int, read: int, mount: int, clone: int, ioctl: int, socket: int
) -> None:
    program = seccomp.program(machine)
    assert judged(program, arch, read) == ALLOW
    assert judged(program, arch, mount) == EPERM
    assert judged(program, arch ^ 1, read) == KILL
    assert judged(program, arch, 0x40000000 | read) == ENOSYS
    assert judged(program, arch, 435) == judged(program, arch, 2000) == ENOSYS
    assert judged(program, arch, 425) == judged(program, arch, 430) == EPERM
    assert judged(program, arch, clone, 0x11) == ALLOW
    for flag in (0x00000080, 0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert judged(program, arch, clone, flag | 0x11) == EPERM
    assert judged(program, arch, ioctl, 0, 0x5401) == ALLOW
    assert judged(program, arch, ioctl, 0, 0x5412) == judged(program, arch, ioctl, 0, 0x541C) == EPERM
    assert judged(program, arch, ioctl, 0, 0xFFFFFFFF00005412) == EPERM
    assert [judged(program, arch, socket, family) == ALLOW for family in (1, 2, 10, 16, 17, 38, 40)] == [True] * 4 + [
        False
    ] * 3
    with pytest.raises(ValueError, match="riscv"):
        seccomp.program("riscv")


@pytest.mark.parametrize(
    ("machine", "arch", "modes", "opens"),
    [
        ("x86_64", 0xC000003E, [(90, 1), (91, 1), (85, 1), (133, 1), (259, 2), (268, 2), (452, 2)], [(2, 1), (257, 2)]),
        ("aarch64", 0xC00000B7, [(52, 1), (53, 2), (33, 2), (452, 2)], [(56, 2)]),
    ],
)
def test_the_filter_refuses_modes_that_lend_rights(
    machine: str, arch: int, modes: list[tuple[int, int]], opens: list[tuple[int, int]]
) -> None:
    program = seccomp.program(machine)
    for number, place in modes:
        before = [0] * place
        assert judged(program, arch, number, *before, 0o1777) == ALLOW
        for mode in (0o4000, 0o2755, 0o104755, 0xFFFFFFFF00000000 | 0o4755):
            assert judged(program, arch, number, *before, mode) == EPERM
    for number, place in opens:
        before = [0] * place
        assert judged(program, arch, number, *before, os.O_CREAT, 0o777) == ALLOW
        assert judged(program, arch, number, *before, os.O_RDWR, 0o4755) == ALLOW  # no mode without a new file
        assert judged(program, arch, number, *before, os.O_CREAT | os.O_RDWR, 0o4755) == EPERM
        assert judged(program, arch, number, *before, 0x410002, 0o2755) == EPERM
    assert judged(program, arch, 437) == ENOSYS


def version_2(root: Path) -> Path:
    """The files of a group of version 2 that this process may use; a kernel would make those of its children."""
    root.mkdir()
    (root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (root / "cgroup.subtree_control").write_text("cpu memory pids\n")
    (root / "cgroup.procs").write_text("")
    return root


def test_limits_as_version_2_wants_them(tmp_path: Path) -> None:
    root = version_2(tmp_path / "group")
    groups = None
    with pytest.MonkeyPatch.context() as machine:  # no kernel here empties a group's folder when it is removed
        machine.setattr(Path, "rmdir", lambda folder: shutil.rmtree(folder))
        groups = find_groups(root)
        assert groups is not None
        assert groups.version == 2
        group = groups.create("m", Bounds(memory_bytes=1000, cpus=0.5, pids=7))
        folder = Path(group.doors[0]).parent
        read = {
            name: (folder / name).read_text()
            for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max", "cpu.weight")
        }
        assert read == {
            "memory.max": "1000",
            "memory.swap.max": "0",
            "pids.max": "9",
            "cpu.max": "50000 100000",
            "cpu.weight": "25",
        }
        (folder / "memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
        (folder / "pids.events").write_text("max 5\n")
        (folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
        (folder / "memory.current").write_text("123\n")
        usage = group.usage()
        assert usage.hits == {"memory_bytes": 2, "pids": 5}
        assert (usage.cpu_seconds, usage.memory_bytes) == (1.5, 123)
        group.freeze(True)
        assert (folder / "cgroup.freeze").read_text() == "1"
        assert groups.reap("other") == 0
        assert groups.reap("m") == 1
        assert not folder.exists()


def test_without_the_controllers_there_are_no_groups(tmp_path: Path) -> None:
    root = version_2(tmp_path / "group")
    (root / "cgroup.controllers").write_text("cpuset io\n")
    assert find_groups(root) is None
    assert find_groups(tmp_path / "nothing") is None


def test_groups_of_this_machine(tmp_path: Path) -> None:
    groups = find_groups()
    if groups is None:
        pytest.skip("this process may make no control groups")
    marker = f"test-{secrets.token_hex(6)}"
    group = groups.create(marker, Bounds(memory_bytes=64 * 1024**2, pids=10))
    join = 'for door in "$@"; do echo 0 > "$door"; done; sleep 60 & sleep 60'
    with subprocess.Popen(["/bin/sh", "-c", join, "sh", *group.doors]) as joined:
        while len(group.processes()) < 3:
            pass
        assert joined.pid in group.processes()
        assert group.usage().memory_bytes > 0
        group.freeze(True)
        assert groups.reap(marker) == 1
        assert joined.wait() == -9
    assert groups.reap(marker) == 0


async def test_the_watchdog_ends_what_is_too_much() -> None:
    program = "import subprocess, sys; [subprocess.Popen(['sleep', '60']) for n in range(12)]; sys.stdin.read()"
    root = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=asyncio.subprocess.PIPE)
    watchdog = Watchdog(root.pid, Bounds(pids=5), spared=1)
    try:
        async with asyncio.timeout(30):
            while not watchdog.hits:
                await asyncio.sleep(0.05)
        assert "pids" in watchdog.hits
        assert (await asyncio.to_thread(watchdog.usage)).pids <= 12
    finally:
        watchdog.close()
        root.kill()
        await root.wait()


class Told:
    """A backend of which it is known what its probe says."""

    def __init__(self, name: str, level: int, why: str | None = None) -> None:
        self.name, self.level, self.why, self.probed = name, level, why, 0

    async def probe(self) -> Probe:
        self.probed += 1
        able = self.why is None
        return Probe(
            backend=self.name, level=self.level, able=able, why=self.why, fix="do it", capabilities=Capabilities()
        )

    async def create(self, spec: SandboxSpec) -> Guest:
        raise SandboxError("not here")

    async def resume(self, spec: SandboxSpec, image: Path) -> Guest:
        raise SandboxError("not here")

    async def reap(self, marker: str) -> int:
        return 0


@pytest.mark.parametrize(
    ("isolation", "level", "name", "aloud"),
    [
        (Isolation(), 1, "one", False),
        (Isolation(prefers=0), 0, "process", False),
        (Isolation(prefers=2), 1, "one", True),
        (Isolation(required=1, prefers=0), 1, "one", False),
    ],
)
async def test_the_choice(isolation: Isolation, level: int, name: str, aloud: bool) -> None:
    backends: list[Backend] = [Told("zero", 1, "it is broken"), Told("one", 1), Told("two", 2, "no machine")]
    chooser = Chooser(backends)
    choice = await chooser.choose(isolation)
    assert (choice.level, choice.name, choice.why is not None) == (level, name, aloud)
    assert await chooser.choose(isolation) == choice
    assert all(backend.probed <= 1 for backend in backends)  # type: ignore[attr-defined]
    if aloud:
        assert choice.why is not None
        assert "no machine" in choice.why
        assert "do it" in choice.why


async def test_a_required_level_is_never_lowered() -> None:
    chooser = Chooser([Told("one", 1), Told("two", 2, "no machine")])
    with pytest.raises(IsolationUnavailable, match="no machine") as raised:
        await chooser.choose(Isolation(required=2))
    assert raised.value.code == "isolation_unavailable"
    with pytest.raises(IsolationUnavailable):
        await Chooser([]).choose(Isolation(required=1))
    assert (await Chooser([Told("two", 2)]).choose(Isolation(required=1))).level == 2


class Warm:
    closed = False

    async def close(self) -> None:
        self.closed = True


async def test_the_pool_gives_what_was_started_for_a_session_and_closes_the_rest() -> None:
    made: list[Warm] = []

    async def start() -> Guest:
        await asyncio.sleep(0.01)
        made.append(Warm())
        return made[-1]  # type: ignore[return-value]

    async def fails() -> Guest:
        raise SandboxError("not now")

    pool = Pool(most=2)
    for session in ("a", "a", "b", "c"):
        pool.warm(session, start)
    first = await pool.take("a", start)
    assert len(made) == 2
    assert first is made[0]
    assert (await pool.take("c", start)) is made[2]
    pool.warm("d", fails)
    await asyncio.sleep(0.02)
    assert (await pool.take("d", start)) is made[3]
    taking = asyncio.create_task(pool.take("e", start))
    await asyncio.sleep(0)
    taking.cancel()
    await pool.close()
    assert [each.closed for each in made[:2]] == [False, True]


async def test_the_pool_ends_what_is_given_up_though_who_waits_for_it_is_gone() -> None:
    warm, began = Warm(), asyncio.Event()

    async def start() -> Guest:
        began.set()
        await asyncio.sleep(0.05)
        return warm  # type: ignore[return-value]

    pool = Pool()
    pool.warm("a", start)
    await began.wait()
    dropping = asyncio.create_task(pool.drop("a"))
    await asyncio.sleep(0)
    dropping.cancel()
    await pool.close()
    assert warm.closed
