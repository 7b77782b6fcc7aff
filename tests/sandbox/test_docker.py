"""Level 1 by an engine: against the one of this machine, or at the socket that `ROOST_TEST_ENGINE` names."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.errors import SandboxError
from roost.sandbox.backend import Bounds, SandboxSpec
from roost.sandbox.containers.docker import DockerBackend
from roost.sandbox.guest.linked_guest import LinkedGuest
from roost.testing.backends import BackendContract
from roost.testing.sandbox import SandboxContract


def engine() -> DockerBackend:
    named = os.environ.get("ROOST_TEST_ENGINE")
    return DockerBackend(Path(named) if named else None)


@pytest.fixture
async def backend() -> DockerBackend:
    made = engine()
    probe = await made.probe()
    if not probe.able:
        pytest.skip(f"no engine: {probe.why}")
    return made


def spec(workspace: Path) -> SandboxSpec:
    marker = f"test-{secrets.token_hex(4)}"
    return SandboxSpec(session="s", workspace=workspace, marker=marker, bounds=Bounds(pids=256))


@pytest.fixture
async def sandbox(backend: DockerBackend, tmp_path: Path) -> AsyncIterator[LinkedGuest]:
    made = await backend.create(spec(tmp_path))
    yield made
    await made.close()


@pytest.mark.engines
class TestContract(SandboxContract):
    pass


@pytest.mark.engines
class TestBackend(BackendContract):
    maker = f"{__name__.rpartition('.')[2]}:engine"
    not_held = frozenset({"user"})
    """Without a user namespace."""

    @pytest.fixture(autouse=True)
    def found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another process makes the same backend."""
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


async def test_without_an_engine_it_says_so(tmp_path: Path) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"what?\r\n")
        writer.close()

    server = await asyncio.start_unix_server(mute, str(tmp_path / "socket"))
    async with server:
        for place in (tmp_path / "nothing", tmp_path / "socket"):
            probe = await DockerBackend(place).probe()
            assert not probe.able
            assert probe.why
            assert probe.fix
            with pytest.raises(SandboxError):
                await DockerBackend(place).create(spec(tmp_path))
            assert await DockerBackend(place).reap("any") == 0
