"""A Linux machine in Firecracker: its boot, and its streams (`boot_image.py` numbers them), one vsock port each."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol

from roost.errors import SandboxError
from roost.machines import file_export
from roost.machines.boot_image import CLOCK, LINK, ROOT, WORKSPACE, Inside, Kernel, memory_disk
from roost.machines.file_export import ServedView
from roost.machines.firecracker.kernel import unpacked
from roost.machines.firecracker.stream import PROGRAM, Stream
from roost.machines.firecracker.vmm import VSOCK
from roost.machines.guest import check_workspace, memory_mib, processors, view
from roost.sandbox.backend import Usage
from roost.sandbox.egress_dialler import Dialling
from roost.sandbox.guest.link import Link
from roost.sandbox.sandbox_host import SandboxHost, scratch_bytes
from roost.sandbox.suspended_image import Image

START = 30.0
MODULES = ("virtio_mmio", "vmw_vsock_virtio_transport")
_FILES = "files"
_OWN_PIDS = 2
"""Processes that carry the agent's link and the clock."""
_BOOT = (
    "console=ttyS0 quiet reboot=k panic=-1 pci=off rdinit=/init random.trust_cpu=on cgroup_no_v1=all mitigations=off"
    " cryptomgr.notests i8042.noaux i8042.nomux i8042.dumbkbd"
)
CARRIER = """
around=
carry() {
  number=$1; shift
  /bin/carry $number 3 $b sh -c 'exec "$@" 4<&3' sh "$@"
}
open() { around="$around /bin/carry $1 $2"; }
"""
"""A carrier as in `boot_image.py`. A stream opened as one descriptor exists for the last program alone."""


class Machine(Protocol):
    """The methods of a `Vmm` used here."""

    @property
    def root(self) -> Path: ...

    @property
    def words(self) -> str: ...

    async def spawn(self) -> str: ...

    async def boot(self, kernel: Path, words: str, disk: bytes, *, memory_mib: int, cpus: int) -> None: ...

    async def load(self, image: Path) -> None: ...

    async def write(self, image: Path) -> None: ...

    def close(self) -> None: ...


class Box:
    """The host side of a machine: Firecracker (made by `make`), its file server, and its streams. A body of a
    `LinkedGuest`. `carrier` and `programs` are as in `boot_image.py`; a stream must begin within `seconds`."""

    def __init__(
        self,
        body: SandboxHost,
        make: Callable[[SandboxHost], Machine],
        carrier: str = CARRIER,
        programs: Mapping[str, Path] = {"carry": PROGRAM},
        seconds: float = START,
    ) -> None:
        self.body = body
        self._make, self._carrier, self._programs, self._seconds = make, carrier, programs, seconds
        self._vmm: Machine | None = None
        self._view: ServedView | None = None
        self._streams: list[Stream] = []
        self._clock: socket.socket | None = None
        self._dialling: Dialling | None = None

    async def launch(self, kernel: Kernel, image: Image | None) -> Link:
        """Boot a machine, or resume one. The body must be prepared. Raises `SandboxError`, `OSError`."""
        spec = self.body.spec
        kept = None if image is None else await asyncio.to_thread((image.folder / _FILES).read_bytes)
        self._view = await file_export.start(self.body, view(spec), kept)
        vmm = self._vmm = self._make(self.body)
        await vmm.spawn()
        if image is not None:
            await vmm.load(image.folder)
        else:
            disk = await asyncio.to_thread(self._disk, kernel)
            memory, cpus = memory_mib(spec.bounds), processors(spec.bounds)
            elf = await asyncio.to_thread(unpacked, kernel.image)
            await vmm.boot(elf, _BOOT, disk, memory_mib=memory, cpus=cpus)
        link = self.body.link = Link(image.last if image is not None else 0)
        await self._while_it_runs(vmm, self._connect(vmm, self._view, link))
        self._dialling = None if self.body.door is None else Dialling(link, self.body.door)
        return link

    def _disk(self, kernel: Kernel) -> bytes:
        spec = self.body.spec
        check_workspace(spec)
        pids = (spec.bounds.pids or 4096) + _OWN_PIDS
        programs = {name: path.read_bytes() for name, path in self._programs.items()}
        inside = Inside(
            view(spec),
            spec.workspace,
            pids,
            scratch_bytes(spec.bounds),
            self._carrier,
            programs,
            hosts=spec.proxied,
        )
        return memory_disk(kernel, inside)

    async def _connect(self, vmm: Machine, view: ServedView, link: Link) -> None:
        ours, end = socket.socketpair()
        self._clock, tick = socket.socketpair()
        ends = {ROOT: view.root, WORKSPACE: view.workspace, LINK: end, CLOCK: tick}
        self._streams = [Stream(vmm.root / VSOCK, port, each) for port, each in ends.items()]
        try:
            await asyncio.get_running_loop().create_connection(lambda: link, sock=ours)
        except BaseException:
            ours.close()
            raise
        for stream in self._streams:  # in the order in which the machine opens them
            await stream.start(self._seconds)

    async def _while_it_runs(self, vmm: Machine, work: Coroutine[Any, Any, None]) -> None:
        assert self.body.process is not None
        task, ended = asyncio.ensure_future(work), asyncio.ensure_future(self.body.process.wait())
        try:
            await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise SandboxError(f"the machine has ended; its last words: {vmm.words}")
            try:
                await task
            except SandboxError as error:
                raise SandboxError(f"{error}; its last words: {vmm.words}") from error
        finally:
            for each in (task, ended):
                each.cancel()
            await asyncio.gather(task, ended, return_exceptions=True)

    def wake(self, link: Link) -> None:
        assert self._clock is not None
        self._clock.send(b"%d\n" % time.time())
        link.wake()

    async def write_out(self, folder: Path) -> None:
        """Write the machine into the folder, and end it. Nothing is in flight between the machine and its files then:
        each request is with the server or still in the machine's memory. Raises `SandboxError`, `OSError`."""
        assert self._view is not None
        assert self._vmm is not None
        for stream in self._streams:
            await stream.hush()
        await self._view.hold()
        for stream in self._streams:
            await stream.settle()
        await self._vmm.write(folder)
        kept = await self._view.kept()
        await asyncio.to_thread((folder / _FILES).write_bytes, kept)

    def hits(self) -> Mapping[str, int]:
        return self.body.hits()

    async def usage(self) -> Usage:
        return await self.body.usage()

    async def end(self) -> None:
        if self._dialling is not None:
            await self._dialling.close()
        for stream in self._streams:
            await stream.close()
        if self._vmm is not None:
            self._vmm.close()
        await self.body.end()
        if self._view is not None:
            await self._view.close()
        if self._clock is not None:
            self._clock.close()
