"""Level 2 by Firecracker: a virtual machine on KVM, with a kernel of this machine and the agent inside.

As root, Firecracker is started by its jailer: it runs as an unused user, and sees nothing of this machine but
`/dev/kvm`. The machine has one device, a vsock, for all of its traffic: its files (`file_export.py`) and egress too. A
suspended machine is its memory in a file, with the state of its file server; a second suspension writes only new pages.

There is no emulation: where KVM does not really work (`kvm.py`), neither does this backend.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from roost.errors import SandboxError
from roost.machines import kvm
from roost.machines.boot_image import Kernel, Missing, find_kernel
from roost.machines.firecracker.inside import MODULES, START, Box
from roost.machines.firecracker.jail import find_jailer
from roost.machines.firecracker.vmm import Vmm
from roost.machines.guest import ENCLOSED, MachineGuest, outer_bounds
from roost.sandbox import mounts
from roost.sandbox.backend import Probe, SandboxSpec
from roost.sandbox.cgroups import OwnGroups
from roost.sandbox.probe import tried, unable, version_of
from roost.sandbox.process_marks import reap_orphans
from roost.sandbox.sandbox_host import MakeEgress, SandboxHost, made_whole, plain_egress, remove_left
from roost.sandbox.suspended_image import Image, take

_OUTSIDE = 128 * 1024**2
"""Memory of Firecracker and the file server."""
_FIX = "install Firecracker: the release at github.com/firecracker-microvm/firecracker, with its jailer beside it"


class FirecrackerBackend:
    """Machines by Firecracker. `program`: its path, by default on PATH. `jailer`: its jailer's, by default beside it.
    `image`: folder with `boot` and `lib/modules` to take the kernel from, by default this machine's."""

    name = "firecracker"
    level = 2

    def __init__(
        self,
        program: str | None = None,
        *,
        jailer: str | None = None,
        image: Path = Path("/"),
        egress: MakeEgress = plain_egress,
    ) -> None:
        self.program, self.jailer = program, jailer
        self._image, self._egress = image, egress
        self._groups = OwnGroups()

    async def probe(self) -> Probe:
        """Probe KVM first, since nothing can be installed for it; then the programs and the kernel."""
        if (why := await asyncio.to_thread(kvm.trouble)) is not None:
            return unable(self, why, kvm.FIX)
        try:
            program, jailer = self._find()
            kernel = await asyncio.to_thread(find_kernel, self._image, MODULES)
        except Missing as error:
            return unable(self, str(error), error.fix)
        version = f"{await self._version(program, kernel)}, {'jailed' if jailer else 'not jailed'}"
        return await tried(self, version, script=ENCLOSED, fix=_FIX, seconds=START, program=program)

    async def create(self, spec: SandboxSpec) -> MachineGuest:
        """Create a machine. Raises `SandboxError`. On cancellation, ends the half-made machine before it raises."""
        return await made_whole(self._begin(spec, None))

    async def resume(self, spec: SandboxSpec, image: Path) -> MachineGuest:
        """Resume a suspended machine. Raises `SandboxError` when there is no image, or one of another version or
        workspace. The image is removed in any case, also on cancellation."""
        return await made_whole(self._resume(spec, image))

    async def _resume(self, spec: SandboxSpec, image: Path) -> MachineGuest:
        kept = await asyncio.to_thread(take, image)
        try:
            return await self._begin(spec, kept)
        finally:
            await asyncio.to_thread(kept.remove)

    async def _begin(self, spec: SandboxSpec, image: Image | None) -> MachineGuest:
        if spec.network.open:
            raise SandboxError("a machine of Firecracker has no open network; name hosts in the agent's isolation")
        try:
            program, jailer = self._find()
            kernel = await asyncio.to_thread(find_kernel, self._image, MODULES)
        except Missing as error:
            raise SandboxError(f"cannot make a machine: {error}: {error.fix}") from error
        spec, version = await asyncio.to_thread(mounts.settled_spec, spec), await self._version(program, kernel)
        if image is not None:
            image.check(version, spec.workspace)
        box = Box(SandboxHost(spec, "firecracker"), lambda body: Vmm(body, program, jailer))
        try:
            return await self._make(box, kernel, version, image)
        except (OSError, Missing) as error:
            await box.end()
            raise SandboxError(f"cannot make a machine: {error}") from error
        except BaseException:
            await box.end()
            raise

    async def _make(self, box: Box, kernel: Kernel, version: str, image: Image | None) -> MachineGuest:
        outer = outer_bounds(box.body.spec.bounds, _OUTSIDE)
        await box.body.prepare(await self._groups.get(), self._egress, outer)
        link = await box.launch(kernel, image)
        guest = MachineGuest(box, link, version, START)
        if image is not None:
            guest.take_up(image.kept)  # before the guest sends anything
            box.wake(link)
        await box.body.greet(START)
        return guest

    async def reap(self, marker: str) -> int:
        killed = await asyncio.to_thread(reap_orphans, marker)
        killed += await self._groups.reap(marker)
        return killed + await asyncio.to_thread(remove_left, self.name, marker)

    def _find(self) -> tuple[str, str | None]:
        """Return the paths of Firecracker, and of its jailer for root. Raises `Missing`."""
        program = self.program or shutil.which("firecracker")
        if program is None or not os.access(program, os.X_OK):
            raise Missing(f"there is no {program or 'firecracker on PATH'}", _FIX)
        if os.geteuid() != 0:
            return program, None
        if (jailer := self.jailer or find_jailer(program)) is None:
            raise Missing("there is no jailer beside Firecracker, which root needs", _FIX)
        return program, jailer

    async def _version(self, program: str, kernel: Kernel) -> str:
        return f"{await asyncio.to_thread(version_of, program)}, {kernel.image.name}"
