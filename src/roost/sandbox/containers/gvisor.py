"""Level 1 by gVisor: a kernel in a process (`runsc`) separates the commands from this machine's kernel.

It can write the memory of everything that runs in it to files and restore it, without any hardware support: a suspended
sandbox is a folder, and its shells, background jobs and terminals exist again after it is resumed.

Runs with Debian 12's version (December 2022), whose kernel refuses a flag of `statx` that newer programs use, `ls -l`
and `stat` among them; the project's own releases know it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from roost.errors import SandboxError
from roost.sandbox import mounts
from roost.sandbox.backend import Capabilities, Probe, SandboxSpec, Usage
from roost.sandbox.base import User
from roost.sandbox.cgroups import OwnGroups
from roost.sandbox.containers.bundle import Bundle, view
from roost.sandbox.egress_dialler import Dialling
from roost.sandbox.guest.link import Link
from roost.sandbox.guest.relay import OVER_THE_LINK
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
from roost.sandbox.suspended_image import Image, Keeping, KeptGuest, take

_START = 30.0
_OWN_THREADS = 4096
"""Threads of runsc itself, which this machine's kernel counts too: with fewer, runsc dies instead of the command."""
_SYSTRAP = 20230501
"""Versions from then on have the platform systrap, which is faster than ptrace."""
_FIX = "install gVisor: apt-get install runsc, or the release at gvisor.dev"
_FIX_ROOT = "run the daemon as root: runsc needs it to confine itself"
_FINE = "grep -q '^CapEff:.0000000000000000$' /proc/self/status && ! test -e /etc/shadow && echo fine"


class GvisorBackend:
    """Sandboxes by gVisor. `program`: path of runsc; by default the one on PATH."""

    name = "gvisor"
    level = 1

    def __init__(self, program: str | None = None, *, egress: MakeEgress = plain_egress) -> None:
        self.program = program
        self._egress = egress
        self._groups = OwnGroups()

    async def probe(self) -> Probe:
        program = self._find()
        if program is None:
            return unable(self, "there is no runsc on PATH", _FIX)
        if os.geteuid() != 0:
            return unable(self, "runsc does not run for an ordinary user", _FIX_ROOT)
        version = await asyncio.to_thread(version_of, program)
        return await tried(self, version, script=_FINE, fix=_FIX, seconds=_START, program=program)

    async def create(self, spec: SandboxSpec) -> GvisorGuest:
        """Create a sandbox. Raises `SandboxError`. On cancellation, ends the half-made sandbox before it raises."""
        return await made_whole(self._begin(spec, None))

    async def resume(self, spec: SandboxSpec, image: Path) -> GvisorGuest:
        """Restore a suspended sandbox. Raises `SandboxError` when there is no image, or one of another version or
        workspace. The image is removed in any case, also on cancellation."""
        return await made_whole(self._resume(spec, image))

    async def _resume(self, spec: SandboxSpec, image: Path) -> GvisorGuest:
        kept = await asyncio.to_thread(take, image)
        try:
            return await self._begin(spec, kept)
        finally:
            await asyncio.to_thread(kept.remove)

    async def reap(self, marker: str) -> int:
        killed = await asyncio.to_thread(reap_orphans, marker)
        program = self._find()
        delete = partial(_delete, program) if program is not None else None
        killed += await asyncio.to_thread(remove_left, self.name, marker, delete)
        return killed + await self._groups.reap(marker)

    async def _begin(self, spec: SandboxSpec, image: Image | None) -> GvisorGuest:
        program = self._find()
        if program is None:
            raise SandboxError(f"there is no runsc on this machine: {_FIX}")
        spec = await asyncio.to_thread(mounts.settled_spec, spec)
        version = await asyncio.to_thread(version_of, program)
        if image is not None:
            image.check(_written_by(version, spec.user), spec.workspace)
        body = SandboxHost(spec, "gvisor", lambda folder, dead: None if dead else _delete(program, folder))
        return await made_or_ended(body, self._make(body, _Box(program, version, body), image))

    async def _make(self, body: SandboxHost, box: _Box, image: Image | None) -> GvisorGuest:
        spec = body.spec
        bounds = msgspec.structs.replace(spec.bounds, pids=_OWN_THREADS + (spec.bounds.pids or 0))
        await body.prepare(await self._groups.get(), self._egress, bounds)
        await asyncio.to_thread(box.write)
        link = await body.launch(box.run(image), Link(image.last if image is not None else 0))
        if body.door is not None:
            body.dialling = Dialling(link, body.door)
        guest = GvisorGuest(box, link)
        if image is not None:
            guest.take_up(image.kept)  # before the guest sends anything
            link.wake()
        await body.greet(_START)
        return guest

    def _find(self) -> str | None:
        return self.program or shutil.which("runsc")


