"""What Firecracker's backend makes of a Linux guest, where there is no KVM: the guest runs in QEMU, in software, and
its vsock leads to itself. All else is as with Firecracker: what it boots, how its files and commands are carried, and
how its connections are cut when it sleeps. Only its memory stays where it is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from roost.errors import SandboxError
from roost.machines.boot_image import Kernel, Missing, find_kernel
from roost.machines.firecracker.inside import CARRIER, MODULES, Box
from roost.machines.firecracker.stream import PROGRAM
from roost.machines.guest import MachineGuest
from roost.sandbox.backend import Bounds, Network, SandboxSpec, Terminal
from roost.sandbox.sandbox_host import SandboxHost, plain_egress
from roost.sandbox.suspended_image import take
from roost.testing.backends import FETCH, answer, shell

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]
IMAGE = Path(os.environ.get("ROOST_TEST_KERNEL", "/"))
_OPEN, _OPENED = 0xFFFFFFFF, 0xFFFFFFFE
_SECONDS = 120.0
_WRITER = "i=0; exec 5>log; while :; do i=$((i+1)); echo n$i >&5; cp log copy; mv copy other; done"


class Hardware:
    """A QEMU, and `mux.c` in it, which outlive the sleeps of their machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.open, self.number = folder, dict[int, dict[str, Any]](), 0
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, kernel: Path, words: str, disk: bytes, memory_mib: int) -> None:
        (self.folder / "disk").write_bytes(disk)
        ours, theirs = socket.socketpair()
        found = re.search(r"^cpu MHz\s*:\s*(\d+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        clock = f"tsc_early_khz={int(found[1]) * 1000 if found else 2_000_000} no_timer_check tsc=reliable nokaslr"
        board = "microvm,acpi=on,pit=on,pic=on,rtc=on,isa-serial=on,x-option-roms=off"
        argv = ["-M", board, "-m", str(memory_mib), "-accel", "tcg,thread=single", "-cpu", "max", "-nodefaults"]
        argv += ["-no-user-config", "-no-reboot", "-display", "none", "-serial", f"file:{self.folder / 'console'}"]
        argv += ["-kernel", str(kernel), "-initrd", str(self.folder / "disk"), "-append", f"{words} {clock}"]
        argv += ["-device", "virtio-serial-device", "-chardev", "socket,id=wire,fd=0"]
        argv += ["-device", "virtserialport,chardev=wire,nr=1"]
        self.process = await asyncio.create_subprocess_exec("qemu-system-x86_64", *argv, stdin=theirs.fileno())
        theirs.close()
        self.reader, self.writer = await asyncio.open_unix_connection(sock=ours)
        self.task = asyncio.create_task(self.read())

    async def read(self) -> None:
        while True:
            number, size = struct.unpack("<II", await self.reader.readexactly(8))
            each = self.open[number]
            if size == _OPENED:
                each["made"].set_result(True)
            elif size == 0:
                if not each["made"].done():
                    each["made"].set_result(False)
                each["writer"].transport.abort()
            else:
                data = await self.reader.readexactly(size)
                if not each["writer"].transport.is_closing():
                    each["writer"].write(data)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = int((await reader.readline()).split()[1])
        self.number += 1
        number, made = self.number, asyncio.get_running_loop().create_future()
        self.open[number] = {"made": made, "writer": writer}
        self.writer.write(struct.pack("<III", number, _OPEN, port))
        if not await made:
            return
        writer.write(b"OK 1073741824\n")
        with contextlib.suppress(OSError):
            while data := await reader.read(32768):
                self.writer.write(struct.pack("<II", number, len(data)) + data)
                await self.writer.drain()
        self.writer.write(struct.pack("<II", number, 0))
        writer.close()

    def cut(self) -> None:
        for number, each in self.open.items():
            each["writer"].transport.abort()
            self.writer.write(struct.pack("<II", number, 0))

    async def end(self) -> None:
        if self.process is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.writer.close()
            self.process.kill()
            await self.process.wait()


class Machine:
    """In a `Vmm`'s place."""

    def __init__(self, hardware: Hardware, kernel: Path, body: SandboxHost) -> None:
        self.hardware, self.kernel, self.body, self.root = hardware, kernel, body, body.folder
        self.server: asyncio.Server | None = None

    @property
    def words(self) -> str:
        return (self.hardware.folder / "console").read_text(errors="replace")[-1000:]

    async def spawn(self) -> str:
        await self.body.spawn(["sleep", "1000"])
        self.server = await asyncio.start_unix_server(self.hardware.connected, str(self.root / "vsock"))
        return "none"

    async def boot(self, kernel: Path, words: str, disk: bytes, *, memory_mib: int, cpus: int) -> None:
        await self.hardware.start(self.kernel, words, disk, memory_mib)

    async def load(self, image: Path) -> None:
        assert (image / "memory").exists()

    async def write(self, image: Path) -> None:
        self.hardware.cut()
        (image / "memory").touch()
        assert self.body.process is not None
        self.body.process.kill()
        await self.body.process.wait()

    def close(self) -> None:
        if self.server is not None:
            self.server.close()


@pytest.fixture(scope="module")
def mux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("mux") / "mux"
    source = Path(__file__).with_name("mux.c")
    try:
        subprocess.run(["gcc", "-O2", "-static", "-pthread", "-o", made, source], check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no static program can be made here: {error}")
    return made


@pytest.fixture
def kernel() -> Kernel:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("there is no qemu-system-x86_64 on PATH")
    try:
        return find_kernel(IMAGE, (*MODULES, "virtio_console", "vsock_loopback"))
    except Missing as error:
        pytest.skip(f"{error}; {error.fix}")


Make = Callable[[Path | None], Any]


@pytest.fixture
async def make(tmp_path: Path, kernel: Kernel, mux: Path) -> AsyncIterator[Make]:
    """A guest that is new, or goes on from an image."""
    (work := tmp_path / "work").mkdir()
    (place := tmp_path / "hardware").mkdir()
    hardware = Hardware(place)
    bounds = Bounds(memory_bytes=256 * 1024**2, pids=40)
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    (work / "port").write_text(str(port := server.sockets[0].getsockname()[1]))
    spec = SandboxSpec(
        session="s",
        workspace=work,
        marker=f"test-{secrets.token_hex(4)}",
        bounds=bounds,
        network=Network(hosts=(f"localhost:{port}",)),
    )
    boxes: list[Box] = []

    async def one(image: Path | None) -> MachineGuest:
        kept = None if image is None else take(image)
        body = SandboxHost(spec, "firecracker")
        programs = {"carry": PROGRAM, "mux": mux}
        carrier = f"/bin/mux &\n{CARRIER}"
        box = Box(body, lambda body: Machine(hardware, kernel.image, body), carrier, programs, _SECONDS)
        boxes.append(box)
        await body.prepare(None, plain_egress)
        link = await box.launch(kernel, kept)
        guest = MachineGuest(box, link, "test", _SECONDS)
        if kept is not None:
            guest.take_up(kept.kept)
            box.wake(link)
        await body.greet(_SECONDS)
        return guest

    yield one
    for box in boxes:
        await box.end()
    await hardware.end()
    server.close()


async def test_a_linux_guest_reaches_the_hosts_of_the_list_before_and_after_its_sleep(
    make: Make, tmp_path: Path
) -> None:
    work, image = tmp_path / "work", tmp_path / "image"
    url = f"http://localhost:{(work / 'port').read_text()}/"
    guest = await make(None)
    for _ in range(2):
        run = [os.path.realpath(sys.executable), "-I", "-c", FETCH]
        assert (await guest.exec([*run, url], cwd=str(work))).stdout == "hello\n"
        refused = await guest.exec([*run, "http://example.com/"], cwd=str(work))
        assert refused.stdout == "refused 403\n"
        assert "network" in refused.limits
        assert await guest.suspend(image) == "memory"
        guest = await make(image)
    await guest.close()


async def test_a_linux_guest_over_vsock_sleeps_while_it_works(make: Make, tmp_path: Path) -> None:
    work, image = tmp_path / "work", tmp_path / "image"
    guest = await make(None)
    said = await shell(guest, work, "id -u; grep CapEff /proc/self/status; cat /etc/shadow; echo x > file; echo end")
    assert said.stdout.split() == ["1000", "CapEff:", "0000000000000000", "end"]
    assert (work / "file").read_text() == "x\n"
    assert (await shell(guest, work, "for i in $(seq 60); do sleep 9 & done; echo all")).stdout != "all\n"
    terminal = await guest.open_terminal(["sh"], cwd=str(work))
    await terminal.write(b"number=41; echo rea''dy\n")
    await shown(terminal, b"ready")
    await guest.spawn(["sh", "-c", _WRITER], cwd=str(work))
    await more_than(work, 0)
    for sleeps in range(1, 4):
        assert await guest.suspend(image) == "memory"
        with pytest.raises(SandboxError):
            await shell(guest, work, "true")
        count = len(lines(work))
        guest = await make(image)
        assert guest.background == 2
        again = guest.terminals[min(guest.terminals)]
        await again.write(b"number=$((number + 1)); echo number$number\n")
        await shown(again, b"number%d" % (41 + sleeps))
        await more_than(work, count)
    found = lines(work)
    assert found == [f"n{number + 1}" for number in range(len(found))]
    await guest.close()


async def shown(terminal: Terminal, what: bytes) -> None:
    seen = b""
    async with asyncio.timeout(60):
        async for piece in terminal.read():
            seen += piece
            if what in seen:
                return
    raise AssertionError(seen)


def lines(work: Path) -> list[str]:
    return (work / "log").read_text().split() if (work / "log").exists() else []


async def more_than(work: Path, count: int) -> None:
    async with asyncio.timeout(60):
        while len(lines(work)) <= count:
            await asyncio.sleep(0.1)
