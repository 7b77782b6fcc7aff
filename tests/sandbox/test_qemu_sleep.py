"""A machine of QEMU sleeps with its memory: in software, as in `test_qemu.py`."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from pathlib import Path

import msgspec
import pytest

from roost.errors import SandboxError
from roost.machines.qemu.backend import QemuBackend
from roost.sandbox.backend import Backend, Bounds, SandboxSpec, Terminal
from roost.sandbox.guest.linked_guest import LinkedGuest
from roost.testing.backends import attempt_all, shell

pytestmark = [pytest.mark.soak, pytest.mark.timeout(400)]
IMAGE = Path(os.environ.get("ROOST_TEST_KERNEL", "/"))
_WRITER = "exec 5>log; i=0; while :; do i=$((i+1)); echo n$i; echo n$i >&5; sleep 0.05; done"
_BUSY = "while :; do find /usr/share/doc /etc > list; cp list other; mv other list; python3 -c 'import json'; done"

OF_ITS_OWN_KERNEL = {
    "io_uring", "keys", "new key", "priority", "read of another's memory", "settings of the kernel", "trace",
    "user namespace", "user namespace by clone", "user namespace by clone3", "userfaultfd",
}  # fmt: skip
"""What a machine's kernel lets its user do with itself: nothing of this machine."""


@pytest.fixture
async def backend() -> QemuBackend:
    made = QemuBackend(emulate=True, image=IMAGE)
    probe = await made.probe()
    if not probe.able:
        pytest.skip(f"QEMU: {probe.why}; {probe.fix}")
    assert probe.capabilities.suspends == "memory"
    return made


def spec(workspace: Path) -> SandboxSpec:
    workspace.mkdir(exist_ok=True)
    bounds = Bounds(memory_bytes=256 * 1024**2, pids=64)
    return SandboxSpec(session="s", workspace=workspace, marker=f"test-{secrets.token_hex(4)}", bounds=bounds)


async def shown(terminal: Terminal, what: bytes) -> bytes:
    """What it shows until `what` is in it."""
    seen = b""
    async with asyncio.timeout(60):
        async for piece in terminal.read():
            seen += piece
            if what in seen:
                break
    return seen


async def test_shells_jobs_and_terminals_outlive_a_sleep(backend: QemuBackend, tmp_path: Path) -> None:
    work, image = tmp_path / "work", tmp_path / "memory" / "image"
    made = spec(work)
    guest = await backend.create(made)
    console = await guest.open_terminal(["bash", "--norc"], cwd=str(work))
    await console.write(b"FOO=kept; mkdir deep; cd deep; PS1=; sleep 1000 &\n")
    counter = await guest.spawn(["sh", "-c", _WRITER], cwd=str(work))
    (work / "gone").write_text("here")
    reader = await guest.spawn(["sh", "-c", "exec 5<gone; echo has; read x; cat <&5"], cwd=str(work))
    await shown(reader, b"has\n")
    await shown(counter, b"n3\n")
    await console.write(b"echo -n unread\n")
    await asyncio.sleep(0.3)
    assert await guest.suspend(image) == "memory"
    assert await backend.reap(made.marker) == 0, "something of the sleeping machine is left"
    with pytest.raises(SandboxError):
        await guest.exec(["true"], cwd=str(work))
    written = (work / "log").read_bytes()
    await asyncio.sleep(2)
    assert (work / "log").read_bytes() == written
    (work / "while").write_text("it slept")
    (work / "gone").unlink()

    began = time.monotonic()
    woken = await backend.resume(made, image)
    try:
        said = await shell(woken, work, "cat while; date +%s")
        assert time.monotonic() - began < 30
        assert said.stdout.startswith("it slept")
        assert abs(int(said.stdout[8:]) - time.time()) < 10
        assert set(woken.terminals) == {console.number, counter.number, reader.number}
        again = woken.terminals[console.number]
        assert b"unread" in await shown(again, b"unread")
        await again.write(b"echo $FOO $PWD $(jobs | grep -c Running)\n")
        assert f"kept {work}/deep 1".encode() in await shown(again, b"deep 1\r\n")
        await shown(woken.terminals[counter.number], b"n80\n")
        numbers = (work / "log").read_text().split()
        assert numbers == [f"n{number}" for number in range(1, len(numbers) + 1)]
        await woken.terminals[reader.number].write(b"\n")
        assert b"cat: " in await shown(woken.terminals[reader.number], b"\n")
        assert not image.exists()
    finally:
        await woken.close()
    assert await backend.reap(made.marker) == 0
    with pytest.raises(SandboxError, match="no suspended sandbox"):
        await backend.resume(made, image)


