"""What a machine of ours has to itself and shows of itself, whoever runs it."""

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
from roost.sandbox.sandbox_host import Body, manner
from roost.sandbox.suspended_image import Keeping, KeptGuest

ENCLOSED = "grep -q '^CapEff:.0000000000000000$' /proc/self/status && ! test -e /etc/shadow && echo fine"
"""What a probe runs inside."""
_OWN_MEMORY = 128 * 1024**2
"""Of the machine's kernel, beside what commands may use."""


class Box(linked_guest.Body, Protocol):
    """A machine from outside."""

    @property
    def body(self) -> Body: ...

    async def write_out(self, folder: Path) -> None:
        """Its memory and all that it takes to go on, into an empty folder. Raises `SandboxError`, `OSError`."""
        ...


class MachineGuest(KeptGuest):
    """`version` is of all that reads its image; what it is to do for its sleep it does within `seconds`."""

    def __init__(self, box: Box, link: Link, version: str, seconds: float) -> None:
        keeping = Keeping(version, box.body.spec.workspace, box.write_out, seconds)
        super().__init__(2, _capabilities(box.body), link, box, manner(box.body), keeping)

    async def usage(self) -> Usage:
        """Of the machine as a whole, as this one sees it; the processes in it are not counted."""
        return msgspec.structs.replace(await super().usage(), pids=0)


def _capabilities(body: Body) -> Capabilities:
    cpus = "kernel" if body.group is not None else "none"
    return Capabilities(
        memory="kernel", cpus=cpus, pids="kernel", disk="kernel", network="hosts", suspends="memory", terminals=True
    )


def memory_mib(bounds: Bounds) -> int:
    return ((bounds.memory_bytes or 2 * 1024**3) + _OWN_MEMORY) // 1024**2


def processors(bounds: Bounds) -> int:
    return max(1, math.ceil(bounds.cpus or 1))


def outer_bounds(bounds: Bounds, more: int) -> Bounds:
    """Of all that a machine takes outside. `more`: bytes for what runs it and for the server of its files."""
    most = None if bounds.memory_bytes is None else bounds.memory_bytes + _OWN_MEMORY + more
    return msgspec.structs.replace(bounds, memory_bytes=most, pids=256)


def view(spec: SandboxSpec) -> list[str]:
    """The files of this machine that it sees, as bwrap's arguments."""
    return [*mounts.system(), *mounts.folders(spec.workspace, spec.reads, spec.hidden)]


def check_workspace(spec: SandboxSpec) -> None:
    """Blocks. Raises `SandboxError`."""
    if not spec.workspace.is_dir():
        raise SandboxError(f"the workspace {spec.workspace} is no folder")
