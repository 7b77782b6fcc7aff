"""Level 2 by QEMU: a machine of its own (`microvm`), with a kernel of this machine and the agent inside.

With KVM where that really works (`kvm.py`). In software only when asked for: it takes seconds to start, and commands
run some ten times slower. The machine has no network but the way to hosts over the agent's link. It sees of this
machine's files what `served.py` serves, over ports of virtio-serial; QEMU itself is in a namespace that shows it none.
A suspended machine is its memory in a file, with what the server of its files had in hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from roost.errors import SandboxError
from roost.sandbox import mounts
from roost.sandbox.backend import Bounds, Capabilities, Probe, SandboxSpec, Usage
from roost.sandbox.body import Body, MakeEgress, made_whole, manner, plain_egress, remove_left, scratch_bytes
from roost.sandbox.cgroups import OwnGroups
from roost.sandbox.containers.bwrap import find_bwrap
from roost.sandbox.dialling import Dialling
from roost.sandbox.guest.link import Link
from roost.sandbox.image import Image, Keeping, KeptGuest, take
from roost.sandbox.machines import kvm, served
from roost.sandbox.machines.boot import LINK, Inside, Kernel, Missing, find_kernel, memory_disk
from roost.sandbox.machines.qemu.qmp import Monitor
from roost.sandbox.machines.served import ServedView
from roost.sandbox.marks import reap_orphans
from roost.sandbox.trial import tried, unable, version_of

_START = 60.0
_OWN_MEMORY = 128 * 1024**2
"""Of the machine's kernel, beside what commands may use."""
_MEMORY, _FILES = "memory", "files"
_OUTSIDE = 512 * 1024**2
"""Of QEMU itself, most of it for translated code where there is no KVM."""
_FIX = "apt-get install qemu-system-x86"
_FINE = "grep -q '^CapEff:.0000000000000000$' /proc/self/status && ! test -e /etc/shadow && echo fine"
_MACHINE = "microvm,acpi=on,pit=on,pic=on,rtc=on,isa-serial=on,x-option-roms=off"
_BOOT = (
    "console=ttyS0 quiet panic=-1 rdinit=/init random.trust_cpu=on cgroup_no_v1=all mitigations=off cryptomgr.notests"
    " nokaslr no_timer_check tsc=reliable"
)
"""Without `pit`, `pic`, `rtc` and the clock's frequency a kernel in software stops when it measures its clock."""


class QemuBackend:
    """`emulate`: in software, whether there is KVM or not. `image` is a folder with `boot` and `lib/modules` to take
    the kernel from, by default this machine's. `egress` makes the way out of a machine that may reach hosts."""

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
            self, await self._version(program, kernel), script=_FINE, fix=_FIX, seconds=_START, program=program
        )

    async def create(self, spec: SandboxSpec) -> QemuGuest:
        """Raises `SandboxError`."""
        return await self._begin(spec, None)

    async def resume(self, spec: SandboxSpec, image: Path) -> QemuGuest:
        """Raises `SandboxError` when there is no image, or one of another version or workspace; it is gone then."""
        kept = await asyncio.to_thread(take, image)
        try:
            return await self._begin(spec, kept)
        finally:
            await asyncio.to_thread(kept.remove)

    async def _begin(self, spec: SandboxSpec, image: Image | None) -> QemuGuest:
        """Cancelled, it ends what it has begun before it raises."""
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
        box = _Box(Body(mounts.settled_spec(spec), "qemu"), program, accelerated=not self._emulate)
        try:
            kernel = await asyncio.to_thread(find_kernel, self._image)
            version = await self._version(program, kernel)
            if image is not None:
                image.check(version, box.body.spec.workspace)
            await box.body.prepare(await self._groups.get(), self._egress, _outer(box.body.spec.bounds))
            await asyncio.to_thread(_write_disk, box.body, kernel)
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


class QemuGuest(KeptGuest):
    def __init__(self, box: _Box, link: Link, version: str) -> None:
        keeping = Keeping(version, box.body.spec.workspace, box.write_out, _START)
        super().__init__(2, _capabilities(box.body), link, box, manner(box.body), keeping)
        self._box = box

    async def greet(self, image: Image | None) -> None:
        """Wait until it has spoken. `image` is what it was begun with. Raises `SandboxError`."""
        try:
            if image is not None:
                self.take_up(image.kept)  # before it says a word
                await self._box.wake(self._link)
            await self._box.body.greet(_START)
        except SandboxError as error:
            words = await asyncio.to_thread(_last_words, self._box.body)
            raise SandboxError(f"{error}; its last words: {words}") from error

    async def usage(self) -> Usage:
        """Of the machine as a whole, as this one sees it; the processes in it are not counted."""
        return msgspec.structs.replace(await super().usage(), pids=0)


