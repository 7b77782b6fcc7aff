"""Level 1 by bubblewrap: the contracts, and what only this backend does."""

from __future__ import annotations

import asyncio
import importlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.sandbox.backend import Guest, SandboxSpec
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


def test_no_command_inherits_the_link(tmp_path: Path, marker: str) -> None:
    """uvloop leaves copies of a program's standard streams open in it."""
    pytest.importorskip("uvloop")

    async def attempt() -> str | None:
        made = BwrapBackend()
        if not (await made.probe()).able:
            return None
        guest = await made.create(SandboxSpec(session="one", workspace=tmp_path, marker=marker))
        try:
            return (await guest.exec(["ls", "/proc/self/fd"], cwd=str(tmp_path))).stdout
        finally:
            await guest.close()

    with asyncio.Runner(loop_factory=importlib.import_module("uvloop").new_event_loop) as runner:
        said = runner.run(attempt())
    if said is None:
        pytest.skip("no bubblewrap here")
    assert said.split() == ["0", "1", "2", "3"]  # the last is the list's own
