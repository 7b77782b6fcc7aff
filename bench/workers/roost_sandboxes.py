"""Roost's sandboxes of one backend: started, warm, running, asleep."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from bench.worker import Clock, serve, whole_cpu
from roost.machines.qemu.backend import QemuBackend
from roost.sandbox.backend import Backend, Guest, Probe, SandboxSpec
from roost.sandbox.base import Sandbox
from roost.sandbox.choose import default_backends
from roost.sandbox.containers.docker import DockerBackend
from roost.sandbox.guest.linked_guest import LinkedGuest
from roost.sandbox.host_process import ProcessSandbox
from roost.sandbox.prewarmed_pool import Pool
from roost.sandbox.sandbox_host import plain_egress

_THOUGHT = 0.2
"""Seconds that the model still thinks when the sandbox is ready: what its start cost is not held against its first
command."""
_PATIENCE = 20.0
"""Seconds for a shell in a terminal to answer."""


def backend_of(name: str, kernel: str | None, engine: str | None) -> Backend:
    """`kernel`: where QEMU finds one, which then runs in software; `engine`: a socket."""
    if name == "qemu" and kernel is not None:
        return QemuBackend(emulate=True, image=Path(kernel))
    if name == "docker" and engine is not None:
        return DockerBackend(Path(engine))
    return next(backend for backend in default_backends(plain_egress) if backend.name == name)


class Bench:
    """One round. Each list holds milliseconds."""

    def __init__(self, backend: Backend, workspace: Path) -> None:
        self._backend = backend
        marker = f"bench-{secrets.token_hex(6)}"
        self._spec = SandboxSpec(session="bench", workspace=workspace, marker=marker)
        self.found: dict[str, Any] = {"start": [], "first": [], "warm": [], "exec": [], "suspend": [], "resume": []}

    async def run(self, starts: int, execs: int, sleeps: int) -> dict[str, Any]:
        probe = await self._backend.probe()
        if not probe.able:
            return {"error": f"{probe.why}" + (f" ({probe.fix})" if probe.fix else "")}
        clock = Clock()
        try:
            await self._measure(probe, starts, execs, sleeps)
        finally:
            left = await self._backend.reap(self._spec.marker)
        assert not left, f"{left} things were left"
        return {"ms": self.found, "version": probe.version, **clock.stop()}

    async def _measure(self, probe: Probe, starts: int, execs: int, sleeps: int) -> None:
        for number in range(1 if probe.level == 2 else starts):
            await self._start(execs if number == 0 else 0)
            await self._warm()
        for _ in range(sleeps if probe.capabilities.suspends == "memory" else 0):
            await self._sleep()

    async def _start(self, execs: int) -> None:
        began = time.perf_counter()
        guest = await self._backend.create(self._spec)
        try:
            self.found["first"].append(await self._true(guest))
            self.found["start"].append((time.perf_counter() - began) * 1e3)
            if execs:
                before = (await guest.usage()).cpu_seconds
                own = time.process_time()
                self.found["exec"] += [await self._true(guest) for _ in range(execs)]
                own = time.process_time() - own
                inside = (await guest.usage()).cpu_seconds - before
                if guest.capabilities.cpus == "kernel":  # else nobody counts what is spent inside
                    self.found["exec_cpu"] = (own + inside) / execs * 1e3
        finally:
            await guest.close()

    async def _true(self, guest: Sandbox) -> float:
        return await true(guest, self._spec.workspace)

    async def _warm(self) -> None:
        """The first command of a session whose sandbox was started while the model thought."""
        ready = asyncio.Event()

        async def start() -> Guest:
            try:
                return await self._backend.create(self._spec)
            finally:
                ready.set()

        pool = Pool()
        pool.warm("bench", start)
        try:
            await ready.wait()
            await asyncio.sleep(_THOUGHT)
            began = time.perf_counter()
            guest = await pool.take("bench", start)
            try:
                await self._true(guest)
                self.found["warm"].append((time.perf_counter() - began) * 1e3)
            finally:
                await guest.close()
        finally:
            await pool.close()

    async def _sleep(self) -> None:
        """A shell in a terminal with a variable, until it answers again with it."""
        folder = str(self._spec.workspace)
        guest = await self._backend.create(self._spec)
        try:
            shell = await guest.open_terminal(["/bin/sh"], cwd=folder)
            await shell.write(b"KEPT=yes\n")
            await self._true(guest)
            image = self._spec.workspace.parent / "image"
            self.found["suspend"].append(await _ms(guest.suspend(image)))
            began = time.perf_counter()
            guest = await self._backend.resume(self._spec, image)
            assert isinstance(guest, LinkedGuest)
            shell = next(iter(guest.terminals.values()))
            await shell.write(b"echo =$KEPT=\n")
            async with asyncio.timeout(_PATIENCE):
                shown = b""
                async for piece in shell.read():
                    shown += piece
                    if b"=yes=" in shown:
                        break
            self.found["resume"].append((time.perf_counter() - began) * 1e3)
        finally:
            await guest.close()


async def true(guest: Sandbox, workspace: Path) -> float:
    began = time.perf_counter()
    result = await guest.exec(["/usr/bin/true"], cwd=str(workspace))
    assert result.exit_code == 0, result
    return (time.perf_counter() - began) * 1e3


async def _ms(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return (time.perf_counter() - began) * 1e3


async def level_zero(workspace: Path, execs: int) -> dict[str, Any]:
    sandbox, clock = ProcessSandbox(marker=f"bench-{secrets.token_hex(6)}"), Clock()
    try:
        await true(sandbox, workspace)
        before = whole_cpu()
        times = [await true(sandbox, workspace) for _ in range(execs)]
        cpu = (whole_cpu() - before) / execs * 1e3
    finally:
        await sandbox.close()
    return {"ms": {"exec": times, "exec_cpu": cpu}, **clock.stop()}


def play(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    (workspace := folder / "work").mkdir()
    if order["backend"] == "process":
        return asyncio.run(level_zero(workspace, order["execs"]))
    backend = backend_of(order["backend"], order["kernel"], order["engine"])
    return asyncio.run(Bench(backend, workspace).run(order["starts"], order["execs"], order["sleeps"]))


if __name__ == "__main__":
    serve(play)