class _Box:
    """A machine from outside: QEMU, the server of its files, and what they are spoken to by."""

    def __init__(self, body: Body, program: str, *, accelerated: bool) -> None:
        self.body = body
        self._program, self._accelerated = program, accelerated
        self._view: ServedView | None = None
        self._monitor: Monitor | None = None
        self._clock: socket.socket | None = None
        self._ending: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._dialling: Dialling | None = None

    async def launch(self, kernel: Kernel, image: Image | None) -> Link:
        """Raises `OSError`, `SandboxError`."""
        view = self._view = await served.start(self.body, _view(self.body.spec), await _read(image, _FILES))
        monitor, to_monitor = socket.socketpair()
        self._clock, to_clock = socket.socketpair()
        self._monitor = Monitor(monitor)
        with to_monitor, to_clock, contextlib.ExitStack() as files:
            fds = [end.fileno() for end in (view.root, view.workspace, to_clock, to_monitor)]
            argv = _arguments(self._program, self.body, kernel, fds[:3], accelerated=self._accelerated)
            argv += ["-chardev", f"socket,id=monitor,fd={fds[3]}", "-mon", "chardev=monitor,mode=control"]
            if image is not None:
                memory = files.enter_context((image.folder / _MEMORY).open("rb")).fileno()
                argv += ["-incoming", f"fd:{memory}"]
                fds.append(memory)
            link = await self.body.launch(argv, Link(image.last if image is not None else 0), fds=fds)
        self._watching = asyncio.create_task(self._watch(view, link))
        self._dialling = None if self.body.door is None else Dialling(link, self.body.door)
        return link

    async def _watch(self, view: ServedView, link: Link) -> None:
        """Without its files a machine would wait for ever."""
        await view.ended()
        link.close("the server of its files has ended")

    async def wake(self, link: Link) -> None:
        """Raises `SandboxError`."""
        assert self._monitor is not None
        assert self._clock is not None
        await asyncio.to_thread(self._monitor.go_on)
        self._clock.send(b"%d\n" % time.time())
        link.wake()

    async def write_out(self, folder: Path) -> None:
        """Raises `SandboxError`, `OSError`."""
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
        """Whoever calls it, and is cancelled: it is done once, to its end."""
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


def _outer(bounds: Bounds) -> Bounds:
    """Of QEMU and the server of its files together."""
    most = None if bounds.memory_bytes is None else bounds.memory_bytes + _OWN_MEMORY + _OUTSIDE
    return msgspec.structs.replace(bounds, memory_bytes=most, pids=256)


def _capabilities(body: Body) -> Capabilities:
    cpus = "kernel" if body.group is not None else "none"
    return Capabilities(
        memory="kernel", cpus=cpus, pids="kernel", disk="kernel", network="hosts", suspends="memory", terminals=True
    )


async def _read(image: Image | None, name: str) -> bytes | None:
    return None if image is None else await asyncio.to_thread((image.folder / name).read_bytes)


def _view(spec: SandboxSpec) -> list[str]:
    return [*mounts.system(), *mounts.folders(spec.workspace, spec.reads, spec.hidden)]


def _write_disk(body: Body, kernel: Kernel) -> None:
    spec = body.spec
    if not spec.workspace.is_dir():
        raise SandboxError(f"the workspace {spec.workspace} is no folder")
    pids, hosts = spec.bounds.pids or 4096, bool(spec.network.hosts)
    inside = Inside(_view(spec), spec.workspace, pids, scratch_bytes(spec.bounds), hosts=hosts)
    (body.folder / "disk").write_bytes(memory_disk(kernel, inside))


def _jail(program: str, body: Body, kernel: Kernel, *, accelerated: bool) -> list[str]:
    """What QEMU itself is in: it sees programs, its kernel, its folder and KVM, of the daemon's other files none."""
    args = [find_bwrap() or "bwrap", "--unshare-all", "--unshare-user", "--uid", "1000", "--gid", "1000"]
    args += ["--cap-drop", "ALL", "--disable-userns", "--die-with-parent", "--as-pid-1", *mounts.system()]
    args += ["--dev-bind", "/dev/kvm", "/dev/kvm"] if accelerated else []
    for place in (Path(program).resolve().parents[1], kernel.image):
        if Path("/usr") not in (place, *place.parents):
            args += ["--ro-bind", str(place), str(place)]
    return [*args, "--bind", str(body.folder), str(body.folder), "--remount-ro", "/", "--chdir", "/", "--"]


def _arguments(program: str, body: Body, kernel: Kernel, ports: Sequence[int], *, accelerated: bool) -> list[str]:
    bounds = body.spec.bounds
    memory = ((bounds.memory_bytes or 2 * 1024**3) + _OWN_MEMORY) // 1024**2
    args = [
        *_jail(program, body, kernel, accelerated=accelerated),
        program,
        "-M",
        _MACHINE,
        "-m",
        str(memory),
        "-smp",
        str(max(1, math.ceil(bounds.cpus or 1))),
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


def _last_words(body: Body) -> str:
    try:
        return (body.folder / "console").read_bytes()[-1000:].decode("utf-8", "replace").strip() or "none"
    except OSError:
        return "none"


def _clock_khz() -> int:
    found = re.search(r"^cpu MHz\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return int(float(found[1]) * 1000) if found else 2_000_000
