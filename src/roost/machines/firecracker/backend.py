"""Level 2 by Firecracker: a machine of its own by KVM, with a kernel of this machine and the agent inside.

As root it is started by its jailer: it is nobody, and sees nothing of this machine but `/dev/kvm`. The machine has one
device, a vsock; over it comes all that goes in and out, its files too (`served.py`) and the way to hosts. A suspended
machine is its memory in a file, with what the server of its files had in hand; one that sleeps for the second time
writes only what is new.

There is no software in the place of KVM: where KVM does not really work (`kvm.py`), this backend does not.
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
from roost.sandbox.sandbox_host import Body, MakeEgress, made_whole, plain_egress, remove_left
from roost.sandbox.suspended_image import Image, take

_OUTSIDE = 128 * 1024**2
"""Of Firecracker and the server of files."""
_FIX = "install Firecracker: the release at github.com/firecracker-microvm/firecracker, with its jailer beside it"


class FirecrackerBackend:
    """`program` is Firecracker's path, by default on PATH; `jailer` its jailer's, by default beside it. `image` is a
    folder with `boot` and `lib/modules` to take the kernel from, by default this machine's."""

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
        """In this order: KVM, which nothing can be installed for, then what can."""
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
        """Raises `SandboxError`. Cancelled, it ends what it has begun before it raises."""
        return await made_whole(self._begin(spec, None))

    async def resume(self, spec: SandboxSpec, image: Path) -> MachineGuest:
        """Raises `SandboxError` when there is no image, or one of another version or workspace; it is gone then, and
        when this is cancelled."""
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
        box = Box(Body(spec, "firecracker"), lambda body: Vmm(body, program, jailer))
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
            guest.take_up(image.kept)  # before it says a word
            box.wake(link)
        await box.body.greet(START)
        return guest

    async def reap(self, marker: str) -> int:
        killed = await asyncio.to_thread(reap_orphans, marker)
        killed += await self._groups.reap(marker)
        return killed + await asyncio.to_thread(remove_left, self.name, marker)

    def _find(self) -> tuple[str, str | None]:
        """Firecracker, and its jailer for root. Raises `Missing`."""
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
