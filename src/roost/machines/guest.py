"""The parts of a machine that all level 2 backends share: limits, view, capabilities, guest."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

import msgspec

from roost.errors import SandboxError
from roost.sandbox import mounts
from roost.sandbox.backend import Bounds, Capabilities, SandboxSpec, Usage
from roost.sandbox.guest import linked_guest
from roost.sandbox.guest.link import Link
from roost.sandbox.sandbox_host import SandboxHost, manner
from roost.sandbox.suspended_image import Keeping, KeptGuest

ENCLOSED = "grep -q '^CapEff:.0000000000000000$' /proc/self/status && ! test -e /etc/shadow && echo fine"
"""Script that a probe runs inside."""
_OWN_MEMORY = 128 * 1024**2
"""Memory for the machine's kernel, beside that of commands."""


class Box(linked_guest.Body, Protocol):
    """The host side of a machine."""

    @property
    def body(self) -> SandboxHost: ...

    async def write_out(self, folder: Path) -> None:
        """Write its memory and all other state for a resume into an empty folder. Raises `SandboxError`, `OSError`."""
        ...


class MachineGuest(KeptGuest):
    """A guest in a machine. `version`: of all programs that read its image. `seconds`: limit for going still."""

    def __init__(self, box: Box, link: Link, version: str, seconds: float) -> None:
        keeping = Keeping(version, box.body.spec.workspace, box.write_out, seconds)
        super().__init__(2, _capabilities(box.body), link, box, manner(box.body), keeping)

    async def usage(self) -> Usage:
        """Return the usage of the whole machine, seen from outside; processes inside are not counted."""
        return msgspec.structs.replace(await super().usage(), pids=0)


def _capabilities(body: SandboxHost) -> Capabilities:
    cpus = "kernel" if body.group is not None else "none"
    return Capabilities(
        memory="kernel", cpus=cpus, pids="kernel", disk="kernel", network="hosts", suspends="memory", terminals=True
    )


def memory_mib(bounds: Bounds) -> int:
    return ((bounds.memory_bytes or 2 * 1024**3) + _OWN_MEMORY) // 1024**2


def processors(bounds: Bounds) -> int:
    return max(1, math.ceil(bounds.cpus or 1))


def outer_bounds(bounds: Bounds, more: int) -> Bounds:
    """Return the limits of all processes of a machine on the host. `more`: bytes for the program that runs it and for
    the file server."""
    most = None if bounds.memory_bytes is None else bounds.memory_bytes + _OWN_MEMORY + more
    return msgspec.structs.replace(bounds, memory_bytes=most, pids=256)


def view(spec: SandboxSpec) -> list[str]:
    """Return the files of this machine that the guest sees, as bwrap's arguments."""
    return [*mounts.system(), *mounts.folders(spec.workspace, spec.reads, spec.hidden)]


def check_workspace(spec: SandboxSpec) -> None:
    """Raise `SandboxError` unless the workspace is a folder. Blocks."""
    if not spec.workspace.is_dir():
        raise SandboxError(f"the workspace {spec.workspace} is no folder")
