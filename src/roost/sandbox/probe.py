"""Probe a backend: run a real guest within a deadline, and cache the result until something relevant changes."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from contextvars import ContextVar
from pathlib import Path
from weakref import WeakKeyDictionary

import msgspec

from roost.errors import SandboxError
from roost.sandbox.backend import Backend, Capabilities, Probe, SandboxSpec
from roost.sandbox.base import User
from roost.sandbox.probe_cache import key_of, recall

_probed: dict[str, Probe] = {}
trial_user: ContextVar[User | None] = ContextVar("trial_user", default=None)
"""The user that guests of probes run as, None: the daemon's. Guests of sessions do not run as root either."""
_trying: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Lock]] = WeakKeyDictionary()


def unable(backend: Backend, why: str, fix: str | None = None) -> Probe:
    return Probe(backend=backend.name, level=backend.level, able=False, why=why, fix=fix)


async def tried(
    backend: Backend, version: str, *, script: str, fix: str, seconds: float = 20.0, program: str | None = None
) -> Probe:
    """Return the cached result, else run `script` in a guest's `/bin/sh`; it prints `fine` when everything holds.

    `version` must differ for every way in which the backend can run. `program`: the file that makes its guests."""
    user, kept = trial_user.get(), recall.get()
    asked = script if user is None else f"{script}\n# as user {user.uid}"
    key = await asyncio.to_thread(key_of, backend, version, asked, program)
    locks = _trying.setdefault(asyncio.get_running_loop(), {})
    async with locks.setdefault(backend.name, asyncio.Lock()):
        if key not in _probed:
            known = None if kept is None else await asyncio.to_thread(kept.find, backend, key)
            _probed[key] = known or await _try(backend, version, script, fix, seconds)
    if kept is not None:
        await asyncio.to_thread(kept.keep, key, _probed[key])
    return _probed[key]


def version_of(program: str) -> str:
    """Return the version that a program reports, or the error. Blocks."""
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program}: {error}"
    return done.stdout.partition("\n")[0].strip() or program


async def _try(backend: Backend, version: str, script: str, fix: str, seconds: float) -> Probe:
    """Run a guest. Any fault of the machine (a full disk, no free descriptors) becomes the probe's answer: a session
    that prefers this level then gets a lower one with the reason."""
    began = time.monotonic()
    able = Capabilities()
    try:
        await _sweep(backend)
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=f"{_prefix(backend)}{os.getpid()}-"))
        try:
            async with asyncio.timeout(seconds):
                why, able = await _run(backend, script, folder)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    except TimeoutError:
        why = f"its guest did not run within {seconds:.0f} s"
    except (SandboxError, OSError) as error:
        why = str(error) or type(error).__name__
    probe = unable(backend, why, fix) if why else Probe(backend=backend.name, level=backend.level, able=True)
    spent = time.monotonic() - began
    return msgspec.structs.replace(probe, version=version, seconds=spent, capabilities=able)


async def _run(backend: Backend, script: str, folder: Path) -> tuple[str | None, Capabilities]:
    user = trial_user.get()
    if user is not None:
        os.chown(folder, *user)
    spec = SandboxSpec(session="probe", workspace=folder, marker=_marker(os.getpid()), user=user)
    guest = await backend.create(spec)
    try:
        said = await guest.exec(["/bin/sh", "-c", script], cwd=str(folder))
    finally:
        await guest.close()
    if said.stdout == "fine\n":
        return None, guest.capabilities
    return f"what it must hold does not hold: {said.stderr[-300:] or said}", Capabilities()


async def _sweep(backend: Backend) -> None:
    """Remove the guests of processes that died while they probed this backend."""
    for folder in await asyncio.to_thread(lambda: list(Path(tempfile.gettempdir()).glob(f"{_prefix(backend)}*"))):
        pid = folder.name.removeprefix(_prefix(backend)).partition("-")[0]
        if pid.isdigit() and not _lives(int(pid)):
            await backend.reap(_marker(int(pid)))
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _prefix(backend: Backend) -> str:
    return f"roost-probe-{backend.name}-"


def _marker(pid: int) -> str:
    return f"probe-{pid}"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
