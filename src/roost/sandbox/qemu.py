"""Level 2 by QEMU: a machine of its own (`microvm`), with a kernel of this machine and the agent inside.

With KVM where that really works (`kvm.py`). In software only when asked for: it takes seconds to start, and commands
run some ten times slower. The machine has no network, and sees of this machine's files what QEMU shares by 9p.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from roost.errors import SandboxError
from roost.sandbox import kvm, mounts
from roost.sandbox.backend import Capabilities, Probe, SandboxSpec, Usage
from roost.sandbox.body import Body, left, manner, plain_egress, scratch_bytes
from roost.sandbox.cgroups import Groups, find_groups
from roost.sandbox.guest.guest import LinkedGuest
from roost.sandbox.machine import Kernel, Missing, Share, find_kernel, memory_disk
from roost.sandbox.marks import reap_orphans
from roost.sandbox.oci import settled_spec, version_of
from roost.sandbox.trial import tried, unable

_START = 60.0
_OWN_MEMORY = 128 * 1024**2
"""Of the machine's kernel, beside what commands may use."""
_OUTSIDE = 512 * 1024**2
"""Of QEMU itself, most of it for translated code where there is no KVM."""
_FIX = "apt-get install qemu-system-x86"
_FIX_KVM = (
    "use a machine with hardware virtualization (nested, if it is virtual itself), and let the daemon use /dev/kvm"
)
_FINE = "grep -q '^CapEff:.0000000000000000$' /proc/self/status && ! test -e /etc/shadow && echo fine"
_MACHINE = "microvm,acpi=on,pit=on,pic=on,rtc=on,isa-serial=on,x-option-roms=off"
_BOOT = (
    "console=ttyS0 quiet panic=-1 rdinit=/init random.trust_cpu=on cgroup_no_v1=all mitigations=off cryptomgr.notests"
    " nokaslr no_timer_check tsc=reliable"
)
"""Without `pit`, `pic`, `rtc` and the clock's frequency a kernel in software stops when it measures its clock."""


class QemuBackend:
    """`emulate`: in software, whether there is KVM or not. `image` is a folder with `boot` and `lib/modules` to take
    the kernel from, by default this machine's."""

    name = "qemu"
    level = 2

    def __init__(self, program: str | None = None, *, emulate: bool = False, image: Path = Path("/")) -> None:
        self.program = program
        self._emulate, self._image = emulate, image
        self._groups: Groups | bool | None = False

    async def probe(self) -> Probe:
        program = self._find()
        if program is None:
            return unable(self, "there is no qemu-system-x86_64 on PATH", _FIX)
        why = None if self._emulate else await asyncio.to_thread(kvm.trouble)
        if why is not None:
            return unable(self, why, _FIX_KVM)
        try:
            kernel = await asyncio.to_thread(find_kernel, self._image)
        except Missing as error:
            return unable(self, str(error), error.fix)
        version = f"{await asyncio.to_thread(version_of, program)}, {kernel.image.name}"
        return await tried(self, version, script=_FINE, fix=_FIX, seconds=_START)

    async def create(self, spec: SandboxSpec) -> QemuGuest:
        """Raises `SandboxError`."""
        program = self._find()
        if program is None:
            raise SandboxError(f"there is no QEMU on this machine: {_FIX}")
        if spec.network.hosts or spec.network.open:
            raise SandboxError("a machine of QEMU has no network; take hosts from the agent's isolation")
        body = Body(settled_spec(spec), "qemu")
        try:
            kernel = await asyncio.to_thread(find_kernel, self._image)
            return await self._make(body, program, kernel)
        except (OSError, ValueError, Missing) as error:
            await body.end()
            raise SandboxError(f"cannot make a machine: {error}") from error
        except BaseException:
            await body.end()
            raise

    async def _make(self, body: Body, program: str, kernel: Kernel) -> QemuGuest:
        bounds = body.spec.bounds
        most = None if bounds.memory_bytes is None else bounds.memory_bytes + _OWN_MEMORY + _OUTSIDE
        outer = msgspec.structs.replace(bounds, memory_bytes=most, pids=256)
        await body.prepare(await self._find_groups(), plain_egress, outer)
        shares = await asyncio.to_thread(_write_disk, body, kernel)
        await body.launch(_arguments(program, body, kernel, shares, accelerated=not self._emulate))
        try:
            link = await body.greet(_START)
        except SandboxError as error:
            raise SandboxError(f"{error}; its last words: {await asyncio.to_thread(_last_words, body)}") from error
        held = "kernel" if body.group is not None else "watched"
        able = Capabilities(
            memory="kernel", cpus=held if held == "kernel" else "none", pids="kernel", disk="kernel", network="off",
            terminals=True,
        )  # fmt: skip
        return QemuGuest(2, able, link, body, manner(body))

    async def resume(self, spec: SandboxSpec, image: Path) -> QemuGuest:
        """Nothing outlives a suspension here (a machine that shares folders cannot be written out): a new one."""
        return await self.create(spec)

    async def reap(self, marker: str) -> int:
        killed = await asyncio.to_thread(reap_orphans, marker)
        groups = await self._find_groups()
        killed += await asyncio.to_thread(groups.reap, marker) if groups is not None else 0
        return killed + await asyncio.to_thread(_reap, marker)

    def _find(self) -> str | None:
        return self.program or shutil.which("qemu-system-x86_64")

    async def _find_groups(self) -> Groups | None:
        if isinstance(self._groups, bool):
            self._groups = await asyncio.to_thread(find_groups)
        return self._groups


