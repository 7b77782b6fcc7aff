"""Level 1 by bubblewrap: the contracts, and what only this backend does."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.sandbox.backend import Guest, SandboxSpec
from roost.sandbox.base import Quota
from roost.sandbox.containers.bwrap import BwrapBackend
from roost.testing.backends import BackendContract
from roost.testing.sandbox import SandboxContract


@pytest.fixture
async def backend() -> BwrapBackend:
    made = BwrapBackend()
    probe = await made.probe()
    if not probe.able:
        pytest.skip(f"no bubblewrap here: {probe.why}")
    return made


@pytest.fixture
def marker() -> str:
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
async def sandbox(backend: BwrapBackend, tmp_path: Path, marker: str) -> AsyncIterator[Guest]:
    made = await backend.create(SandboxSpec(session="one", workspace=tmp_path, marker=marker))
    yield made
    await made.close()


class TestCommands(SandboxContract):
    pass


class TestBackend(BackendContract):
    maker = "roost.sandbox.containers.bwrap:BwrapBackend"


async def test_limits_bind_whatever_way_a_command_is_started(sandbox: Guest, tmp_path: Path) -> None:
    script = "ulimit -Hc; ulimit -Hf; ulimit -Hn; ulimit -f unlimited || echo held; sleep 0.1; ulimit -Ht"
    usual = await sandbox.exec(["sh", "-c", script], cwd=str(tmp_path))
    assert usual.stdout.split() == ["0", str(2 * 1024**2), "1024", "held", "61"]
    tight = await sandbox.exec(["sh", "-c", script], cwd=str(tmp_path), quota=Quota(file_bytes=5120, cpu_seconds=None))
    assert tight.stdout.split() == ["0", "10", "1024", "held", "unlimited"]
    terminal = await sandbox.open_terminal(["sh", "-c", script], cwd=str(tmp_path))
    shown = b"".join([piece async for piece in terminal.read()]).decode()
    assert shown.split()[:3] == ["0", str(2 * 1024**2), "1024"]


async def test_a_command_has_its_limit_of_processor_time_from_birth(sandbox: Guest, tmp_path: Path) -> None:
    said = [await sandbox.exec(["sh", "-c", "(ulimit -t)"], cwd=str(tmp_path)) for _ in range(80)]
    assert {result.stdout for result in said} == {"60\n"}


async def test_a_program_is_looked_for_where_its_own_path_says(sandbox: Guest, tmp_path: Path) -> None:
    for folder, mode in (("shut", 0o644), ("open", 0o755)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine").write_text("#!/bin/sh\necho $0")
        (tmp_path / folder / "mine").chmod(mode)
    for path, said in (("shut:open", "open/mine\n"), ("/nowhere", ""), ("shut", "")):
        result = await sandbox.exec(["mine"], cwd=str(tmp_path), env={"PATH": path})
        assert result.stdout == said
        assert result.exit_code == {"shut:open": 0, "/nowhere": 127, "shut": 126}[path]
