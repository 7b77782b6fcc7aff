"""Level 1 by an OCI runtime: crun, else runc. No daemon and no image.

The runtime makes the container; its first process is the agent (`guest/agent.py`), with a socket as its standard input.
One control group of ours limits the whole sandbox, the same for both runtimes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from roost.errors import SandboxError
from roost.sandbox import mounts
from roost.sandbox.backend import Probe, SandboxSpec
from roost.sandbox.cgroups import OwnGroups
from roost.sandbox.containers.bundle import Bundle, view
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
_FIX = "install crun or runc: apt-get install crun"
_ENCLOSED = (
    "grep -q '^CapEff:.0000000000000000$' /proc/self/status && grep -q '^NoNewPrivs:.1$' /proc/self/status"
    " && grep -q '^Seccomp:.2$' /proc/self/status && ! test -e /etc/shadow"
    " && ! (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && ! unshare -U true 2>/dev/null && echo fine"
)
_UNIFIED = Path("/sys/fs/cgroup/unified")
_HIDE = f'mount -t tmpfs none {_UNIFIED} && exec "$@"'


class OciBackend:
    """Sandboxes by an OCI runtime. `program`: its path; by default crun, else runc, whichever is on PATH."""

    name = "oci"
    level = 1

    def __init__(self, program: str | None = None, *, egress: MakeEgress = plain_egress) -> None:
        self.program = program
        self._egress = egress
        self._groups = OwnGroups()

    async def probe(self) -> Probe:
        program = self._find()
        if program is None:
            return unable(self, "there is no OCI runtime on PATH", _FIX)
        version = await asyncio.to_thread(version_of, program)
        return await tried(self, version, script=_ENCLOSED, fix=_FIX, program=program)

    async def create(self, spec: SandboxSpec) -> LinkedGuest:
        """Create a sandbox. Raises `SandboxError`. On cancellation, ends the half-made sandbox before it raises."""
        return await made_whole(self._create(spec))

    async def _create(self, spec: SandboxSpec) -> LinkedGuest:
        program = self._find()
        if program is None:
            raise SandboxError(f"there is no OCI runtime on this machine: {_FIX}")
        spec = await asyncio.to_thread(mounts.settled_spec, spec)
        runtime = _Runtime(program)
        body = SandboxHost(spec, "oci", runtime.delete)
        return await made_or_ended(body, self._make(spec, body, runtime))

    async def _make(self, spec: SandboxSpec, body: SandboxHost, runtime: _Runtime) -> LinkedGuest:
        await body.prepare(await self._groups.get(), self._egress)
        bundle = Bundle(
            body.folder,
            agent_argv(body, filtered=True),
            view(spec, body),
            msgspec.structs.replace(spec.bounds, disk_bytes=scratch_bytes(spec.bounds)),
            user=spec.user.uid if spec.user is not None else 1000 if runtime.is_crun else 0,
            user_group=None if spec.user is None else spec.user.gid,
            mapped=spec.user is None,
            outside=0 if runtime.enters else os.geteuid(),
            network=not spec.network.open,
            group=None if runtime.is_crun else f"/{body.folder.name}",
        )
        body.joins = runtime.is_crun
        await asyncio.to_thread(bundle.write)
        await body.launch(runtime.run(body.folder))
        link = await body.greet(_START)
        detached = await asyncio.to_thread(runtime.join, body)
        if body.group is None and body.process is not None:
            body.watchdog = Watchdog(detached or body.process.pid, spec.bounds, spared=1 if detached else 2)
        return LinkedGuest(1, capabilities(body.group, spec), link, body, manner(body))

    async def resume(self, spec: SandboxSpec, image: Path) -> LinkedGuest:
        """Create a new sandbox: nothing outlives a suspension here."""
        return await self.create(spec)

    async def reap(self, marker: str) -> int:
        killed = await asyncio.to_thread(reap_orphans, marker)
        program = self._find()
        delete = _Runtime(program).delete if program is not None else None
        killed += await asyncio.to_thread(remove_left, self.name, marker, delete)
        return killed + await self._groups.reap(marker)

    def _find(self) -> str | None:
        return self.program or shutil.which("crun") or shutil.which("runc")


class _Runtime:
    """The commands of one runtime. All methods block."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.is_crun = "crun" in Path(os.path.realpath(program)).name
        self._hidden = self.is_crun and _UNIFIED.is_mount()
        self.enters = self._hidden and os.geteuid() != 0
        """True when the runtime runs in a user namespace in which the daemon's user is root."""

    def run(self, folder: Path) -> Sequence[str]:
        what = [*self._command(folder), "run", "--bundle", str(folder), "box"]
        if not self.is_crun:  # in the foreground it would replace the socket by a pipe
            what[-1:] = ["--detach", "--pid-file", str(folder / "pid"), "box"]
        return what

    def join(self, body: SandboxHost) -> int | None:
        """Move the agent into our control group before it starts anything: runc puts it into a group of its own.
        Returns the agent's process number where it is no child of the runtime's process, else None."""
        if self.is_crun:
            return None
        pid = (body.folder / "pid").read_text()
        for door in body.group.doors if body.group is not None else ():
            Path(door).write_text(pid)
        return int(pid)

    def delete(self, folder: Path, dead: bool = False) -> None:
        """Delete the container. crun's state is in the folder alone; runc also has control groups."""
        if not (dead and self.is_crun) and (folder / "state").is_dir():
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                subprocess.run(
                    [*self._command(folder), "delete", "--force", "box"], capture_output=True, check=False, timeout=10
                )

    def _command(self, folder: Path) -> list[str]:
        flags = ["--cgroup-manager=disabled"] if self.is_crun else []
        return [*self._around(), self.program, "--root", str(folder / "state"), *flags]

    def _around(self) -> list[str]:
        """Hide the version 2 hierarchy: crun refuses one with a controller beside version 1, whatever its options."""
        if not self._hidden:
            return []
        who = ["--user", "--map-root-user"] if self.enters else []
        return ["unshare", *who, "--mount", "--propagation", "private", "sh", "-c", _HIDE, "sh"]
