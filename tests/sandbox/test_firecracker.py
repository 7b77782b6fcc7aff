"""Level 2 by Firecracker. Where KVM works a Linux guest passes the suites of every backend; elsewhere what can be known
without one is tested. `ROOST_TEST_KERNEL` names a folder with `boot` and `lib/modules`, as for QEMU."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import lzma
import os
import secrets
import shutil
import struct
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.harness.vmm import NoFirecracker, find_firecracker

from roost.errors import SandboxError
from roost.machines import kvm
from roost.machines.boot_image import Inside, Kernel, Missing, find_kernel, memory_disk
from roost.machines.firecracker.backend import FirecrackerBackend
from roost.machines.firecracker.inside import CARRIER, MODULES
from roost.machines.firecracker.jail import find_jailer
from roost.machines.firecracker.kernel import unpacked, vmlinux
from roost.sandbox.backend import Backend, Bounds, Network, SandboxSpec
from roost.sandbox.choose import default_backends
from roost.sandbox.guest.linked_guest import LinkedGuest
from roost.sandbox.sandbox_host import left, plain_egress
from roost.sandbox.suspended_image import Image
from roost.testing.backends import SMALL, BackendContract, made, python, shell
from roost.testing.sandbox import SandboxContract

IMAGE = Path(os.environ.get("ROOST_TEST_KERNEL", "/"))


def machine() -> FirecrackerBackend:
    return FirecrackerBackend(str(find_firecracker()), image=IMAGE)


@pytest.fixture(scope="module")
def trouble() -> str | None:
    return kvm.trouble()


@pytest.fixture
async def backend(trouble: str | None) -> FirecrackerBackend:
    if trouble is not None:
        pytest.skip(trouble)
    try:
        made = await asyncio.to_thread(machine)
    except NoFirecracker as error:
        pytest.skip(str(error))
    probe = await made.probe()
    if not probe.able:
        pytest.skip(f"Firecracker: {probe.why}")
    return made


def spec(workspace: Path) -> SandboxSpec:
    marker = f"test-{secrets.token_hex(6)}"
    return SandboxSpec(session="s", workspace=workspace, marker=marker, bounds=Bounds(pids=256))


@pytest.fixture
async def sandbox(backend: FirecrackerBackend, tmp_path: Path) -> AsyncIterator[LinkedGuest]:
    made = await backend.create(spec(tmp_path))
    yield made
    await made.close()


@pytest.mark.soak
class TestContract(SandboxContract):
    pass


OF_ITS_OWN_KERNEL = {
    "io_uring", "keys", "new key", "priority", "read of another's memory", "settings of the kernel", "trace",
    "user namespace", "user namespace by clone", "user namespace by clone3", "userfaultfd",
}  # fmt: skip
"""What a machine's kernel lets its user do with itself: nothing of this machine."""


@pytest.mark.soak
class TestBackend(BackendContract):
    maker = f"{__name__.rpartition('.')[2]}:machine"
    not_held = OF_ITS_OWN_KERNEL

    async def test_memory(self, backend: Backend, tmp_path: Path) -> None:
        """The machine's kernel ends what takes too much, which this one does not count."""
        async with made(backend, tmp_path, bounds=SMALL) as guest:
            assert (await python(guest, tmp_path, "x = bytearray(600 << 20)")).exit_code != 0
            assert (await shell(guest, tmp_path, "echo on")).stdout == "on\n"


@pytest.mark.soak
async def test_it_sleeps_twice_with_what_runs_in_it(backend: FirecrackerBackend, tmp_path: Path) -> None:
    asked, image = spec(tmp_path), tmp_path.parent / "image"
    guest = await backend.create(asked)
    terminal = await guest.open_terminal(["sh"], cwd=str(tmp_path))
    await terminal.write(b"number=41; echo rea''dy\n")
    async for piece in terminal.read():
        if b"ready" in piece:
            break
    for sleeps in (1, 2):
        assert await guest.suspend(image) == "memory"
        guest = await backend.resume(asked, image)
        (again,) = guest.terminals.values()
        await again.write(b"number=$((number + 1)); echo $number > file; echo do''ne\n")
        async for piece in again.read():
            if b"done" in piece:
                break
        assert (tmp_path / "file").read_text() == f"{41 + sleeps}\n"
        assert (await shell(guest, tmp_path, "cat file")).stdout == f"{41 + sleeps}\n"
    await guest.close()
    assert await backend.reap(asked.marker) == 0


async def test_kvm_is_asked_first(trouble: str | None, tmp_path: Path) -> None:
    """Nothing that could be installed is named where that would not help."""
    probe = await FirecrackerBackend("/no/such/firecracker", image=tmp_path).probe()
    assert not probe.able
    assert probe.fix
    assert probe.why
    assert probe.why.split(":")[0] == (trouble or "there is no /no/such/firecracker").split(":")[0]


async def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="no /no/such/firecracker: install Firecracker"):
        await FirecrackerBackend("/no/such/firecracker").create(spec(tmp_path))
    asked = SandboxSpec(session="s", workspace=tmp_path, marker="m", network=Network(open=True))
    with pytest.raises(SandboxError, match="network"):
        await FirecrackerBackend("/bin/true").create(asked)
    if os.geteuid() == 0:
        with pytest.raises(SandboxError, match="jailer"):
            await FirecrackerBackend("/bin/true").create(spec(tmp_path))
    names = [each.name for each in default_backends(plain_egress)]
    assert names.index("firecracker") < names.index("qemu")


