"""Level 1 by bubblewrap: the contracts, and what only this backend does."""

from __future__ import annotations

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
