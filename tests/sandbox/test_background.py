"""Commands that run on between others, at level 0."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.errors import SandboxError
from roost.sandbox.background import WINDOW, Background
from roost.sandbox.host_process import ProcessSandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[ProcessSandbox]:
    sandbox = ProcessSandbox(marker=f"test-{secrets.token_hex(4)}")
    yield sandbox
    await sandbox.close()


async def said(background: Background, until: bytes) -> bytes:
    found = b""
    async with asyncio.timeout(30):
        async for piece in background.read():
            found += piece
            if until in found:
                break
    return found


async def gone(pid: int) -> bool:
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            return True
        await asyncio.sleep(0.05)
    return False


async def test_it_is_spoken_with_and_ends(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    background = await sandbox.spawn(["sh", "-c", "read a; echo got $a; echo err >&2; pwd; exit 3"], cwd=str(tmp_path))
    assert background.running
    await background.write(b"this\n")
    assert sorted((await said(background, b"never")).split()) == sorted(
        [b"got", b"this", b"err", str(tmp_path).encode()]
    )
    assert await background.wait() == 3
    assert not background.running
    await background.close()
    await background.write(b"nobody reads")


async def test_other_commands_run_meanwhile_and_closing_ends_all(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    script = "setsid sleep 1000 & echo $!; trap '' TERM HUP; sleep 1000 & echo $!; echo $$; echo all; wait"
    background = await sandbox.spawn(["sh", "-c", script], cwd=str(tmp_path))
    pids = (await said(background, b"all\n")).split()[:3]
    assert (await sandbox.exec(["echo", "x"], cwd=str(tmp_path))).stdout == "x\n"
    await background.close()
    await background.close()
    assert await background.wait() < 0
    for pid in pids:
        assert await gone(int(pid))


async def test_the_sandbox_takes_it_along(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    background = await sandbox.spawn(["sh", "-c", "echo $$; exec sleep 1000"], cwd=str(tmp_path))
    pid = int(await said(background, b"\n"))
    await sandbox.close()
    assert await gone(pid)
    assert await background.wait() < 0
    with pytest.raises(SandboxError):
        await sandbox.spawn(["true"], cwd=str(tmp_path))


async def test_what_cannot_be_started_says_why(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    background = await sandbox.spawn(["true"], cwd=str(tmp_path / "none"))
    assert b"cannot be started" in await said(background, b"never")
    assert await background.wait() == 126
    with pytest.raises(SandboxError):
        await sandbox.spawn([], cwd=str(tmp_path))


async def test_a_reader_that_comes_as_it_ends_learns_why(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    background = await sandbox.spawn(["true"], cwd=str(tmp_path / "none"))
    time.sleep(1)  # the loop learns at its next round that the command has ended
    await asyncio.sleep(0)
    assert b"cannot be started" in await said(background, b"never")


async def test_output_that_nobody_reads_is_bounded(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    script = "i=0; head -c 50000000 /dev/zero | tr '\\0' x; echo end"
    background = await sandbox.spawn(["sh", "-c", script], cwd=str(tmp_path))
    await background.wait()
    found = await said(background, b"never")
    assert len(found) < WINDOW + 100
    assert found.startswith(b"[... ")
    assert found.endswith(b"end\n")


async def test_a_flood_does_not_stop_the_loop(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    background = await sandbox.spawn(["yes"], cwd=str(tmp_path))
    await said(background, b"y")
    slowest = 0.0
    for _ in range(50):
        began = time.thread_time()  # the loop's own work: a busy machine may let it wait
        await asyncio.sleep(0.001)
        slowest = max(slowest, time.thread_time() - began)
    await background.close()
    assert slowest < 0.5


async def test_many_leave_no_descriptor(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("needs /proc to count descriptors")
    await (await sandbox.spawn(["true"], cwd=str(tmp_path))).wait()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        background = await sandbox.spawn(["cat"], cwd=str(tmp_path))
        await background.write(b"x")
        await said(background, b"x")
        await background.close()
    async with asyncio.timeout(30):
        while len(os.listdir("/proc/self/fd")) > before:
            await asyncio.sleep(0.05)
