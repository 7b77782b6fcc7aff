"""Sandboxes cut off at random moments: nothing of them stays. `python -m tests.harness.chaos` does it for longer."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from pathlib import Path

import pytest

from roost.sandbox.backend import SandboxSpec
from roost.sandbox.containers.bwrap import BwrapBackend
from roost.testing.left_behind import left

ROUNDS = int(os.environ.get("ROOST_CHAOS_ROUNDS", "1000"))


async def chaos(rounds: int, *more: str) -> str:
    argv = [sys.executable, "-m", "tests.harness.chaos", "--rounds", str(rounds), *more]
    run = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    try:
        said, _ = await run.communicate()
    except asyncio.CancelledError:
        run.terminate()
        await run.wait()
        raise
    if run.returncode == 2:
        pytest.skip(said.decode())
    assert run.returncode == 0, said.decode()
    return said.decode()


async def test_what_is_left_is_seen(tmp_path: Path) -> None:
    backend, marker = BwrapBackend(), f"test-{secrets.token_hex(6)}"
    if not (probe := await backend.probe()).able:
        pytest.skip(f"no bubblewrap here: {probe.why}")
    (tmp_path / "tmp").mkdir()
    guest = await backend.create(SandboxSpec(session="s", workspace=tmp_path, marker=marker))
    try:
        await guest.spawn(["env", "-i", "sleep", "77"], cwd="/tmp")
        async with asyncio.timeout(30):
            while "sleep 77" not in (seen := " ".join(left(tmp_path, marker))):
                await asyncio.sleep(0.02)
        assert os.geteuid() != 0 or "control group:" in seen
    finally:
        await guest.close()
    (tmp_path / "tmp" / "file").touch()
    assert left(tmp_path, marker) == [f"file: {tmp_path}/tmp/file"]


async def test_some_rounds() -> None:
    said = await chaos(30, "--backends", "bwrap,oci", "--seed", "5")
    assert "30 rounds" in said


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_a_thousand_rounds() -> None:
    assert f"{ROUNDS} rounds" in await chaos(ROUNDS)