class QemuGuest(LinkedGuest):
    async def usage(self) -> Usage:
        """Of the machine as a whole, as this one sees it; the processes in it are not counted."""
        return msgspec.structs.replace(await super().usage(), pids=0)


def _write_disk(body: Body, kernel: Kernel) -> list[Share]:
    spec = body.spec
    view = [*mounts.system(), *mounts.folders(spec.workspace, spec.reads, spec.hidden)]
    pids = (spec.bounds.pids or 4096) + 1
    disk, shares = memory_disk(kernel, view, pids=pids, scratch=scratch_bytes(spec.bounds))
    if not spec.workspace.is_dir():
        raise SandboxError(f"the workspace {spec.workspace} is no folder")
    (body.folder / "disk").write_bytes(disk)
    return shares


def _arguments(
    program: str, body: Body, kernel: Kernel, shares: Sequence[Share], *, accelerated: bool
) -> Sequence[str]:
    bounds = body.spec.bounds
    memory = ((bounds.memory_bytes or 2 * 1024**3) + _OWN_MEMORY) // 1024**2
    # What a guest may make of the shared folders is what an ordinary user may: no devices, nobody else's files.
    around = ["unshare", "--user", "--map-root-user"] if os.geteuid() == 0 else []
    args = [*around, program, "-M", _MACHINE, "-m", str(memory), "-smp", str(max(1, math.ceil(bounds.cpus or 1)))]
    args += ["-accel", "kvm", "-cpu", "host"] if accelerated else ["-accel", "tcg,thread=single", "-cpu", "max"]
    args += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"]
    args += ["-serial", f"file:{body.folder / 'console'}", "-kernel", str(kernel.image)]
    clock = "" if accelerated else f" tsc_early_khz={_clock_khz()}"
    args += ["-initrd", str(body.folder / "disk"), "-append", f"{_BOOT}{clock}"]
    args += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    args += [
        "-device",
        "virtio-serial-device",
        "-chardev",
        "socket,id=link,fd=0",
        "-device",
        "virtserialport,chardev=link",
    ]
    for share in shares:
        source = share.source.replace(",", ",,")
        how = "" if share.writable else ",readonly=on"
        args += ["-fsdev", f"local,id={share.tag},path={source},security_model=none{how}"]
        args += ["-device", f"virtio-9p-device,fsdev={share.tag},mount_tag={share.tag}"]
    return args


def _last_words(body: Body) -> str:
    try:
        return (body.folder / "console").read_bytes()[-1000:].decode("utf-8", "replace").strip() or "none"
    except OSError:
        return "none"


def _clock_khz() -> int:
    found = re.search(r"^cpu MHz\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return int(float(found[1]) * 1000) if found else 2_000_000


def _reap(marker: str) -> int:
    folders = left("qemu", marker)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return len(folders)