async def test_it_sleeps_again_and_again_in_the_midst_of_its_work(backend: QemuBackend, tmp_path: Path) -> None:
    made = spec(tmp_path / "work")
    guest: LinkedGuest = await backend.create(made)
    work = made.workspace
    counter = await guest.spawn(["sh", "-c", _WRITER], cwd=str(work))
    busy = [await guest.spawn(["sh", "-c", f"mkdir {n}; cd {n}; {_BUSY}"], cwd=str(work)) for n in range(2)]
    try:
        for turn in range(4):
            await asyncio.sleep(1 + turn * 0.37)
            assert await guest.suspend(tmp_path / "image") == "memory"
            guest = await backend.resume(made, tmp_path / "image")
        assert (await shell(guest, work, "echo on")).stdout == "on\n"
        assert set(guest.terminals) == {each.number for each in (counter, *busy)}
        count = len((work / "log").read_text().split())
        await shown(guest.terminals[counter.number], b"n%d\n" % (count + 3))
        numbers = (work / "log").read_text().split()
        assert numbers == [f"n{number}" for number in range(1, len(numbers) + 1)]
    finally:
        await guest.close()
    assert await backend.reap(made.marker) == 0


async def test_an_image_is_whole_or_absent(backend: QemuBackend, tmp_path: Path) -> None:
    made, image = spec(tmp_path / "work"), tmp_path / "image"
    guest = await backend.create(made)
    task = asyncio.create_task(guest.suspend(image))
    await asyncio.sleep(0.15)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await guest.close()
    assert not list(tmp_path.glob("image.*"))
    if image.exists():  # it was whole before the word came
        await (await backend.resume(made, image)).close()
    image.mkdir()
    with pytest.raises(SandboxError):
        await backend.resume(made, image)
    guest = await backend.create(made)
    assert await guest.suspend(image) == "memory"
    with pytest.raises(SandboxError, match="workspace"):
        await backend.resume(msgspec.structs.replace(made, workspace=spec(tmp_path / "other").workspace), image)
    assert not image.exists()
    assert await backend.reap(made.marker) == 0


async def test_without_its_files_a_machine_ends(backend: QemuBackend, tmp_path: Path) -> None:
    made = spec(tmp_path / "work")
    guest = await backend.create(made)
    try:
        running = asyncio.create_task(shell(guest, made.workspace, "while :; do ls > list; done"))
        await asyncio.sleep(1)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if serves(pid, made):
                os.kill(int(pid), signal.SIGKILL)
        with pytest.raises(SandboxError, match="files"):
            await asyncio.wait_for(running, 30)
        assert not guest.alive
    finally:
        await guest.close()
    assert await backend.reap(made.marker) == 0


def serves(pid: str, made: SandboxSpec) -> bool:
    try:
        command = (Path("/proc") / pid / "cmdline").read_bytes()
    except OSError:
        return False
    return b"ninep/serve.py" in command and os.fsencode(made.workspace) in command


async def test_no_way_out(backend: Backend, tmp_path: Path) -> None:
    got = await attempt_all(backend, tmp_path)
    assert len(got) >= 60
    assert {name for name, what in got.items() if what is not None} <= OF_ITS_OWN_KERNEL, got
