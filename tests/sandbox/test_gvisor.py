"""Level 1 by gVisor: the contract, and what only it does: sleeping with everything in memory."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from roost.errors import SandboxError
from roost.sandbox.backend import Backend, Bounds, SandboxSpec, Terminal
from roost.sandbox.base import Quota
from roost.sandbox.containers.gvisor import GvisorBackend
from roost.sandbox.guest.linked_guest import LinkedGuest
from roost.testing.backends import BackendContract
from roost.testing.sandbox import SandboxContract


@pytest.fixture
async def backend() -> GvisorBackend:
    made = GvisorBackend()
    probe = await made.probe()
    if not probe.able:
        pytest.skip(f"gVisor: {probe.why}")
    return made


def spec(workspace: Path, bounds: Bounds | None = None) -> SandboxSpec:
    marker = f"test-{secrets.token_hex(4)}"
    return SandboxSpec(session="s", workspace=workspace, marker=marker, bounds=bounds or Bounds())


@pytest.fixture
async def sandbox(backend: GvisorBackend, tmp_path: Path) -> AsyncIterator[LinkedGuest]:
    made = await backend.create(spec(tmp_path, Bounds(pids=256)))
    yield made
    await made.close()


OF_ITS_OWN_KERNEL = {
    "descriptors of the first", "devices", "environment of the first", "priority", "settings of the kernel", "user"
}  # fmt: skip
"""What gVisor lets be opened or set: it is its own, nothing of this machine."""


class TestContract(SandboxContract):
    knows_kin = False


class TestBackend(BackendContract):
    maker = "roost.sandbox.containers.gvisor:GvisorBackend"
    not_held = OF_ITS_OWN_KERNEL

    @pytest.mark.soak
    async def test_a_gigabyte_of_output_leaves_neighbours_alone(self, backend: Backend, tmp_path: Path) -> None:
        """Half a minute of its kernel's copying. crun, Docker and bwrap have it in CI: one code reads the output."""
        await super().test_a_gigabyte_of_output_leaves_neighbours_alone(backend, tmp_path)


async def shown(terminal: Terminal, what: bytes) -> bytes:
    """What it shows until `what` is in it."""
    seen = b""
    async with asyncio.timeout(30):
        async for piece in terminal.read():
            seen += piece
            if what in seen:
                break
    return seen


async def test_a_machine_without_it_says_so(tmp_path: Path) -> None:
    probe = await GvisorBackend("/no/such/runsc").probe()
    assert not probe.able
    assert probe.why
    assert probe.fix
    with pytest.raises(SandboxError):
        await GvisorBackend("/no/such/runsc").create(spec(tmp_path))


async def test_shells_jobs_and_terminals_outlive_a_sleep(backend: GvisorBackend, tmp_path: Path) -> None:
    workspace, image = tmp_path / "work", tmp_path / "memory" / "image"
    workspace.mkdir()
    made = spec(workspace)
    guest = await backend.create(made)
    shell = await guest.open_terminal(["bash", "--norc"], cwd=str(workspace))
    await shell.write(b"FOO=kept; mkdir deep; cd deep; PS1=; (while :; do echo x; sleep 0.1; done) >> ../beat &\n")
    counter = await guest.spawn(["sh", "-c", "i=0; while :; do i=$((i+1)); echo n$i; sleep 0.1; done"], cwd="/tmp")
    await shown(counter, b"n3\n")
    async with asyncio.timeout(30):
        while not (workspace / "beat").exists():
            await asyncio.sleep(0.05)
    await shell.write(b"echo -n unread\n")
    await asyncio.sleep(0.3)
    assert await guest.suspend(image) == "memory"
    assert await backend.reap(made.marker) == 0, "something of the sleeping sandbox is left"
    with pytest.raises(SandboxError):
        await guest.exec(["true"], cwd=str(workspace))
    size = (workspace / "beat").stat().st_size
    await asyncio.sleep(0.3)
    assert (workspace / "beat").stat().st_size == size

    began = time.monotonic()
    woken = await backend.resume(made, image)
    try:
        assert (await woken.exec(["echo", "on"], cwd=str(workspace))).stdout == "on\n"
        assert time.monotonic() - began < 30
        assert set(woken.terminals) == {shell.number, counter.number}
        again = woken.terminals[shell.number]
        assert b"unread" in await shown(again, b"unread")
        await again.write(b"echo $FOO $PWD $(jobs | grep -c Running)\n")
        assert f"kept {workspace}/deep 1".encode() in await shown(again, b"deep 1\r\n")
        async with asyncio.timeout(30):
            while (workspace / "beat").stat().st_size == size:
                await asyncio.sleep(0.05)
        numbers = await shown(woken.terminals[counter.number], b"n9\n")
        assert b"n1\n" not in numbers
        assert b"n5\nn6\nn7\nn8\nn9\n" in numbers.replace(b"\r", b"")
        assert not image.exists()
    finally:
        await woken.close()
    with pytest.raises(SandboxError, match="no suspended sandbox"):
        await backend.resume(made, image)


