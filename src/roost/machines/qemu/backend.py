"""Level 2 by QEMU: a virtual machine (`microvm`), with a kernel of this machine and the agent inside.

With KVM where that really works (`kvm.py`). Emulated in software only on request: it takes seconds to start, and
commands run some ten times slower. The machine's only network is egress over the agent's link. Of this machine's files
it sees those that `file_export.py` serves, over ports of virtio-serial; QEMU itself runs in a namespace without them. A
suspended machine is its memory in a file, with the state of its file server.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from roost.errors import SandboxError
from roost.machines import kvm
from roost.machines.boot_image import Kernel, Missing, find_kernel
from roost.machines.guest import ENCLOSED, MachineGuest, outer_bounds
from roost.machines.qemu.box import Box, last_words, write_disk
from roost.sandbox import mounts
from roost.sandbox.backend import Probe, SandboxSpec
from roost.sandbox.cgroups import OwnGroups
from roost.sandbox.guest.link import Link
from roost.sandbox.probe import tried, unable, version_of
from roost.sandbox.process_marks import reap_orphans
from roost.sandbox.sandbox_host import MakeEgress, SandboxHost, made_whole, plain_egress, remove_left
from roost.sandbox.suspended_image import Image, take

_START = 60.0
_OUTSIDE = 512 * 1024**2
"""Memory of QEMU itself, most of it for translated code where there is no KVM."""
_FIX = "apt-get install qemu-system-x86"


class QemuBackend:
    """Machines by QEMU. `emulate`: in software, even with KVM. `image`: folder with `boot` and `lib/modules` to take
    the kernel from, by default this machine's. `egress` makes the egress of a machine that may reach hosts."""

    name = "qemu"
    level = 2

    def __init__(
        self,
        program: str | None = None,
        *,
        emulate: bool = False,
        image: Path = Path("/"),
        egress: MakeEgress = plain_egress,
    ) -> None:
        self.program = program
        self._egress = egress
        self._emulate, self._image = emulate, image
        self._groups = OwnGroups()

    async def probe(self) -> Probe:
        program = self._find()
        if program is None:
            return unable(self, "there is no qemu-system-x86_64 on PATH", _FIX)
        why = None if self._emulate else await asyncio.to_thread(kvm.trouble)
        if why is not None:
            return unable(self, why, kvm.FIX)
        try:
            kernel = await asyncio.to_thread(find_kernel, self._image)
        except Missing as error:
            return unable(self, str(error), error.fix)
        return await tried(
            self, await self._version(program, kernel), script=ENCLOSED, fix=_FIX, seconds=_START, program=program
        )

    async def create(self, spec: SandboxSpec) -> QemuGuest:
        """Create a machine. Raises `SandboxError`."""
        return await self._begin(spec, None)

    async def resume(self, spec: SandboxSpec, image: Path) -> QemuGuest:
        """Resume a suspended machine. Raises `SandboxError` when there is no image, or one of another version or
        workspace. The image is removed in any case."""
        kept = await asyncio.to_thread(take, image)
        try:
            return await self._begin(spec, kept)
        finally:
            await asyncio.to_thread(kept.remove)

    async def _begin(self, spec: SandboxSpec, image: Image | None) -> QemuGuest:
        """Start a guest. On cancellation, ends the half-made machine before it raises."""
        guest = await made_whole(self._launched(spec, image))
        try:
            await guest.greet(image)
        except BaseException:
            await guest.close()
            raise
        return guest

    async def _launched(self, spec: SandboxSpec, image: Image | None) -> QemuGuest:
        program = self._find()
        if program is None:
            raise SandboxError(f"there is no QEMU on this machine: {_FIX}")
        if spec.network.open:
            raise SandboxError("a machine of QEMU has no open network; name hosts in the agent's isolation")
        spec = await asyncio.to_thread(mounts.settled_spec, spec)
        box = Box(SandboxHost(spec, "qemu"), program, accelerated=not self._emulate)
        try:
            kernel = await asyncio.to_thread(find_kernel, self._image)
            version = await self._version(program, kernel)
            if image is not None:
                image.check(version, box.body.spec.workspace)
            await box.body.prepare(await self._groups.get(), self._egress, outer_bounds(box.body.spec.bounds, _OUTSIDE))
            await asyncio.to_thread(write_disk, box.body, kernel)
            return QemuGuest(box, await box.launch(kernel, image), version)
        except (OSError, ValueError, Missing) as error:
            await box.end()
            raise SandboxError(f"cannot make a machine: {error}") from error
        except BaseException:
            await box.end()
            raise

    async def reap(self, marker: str) -> int:
        killed = await asyncio.to_thread(reap_orphans, marker)
        killed += await self._groups.reap(marker)
        return killed + await asyncio.to_thread(remove_left, self.name, marker)

    async def _version(self, program: str, kernel: Kernel) -> str:
        how = "in software" if self._emulate else "with KVM"
        return f"{await asyncio.to_thread(version_of, program)} {how}, {kernel.image.name}"

    def _find(self) -> str | None:
        return self.program or shutil.which("qemu-system-x86_64")


class QemuGuest(MachineGuest):
    def __init__(self, box: Box, link: Link, version: str) -> None:
        super().__init__(box, link, version, _START)
        self._box = box

    async def greet(self, image: Image | None) -> None:
        """Wait for the guest's hello. `image`: the one that it was resumed from. Raises `SandboxError`."""
        try:
            if image is not None:
                self.take_up(image.kept)  # before the guest sends anything
                await self._box.wake(self._link)
            await self._box.body.greet(_START)
        except SandboxError as error:
            words = await asyncio.to_thread(last_words, self._box.body)
            raise SandboxError(f"{error}; its last words: {words}") from error
