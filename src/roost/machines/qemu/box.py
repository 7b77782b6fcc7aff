"""The host side of a QEMU machine: QEMU in a namespace of its own, the file server, egress."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from roost.machines import file_export
from roost.machines.boot_image import LINK, Inside, Kernel, memory_disk
from roost.machines.file_export import ServedView
from roost.machines.guest import check_workspace, memory_mib, processors, view
from roost.machines.qemu.qmp import Monitor
from roost.sandbox import mounts
from roost.sandbox.backend import Usage
from roost.sandbox.containers.bwrap import find_bwrap
from roost.sandbox.egress_dialler import Dialling
from roost.sandbox.guest.link import Link
from roost.sandbox.sandbox_host import SandboxHost, scratch_bytes
from roost.sandbox.suspended_image import Image

_MEMORY, _FILES = "memory", "files"
_MACHINE = "microvm,acpi=on,pit=on,pic=on,rtc=on,isa-serial=on,x-option-roms=off"
_BOOT = (
    "console=ttyS0 quiet panic=-1 rdinit=/init random.trust_cpu=on cgroup_no_v1=all mitigations=off cryptomgr.notests"
    " nokaslr no_timer_check tsc=reliable"
)
"""Without `pit`, `pic`, `rtc` and the clock's frequency an emulated kernel hangs when it measures its clock."""


class Box:
    """QEMU, the file server, and the connections to both."""

    def __init__(self, body: SandboxHost, program: str, *, accelerated: bool) -> None:
        self.body = body
        self._program, self._accelerated = program, accelerated
        self._view: ServedView | None = None
        self._monitor: Monitor | None = None
        self._clock: socket.socket | None = None
        self._ending: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._dialling: Dialling | None = None

    async def launch(self, kernel: Kernel, image: Image | None) -> Link:
        """Start the machine, or restore it. Raises `OSError`, `SandboxError`."""
        kept = await _read(image, _FILES)
        served_view = self._view = await file_export.start(self.body, view(self.body.spec), kept)
        monitor, to_monitor = socket.socketpair()
        self._clock, to_clock = socket.socketpair()
        self._monitor = Monitor(monitor)
        with to_monitor, to_clock, contextlib.ExitStack() as files:
            fds = [end.fileno() for end in (served_view.root, served_view.workspace, to_clock, to_monitor)]
            argv = _arguments(self._program, self.body, kernel, fds[:3], accelerated=self._accelerated)
            argv += ["-chardev", f"socket,id=monitor,fd={fds[3]}", "-mon", "chardev=monitor,mode=control"]
            if image is not None:
                memory = files.enter_context((image.folder / _MEMORY).open("rb")).fileno()
                argv += ["-incoming", f"fd:{memory}"]
                fds.append(memory)
            link = await self.body.launch(argv, Link(image.last if image is not None else 0), fds=fds)
        self._watching = asyncio.create_task(self._watch(served_view, link))
        self._dialling = None if self.body.door is None else Dialling(link, self.body.door)
        return link

    async def _watch(self, files: ServedView, link: Link) -> None:
        """Close the link when the file server ends: the machine would wait for its files forever."""
        await files.ended()
        link.close("the server of its files has ended")

    async def wake(self, link: Link) -> None:
        """Resume a restored machine. Raises `SandboxError`."""
        assert self._monitor is not None
        assert self._clock is not None
        await asyncio.to_thread(self._monitor.go_on)
        self._clock.send(b"%d\n" % time.time())
        link.wake()

    async def write_out(self, folder: Path) -> None:
        """Write the machine into the folder, and end it. Raises `SandboxError`, `OSError`."""
        assert self._monitor is not None
        assert self._view is not None
        assert self.body.process is not None
        await asyncio.to_thread(self._monitor.ask, "stop")
        await self._view.hold()
        await asyncio.to_thread(self._monitor.write_out, folder / _MEMORY)
        self.body.process.kill()
        await self.body.process.wait()
        kept = await self._view.kept()
        await asyncio.to_thread((folder / _FILES).write_bytes, kept)

    def hits(self) -> Mapping[str, int]:
        return self.body.hits()

    async def usage(self) -> Usage:
        return await self.body.usage()

    async def end(self) -> None:
        """End the machine once, completely, even when a caller is cancelled."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        if self._dialling is not None:
            await self._dialling.close()
        await self.body.end()
        if self._view is not None:
            await self._view.close()
        if self._clock is not None:
            self._clock.close()
        if self._monitor is not None:
            await asyncio.to_thread(self._monitor.close)  # waits until QEMU's end is gone


async def _read(image: Image | None, name: str) -> bytes | None:
    return None if image is None else await asyncio.to_thread((image.folder / name).read_bytes)


def write_disk(body: SandboxHost, kernel: Kernel) -> None:
    """Write the initial memory disk. Blocks. Raises `SandboxError`, `OSError`."""
    spec = body.spec
    check_workspace(spec)
    pids, hosts = spec.bounds.pids or 4096, spec.proxied
    inside = Inside(view(spec), spec.workspace, pids, scratch_bytes(spec.bounds), hosts=hosts)
    (body.folder / "disk").write_bytes(memory_disk(kernel, inside))


def _jail(program: str, body: SandboxHost, kernel: Kernel, *, accelerated: bool) -> list[str]:
    """Return the arguments of QEMU's namespace: it sees programs, its kernel, its folder and KVM, and no other file."""
    args = [find_bwrap() or "bwrap", "--unshare-all", "--unshare-user", "--uid", "1000", "--gid", "1000"]
    args += ["--cap-drop", "ALL", "--disable-userns", "--die-with-parent", "--as-pid-1", *mounts.system()]
    args += ["--dev-bind", "/dev/kvm", "/dev/kvm"] if accelerated else []
    for place in (Path(program).resolve().parents[1], kernel.image):
        if Path("/usr") not in (place, *place.parents):
            args += ["--ro-bind", str(place), str(place)]
    return [*args, "--bind", str(body.folder), str(body.folder), "--remount-ro", "/", "--chdir", "/", "--"]


def _arguments(
    program: str, body: SandboxHost, kernel: Kernel, ports: Sequence[int], *, accelerated: bool
) -> list[str]:
    bounds = body.spec.bounds
    args = [
        *_jail(program, body, kernel, accelerated=accelerated),
        program,
        "-M",
        _MACHINE,
        "-m",
        str(memory_mib(bounds)),
        "-smp",
        str(processors(bounds)),
    ]
    args += ["-accel", "kvm", "-cpu", "host"] if accelerated else ["-accel", "tcg,thread=single", "-cpu", "max"]
    args += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"]
    args += ["-serial", f"file:{body.folder / 'console'}", "-kernel", str(kernel.image)]
    clock = "" if accelerated else f" tsc_early_khz={_clock_khz()}"
    args += ["-initrd", str(body.folder / "disk"), "-append", f"{_BOOT}{clock}"]
    args += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    args += ["-device", "virtio-serial-device"]
    for number, fd in enumerate([0, *ports], LINK):
        args += ["-chardev", f"socket,id=port{number},fd={fd}"]
        args += ["-device", f"virtserialport,chardev=port{number},nr={number}"]
    return args


def last_words(body: SandboxHost) -> str:
    """Return the end of the console's output. Blocks."""
    try:
        return (body.folder / "console").read_bytes()[-1000:].decode("utf-8", "replace").strip() or "none"
    except OSError:
        return "none"


def _clock_khz() -> int:
    found = re.search(r"^cpu MHz\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return int(float(found[1]) * 1000) if found else 2_000_000
