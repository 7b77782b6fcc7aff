"""A backend's probe: a guest that really runs, within a deadline, remembered per boot and version of its program."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

import msgspec

from roost.errors import SandboxError
from roost.sandbox.backend import Backend, Capabilities, Probe, SandboxSpec

_probed: dict[tuple[str, str, str], Probe] = {}
_trying: dict[tuple[str, str, str], asyncio.Lock] = {}


def unable(backend: Backend, why: str, fix: str | None = None) -> Probe:
    return Probe(backend=backend.name, level=backend.level, able=False, why=why, fix=fix)


async def tried(backend: Backend, version: str, *, script: str, fix: str, seconds: float = 20.0) -> Probe:
    """`script` is run by the guest's `/bin/sh` and says `fine` when everything holds."""
    key = (backend.name, version, await asyncio.to_thread(_boot))
    async with _trying.setdefault(key, asyncio.Lock()):
        if key not in _probed:
            _probed[key] = await _try(backend, version, script, fix, seconds)
    return _probed[key]


async def _try(backend: Backend, version: str, script: str, fix: str, seconds: float) -> Probe:
    began = time.monotonic()
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="roost-probe-"))
    able = Capabilities()
    try:
        async with asyncio.timeout(seconds):
            guest = await backend.create(SandboxSpec(session="probe", workspace=folder, marker="probe"))
            try:
                said = await guest.exec(["/bin/sh", "-c", script], cwd=str(folder))
            finally:
                await guest.close()
        why = None if said.stdout == "fine\n" else f"what it must hold does not hold: {said.stderr[-300:] or said}"
        able = guest.capabilities if why is None else able
    except (SandboxError, TimeoutError) as error:
        why = str(error) or f"its guest did not run within {seconds:.0f} s"
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    probe = unable(backend, why, fix) if why else Probe(backend=backend.name, level=backend.level, able=True)
    spent = time.monotonic() - began
    return msgspec.structs.replace(probe, version=version, seconds=spent, capabilities=able)


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