def test_the_jailer_is_found_beside_firecracker(tmp_path: Path) -> None:
    for name in ("firecracker-v1.12.1-x86_64", "jailer-v1.12.1-x86_64"):
        (tmp_path / name).touch(0o755)
    (tmp_path / "link").symlink_to(tmp_path / "firecracker-v1.12.1-x86_64")
    assert find_jailer(str(tmp_path / "link")) == str(tmp_path / "jailer-v1.12.1-x86_64")


async def test_an_image_that_is_none_leaves_nothing(tmp_path: Path) -> None:
    """Of another version, of another workspace, and one that Firecracker refuses; each is used up."""
    backend, asked = FirecrackerBackend(await asyncio.to_thread(program), image=IMAGE), spec(tmp_path)
    try:
        kernel = await asyncio.to_thread(find_kernel, IMAGE, MODULES)
    except Missing as error:
        pytest.skip(f"{error}: {error.fix}")
    version = f"Firecracker v1.12.1, {kernel.image.name}"
    wrong = [("Firecracker v0.1", str(tmp_path)), (version, "/elsewhere"), (version, str(tmp_path))]
    for number, (by, where) in enumerate(wrong):
        image = tmp_path.parent / f"image{number}"
        await Image(image, by, where, 0, ()).write(_nonsense)
        with pytest.raises(SandboxError) as refused:
            await backend.resume(asked, image)
        said = ("suspended by Firecracker v0.1", "/elsewhere as its workspace", "server of files|snapshot/load")[number]
        assert refused.match(said)
        assert not image.exists()
        with pytest.raises(SandboxError, match="no suspended sandbox"):
            await backend.resume(asked, image)
    assert left("firecracker", asked.marker) == []
    assert await backend.reap(asked.marker) == 0


async def _nonsense(folder: Path) -> None:
    for name in ("state", "memory"):
        (folder / name).write_bytes(b"nothing")
    (folder / "files").write_bytes(b"null")


def program() -> str:
    try:
        return str(find_firecracker())
    except NoFirecracker as error:
        pytest.skip(str(error))


def test_what_a_machine_starts_from(tmp_path: Path) -> None:
    for name in ("kernel", "one.ko", "busybox"):
        (tmp_path / name).write_text(name)
    kernel = Kernel(tmp_path / "kernel", (tmp_path / "one.ko",), tmp_path / "busybox")
    disk = memory_disk(kernel, Inside(["--ro-bind", "/usr", "/usr"], tmp_path, 9, 4096, CARRIER, {"carry": b"\x7fELF"}))
    assert b"bin/carry\0" in disk
    assert b'around="$around /bin/carry $1 $2"' in disk
    assert disk.index(b"exec $around $b switch_root") > 0


def _by(program: str) -> Callable[[bytes], bytes]:
    def packed(data: bytes) -> bytes:
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on this machine")
        flags = ["-l"] if program == "lz4" else []
        return subprocess.run([program, *flags, "-c"], input=data, capture_output=True, check=True).stdout

    return packed


def _alone(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_ALONE)


def _image(payload: bytes) -> bytes:
    """As Linux's build makes one: the setup of some sectors, then the payload and its unpacked size."""
    head = bytearray(3 * 512)
    head[0x1F1] = 2
    head[0x202:0x206] = b"HdrS"
    body = b"stub" + payload + struct.pack("<I", 4096)
    head[0x248:0x250] = struct.pack("<II", 4, len(payload) + 4)
    return bytes(head) + body + b"after"


@pytest.mark.parametrize(
    "packed",
    [gzip.compress, lzma.compress, bz2.compress, _by("zstd"), _by("lz4"), _alone],
    ids=["gzip", "xz", "bzip2", "zstd", "lz4", "lzma"],
)  # fmt: skip
def test_a_kernel_is_unpacked(packed: Callable[[bytes], bytes]) -> None:
    elf = b"\x7fELF" + secrets.token_bytes(3000) * 3
    assert vmlinux(_image(packed(elf))) == elf
    assert vmlinux(elf) == elf


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"MZ" * 1000,
        _image(b""),
        _image(b"what"),
        _image(gzip.compress(b"no elf")),
        _image(lzma.compress(b"x")[:20]),
    ],
)
def test_a_kernel_that_cannot_be_unpacked(image: bytes) -> None:
    with pytest.raises(Missing):
        vmlinux(image)


def test_a_kernel_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOST_CACHE", str(tmp_path / "cache"))
    (image := tmp_path / "vmlinuz-6").write_bytes(_image(gzip.compress(b"\x7fELF one")))
    first = unpacked(image)
    assert first.read_bytes() == b"\x7fELF one"
    assert unpacked(image).stat().st_ino == first.stat().st_ino
    image.write_bytes(_image(gzip.compress(b"\x7fELF another")))
    assert unpacked(image).read_bytes() == b"\x7fELF another"
    assert len(list(first.parent.iterdir())) == 1
