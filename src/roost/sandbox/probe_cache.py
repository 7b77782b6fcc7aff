"""Keep probe results in a folder over restarts of the daemon, because a probe runs a whole guest."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from contextvars import ContextVar
from hashlib import blake2b
from pathlib import Path

import msgspec

from roost.sandbox.backend import Backend, Probe

PROBES = "probes"
"""The folder's name in a home."""
_KEPT = 8
"""Results kept for one backend: of several programs, or by several users."""


class _Finding(msgspec.Struct, frozen=True):
    key: str
    probe: Probe


_findings = msgspec.json.Decoder(list[_Finding])


class ProbeCache:
    """Stored probe results, a file for each backend. Unreadable files count as absent, and write errors are ignored.

    Failed probes are not kept: the machine may be repaired at any time. `anew`: ignore stored results, but store new
    ones."""

    def __init__(self, folder: Path, *, anew: bool = False) -> None:
        self._folder, self._anew = folder, anew

    def find(self, backend: Backend, key: str) -> Probe | None:
        """Return the stored result, if there is one. Blocks for a moment."""
        if self._anew:
            return None
        found = next((each.probe for each in self._read(backend.name) if each.key == key), None)
        fits = found is not None and found.able and (found.backend, found.level) == (backend.name, backend.level)
        return found if fits else None

    def keep(self, key: str, probe: Probe) -> None:
        """Store a result. Blocks for a moment."""
        known = self._read(probe.backend)
        mine = [_Finding(key, probe)] * probe.able
        now = [*mine, *(each for each in known if each.key != key)][:_KEPT]
        if now == known:
            return
        place = self._place(probe.backend)
        fresh = place.with_name(f".{place.name}-{secrets.token_hex(4)}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.write_bytes(msgspec.json.encode(now))
            os.replace(fresh, place)
        except OSError:  # a full disk, or a home of another user: the next start probes again
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)

    def _read(self, name: str) -> list[_Finding]:
        try:
            return _findings.decode(self._place(name).read_bytes())
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return []

    def _place(self, name: str) -> Path:
        return self._folder / f"{re.sub(r'[^A-Za-z0-9]', '_', name)}.json"


recall: ContextVar[ProbeCache | None] = ContextVar("recall", default=None)
"""The store of the probe that runs now; None is no store."""


def key_of(backend: Backend, version: str, script: str, program: str | None) -> str:
    """Return a hash of all that a result depends on: boot, program file, script, and this process's rights. Blocks for
    a moment."""
    here = [_text("/proc/sys/kernel/random/boot_id"), _text("/proc/self/cgroup"), _capabilities(), *_spaces()]
    about = [backend.name, str(backend.level), version, script, _stamp(program), *here]
    who = f"{os.geteuid()}:{os.getegid()}" if hasattr(os, "geteuid") else ""
    return blake2b("\0".join([*about, who]).encode("utf-8", "replace"), digest_size=16).hexdigest()


def _stamp(program: str | None) -> str:
    if program is None:
        return ""
    try:
        real = os.path.realpath(program)
        status = os.stat(real)
    except OSError:
        return program
    return f"{real}:{status.st_mtime_ns}:{status.st_size}"


def _capabilities() -> str:
    return "".join(line for line in _text("/proc/self/status").splitlines() if line.startswith("CapEff"))


def _spaces() -> list[str]:
    """Return this process's namespaces: a container has the boot id of its machine, but its own namespaces."""
    spaces: list[str] = []
    for name in ("user", "pid"):
        try:
            spaces.append(os.readlink(f"/proc/self/ns/{name}"))
        except OSError:
            spaces.append("")
    return spaces


def _text(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