async def test_it_can_sleep_twice(backend: GvisorBackend, tmp_path: Path) -> None:
    made = spec(tmp_path)
    guest = await backend.create(made)
    shell = await guest.open_terminal(["sh"], cwd=str(tmp_path))
    for turn in (b"one", b"two"):
        await shell.write(b"X=$X." + turn + b"\n")
        await guest.exec(["true"], cwd=str(tmp_path))
        assert await guest.suspend(tmp_path / "image") == "memory"
        guest = await backend.resume(made, tmp_path / "image")
        shell = guest.terminals[shell.number]
    await shell.write(b"echo =$X=\n")
    assert b"=.one.two=" in await shown(shell, b"two=\r\n")
    await guest.close()


async def test_an_image_is_whole_or_absent(backend: GvisorBackend, tmp_path: Path) -> None:
    made, image = spec(tmp_path), tmp_path / "image"
    guest = await backend.create(made)
    await guest.spawn(["sleep", "60"], cwd=str(tmp_path))
    task = asyncio.create_task(guest.suspend(image))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await guest.close()
    assert not image.exists()
    assert not list(tmp_path.glob("image.*"))
    image.mkdir()
    with pytest.raises(SandboxError):
        await backend.resume(made, image)
    (other := tmp_path / "other").mkdir()
    guest = await backend.create(made)
    assert await guest.suspend(image) == "memory"
    with pytest.raises(SandboxError, match="workspace"):
        await backend.resume(msgspec.structs.replace(made, workspace=other), image)


async def test_limits_of_the_whole(backend: GvisorBackend, tmp_path: Path) -> None:
    guest = await backend.create(spec(tmp_path, Bounds(memory_bytes=200 * 1024**2, pids=20)))
    try:
        fork = await guest.exec(["sh", "-c", "for i in $(seq 60); do sleep 9 & done; echo all"], cwd=str(tmp_path))
        assert fork.stdout != "all\n"
        assert (await guest.exec(["echo", "on"], cwd=str(tmp_path))).stdout == "on\n"
        assert (await guest.usage()).pids == 0
        disk = await guest.exec(["sh", "-c", "head -c 900000000 /dev/zero > /tmp/big"], cwd=str(tmp_path))
        assert disk.exit_code != 0
    finally:
        await guest.close()


async def test_a_command_costs_no_fork_of_the_agent(sandbox: LinkedGuest, tmp_path: Path) -> None:
    """A limit tighter than the agent's is set after a fork: what that costs here and now is the measure."""

    async def cost(quota: Quota) -> float:
        before = (await sandbox.usage()).cpu_seconds
        await sandbox.exec(["true"], cwd=str(tmp_path), quota=quota)
        return (await sandbox.usage()).cpu_seconds - before

    forked, spawned = Quota(open_files=500), Quota()
    pairs = [(await cost(spawned), await cost(forked)) for _ in range(9)]
    assert min(pair[0] for pair in pairs) < 0.8 * min(pair[1] for pair in pairs)
