"""What a probe that was killed leaves is removed by the next one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from roost.sandbox.backend import SandboxSpec
from roost.sandbox.choose import Chooser, Isolation
from roost.sandbox.probe import tried
from roost.testing.backends import Backend


class Reaped:
    """A backend that cannot make anything."""

    name, level = "reaped", 1

    def __init__(self) -> None:
        self.markers: list[str] = []

    async def create(self, spec: SandboxSpec) -> object:
        from roost.errors import SandboxError

        raise SandboxError("it cannot")

    async def reap(self, marker: str) -> int:
        self.markers.append(marker)
        return 0


async def test_a_dead_probe_is_swept() -> None:
    dead = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", ""])
    await asyncio.to_thread(dead.wait)
    left = Path(tempfile.mkdtemp(prefix=f"roost-probe-reaped-{dead.pid}-"))
    (left / "file").touch()
    living = Path(tempfile.mkdtemp(prefix="roost-probe-reaped-1-"))
    backend = Reaped()
    try:
        probe = await tried(as_backend(backend), "1", script="true", fix="none")
        assert (probe.able, probe.why, probe.fix) == (False, "it cannot", "none")
        assert f"probe-{dead.pid}" in backend.markers
        assert "probe-1" not in backend.markers
        assert not left.exists()
        assert living.exists()
        assert await tried(as_backend(backend), "1", script="true", fix="none") is probe
    finally:
        living.rmdir()


def as_backend(backend: Reaped) -> Backend:
    return backend  # pyright: ignore[reportReturnType]


class Broken(Reaped):
    """A backend whose machine fails in ways that it did not expect."""

    async def create(self, spec: SandboxSpec) -> object:
        raise OSError(28, "No space left on device")

    async def probe(self) -> object:
        raise BlockingIOError(11, "Resource temporarily unavailable")


async def test_what_the_machine_does_wrong_is_the_probes_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = await tried(as_backend(Broken()), "2", script="true", fix="none")
    assert not probe.able
    assert "No space left" in (probe.why or "")
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    probe = await tried(as_backend(Reaped()), "3", script="true", fix="none")
    assert not probe.able
    assert "/no/such/folder" in (probe.why or "")
    choice = await Chooser([as_backend(Broken())]).choose(Isolation(prefers=1))
    assert choice.level == 0
    assert "its probe failed" in (choice.why or "")