class GvisorGuest(KeptGuest):
    def __init__(self, box: _Box, link: Link) -> None:
        body = box.body
        keeping = Keeping(_written_by(box.version, body.spec.user), body.spec.workspace, box.checkpoint, _START)
        super().__init__(1, _capabilities(body), link, body, manner(body), keeping)
        self._box = box

    async def usage(self) -> Usage:
        """Return the usage. This machine counts runsc's threads, so the processes inside are asked for."""
        used = await super().usage()
        return msgspec.structs.replace(used, pids=max(0, len(await self._box.processes()) - 1))


class _Box:
    """The commands of runsc for one sandbox."""

    def __init__(self, program: str, version: str, body: SandboxHost) -> None:
        self._program, self.version, self.body = program, version, body

    def write(self) -> None:
        """Write the bundle. Blocks."""
        body, spec, bounds = self.body, self.body.spec, self.body.spec.bounds
        disk = scratch_bytes(bounds)
        Bundle(
            body.folder,
            agent_argv(body, relay=OVER_THE_LINK),
            view(spec, body, sockets=False),
            msgspec.structs.replace(bounds, disk_bytes=disk, pids=None if bounds.pids is None else bounds.pids + 1),
            user=0 if spec.user is None else spec.user.uid,
            user_group=None if spec.user is None else spec.user.gid,
            mapped=False,
            gvisor=True,
            network=not spec.network.open,
        ).write()

    def run(self, image: Image | None) -> Sequence[str]:
        dates = re.findall(r"20\d{6}", self.version)
        platform = "systrap" if dates and int(dates[0]) >= _SYSTRAP else "ptrace"
        flags = [f"--platform={platform}", "--ignore-cgroups", "--overlay2=none", "--host-uds=none", "--oci-seccomp"]
        flags.append("--network=host" if self.body.spec.network.open else "--network=none")
        what = ["run"] if image is None else ["restore", f"--image-path={image.folder}"]
        return [
            *_command(self._program, self.body.folder),
            *flags,
            *what,
            f"--bundle={self.body.folder}",
            self.body.folder.name,
        ]

    async def checkpoint(self, folder: Path) -> None:
        """Write the memory into the folder, which ends the sandbox. Raises `SandboxError`."""
        code, said = await self._ask("checkpoint", f"--image-path={folder}")
        if code != 0:
            raise SandboxError(f"runsc cannot write the sandbox out: {said[-300:].decode('utf-8', 'replace')}")

    async def processes(self) -> Sequence[int]:
        """Return the process numbers inside; none once it has ended."""
        code, said = await self._ask("ps", "--format=json")
        try:
            return msgspec.json.decode(said, type=list[int]) if code == 0 else []
        except msgspec.MsgspecError:
            return []

    async def _ask(self, what: str, *how: str) -> tuple[int | None, bytes]:
        process = await asyncio.create_subprocess_exec(
            *_command(self._program, self.body.folder),
            what,
            *how,
            self.body.folder.name,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            said, _ = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        return process.returncode, said


def _written_by(version: str, user: User | None) -> str:
    """Return the version that an image must match. It includes the user: its processes run as the workspace's owner."""
    return version if user is None else f"{version}, as user {user.uid}"


def _capabilities(body: SandboxHost) -> Capabilities:
    able = capabilities(body.group, body.spec)
    return msgspec.structs.replace(able, pids="kernel", suspends="memory")


def _command(program: str, folder: Path) -> list[str]:
    return [program, f"--root={folder / 'state'}"]


def _delete(program: str, folder: Path) -> None:
    if (folder / "state").is_dir():
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            command = [*_command(program, folder), "delete", "--force", folder.name]
            subprocess.run(command, capture_output=True, check=False, timeout=10)
