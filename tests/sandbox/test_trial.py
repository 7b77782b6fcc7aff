"""What a probe that was killed leaves is removed by the next one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from roost.sandbox.backend import SandboxSpec
from roost.sandbox.trial import tried
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
