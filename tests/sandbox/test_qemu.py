"""Level 2 by QEMU, in software. `ROOST_TEST_KERNEL` names a folder with `boot` and `lib/modules`, as a distribution's
kernel package unpacks to; by default this machine's own are looked for."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.errors import SandboxError
from roost.machines import kvm
from roost.machines.boot_image import Inside, Kernel, Missing, find_kernel, memory_disk, targets
from roost.machines.qemu.backend import QemuBackend
from roost.sandbox.backend import Bounds, Network, SandboxSpec
from roost.sandbox.guest.linked_guest import LinkedGuest
from roost.testing.backends import BackendContract, shell
from roost.testing.sandbox import SandboxContract

IMAGE = Path(os.environ.get("ROOST_TEST_KERNEL", "/"))


@pytest.fixture
async def backend() -> QemuBackend:
    made = QemuBackend(emulate=True, image=IMAGE)
    probe = await made.probe()
    if not probe.able:
        pytest.skip(f"QEMU: {probe.why}; {probe.fix}")
    return made


def spec(workspace: Path, bounds: Bounds | None = None) -> SandboxSpec:
    marker = f"test-{secrets.token_hex(4)}"
    return SandboxSpec(session="s", workspace=workspace, marker=marker, bounds=bounds or Bounds(pids=256))


@pytest.fixture
async def sandbox(backend: QemuBackend, tmp_path: Path) -> AsyncIterator[LinkedGuest]:
    made = await backend.create(spec(tmp_path))
    yield made
    await made.close()


@pytest.mark.soak
@pytest.mark.timeout(300)
class TestContract(SandboxContract):
    pass


async def test_what_is_missing_is_named(tmp_path: Path) -> None:
    probe = await QemuBackend("/no/such/qemu", emulate=True, image=tmp_path).probe()
    assert not probe.able
    assert probe.why
    assert probe.fix
    with pytest.raises(SandboxError):
        await QemuBackend("/no/such/qemu", image=tmp_path).create(spec(tmp_path))
    with pytest.raises(Missing):
        find_kernel(tmp_path)


async def test_software_is_used_only_when_asked_for() -> None:
    probe = await QemuBackend("/bin/true", image=IMAGE).probe()
    assert probe.able or probe.why
    if (trouble := kvm.trouble()) is not None:
        assert probe.why is not None
        assert probe.why.split(":")[0] == trouble.split(":")[0]


async def test_no_open_network_is_promised(tmp_path: Path) -> None:
    asked = SandboxSpec(session="s", workspace=tmp_path, marker="m", network=Network(open=True))
    with pytest.raises(SandboxError, match="network"):
        await QemuBackend("/bin/true", emulate=True, image=IMAGE).create(asked)


@pytest.mark.soak
@pytest.mark.timeout(240)
class TestNetwork:
    test_none = BackendContract.test_no_network
    test_hosts = BackendContract.test_only_hosts_of_the_list


def listed(archive: bytes) -> list[str]:
    """The names in an archive of the format newc, as `cpio -t` prints them."""
    names, at = [], 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        size, length = fields[6], fields[11]
        name = archive[at + 110 : at + 110 + length - 1].decode()
        if name == "TRAILER!!!":
            return names
        names.append(name)
        at = (at + 110 + length + 3) // 4 * 4
        at = (at + size + 3) // 4 * 4


def test_what_a_machine_starts_from(tmp_path: Path) -> None:
    """An archive (cpio, newc) with nothing of this machine but what it takes to reach the rest."""
    for name in ("kernel", "one.ko", "busybox"):
        (tmp_path / name).write_text(name)
    kernel = Kernel(tmp_path / "kernel", (tmp_path / "one.ko",), tmp_path / "busybox")
    view = ["--ro-bind", "/usr", "/usr", "--bind", "/tmp/it's work", "/tmp/it's work", "--symlink", "a", "/b"]
    disk = memory_disk(kernel, Inside(view, Path("/tmp/it's work"), 9, 4096))
    assert {"init", "setup", "carrier", "modules/one.ko", "bin/busybox"} <= set(listed(disk))
    assert b"/root/tmp/it'\"'\"'s work" in disk
    assert b"pids=12" in disk
    assert list(targets(view)) == ["/usr", "/tmp/it's work"]


@pytest.mark.soak
@pytest.mark.timeout(240)
async def test_a_machine(backend: QemuBackend, tmp_path: Path) -> None:
    asked = spec(tmp_path, Bounds(memory_bytes=256 * 1024**2, pids=20))
    guest = await backend.create(asked)
    try:
        assert guest.level == 2
        said = await shell(guest, tmp_path, "echo out; echo err >&2; cat; echo x > file; uname -r; exit 7")
        assert (said.stdout.split()[0], said.stderr, said.exit_code) == ("out", "err\n", 7)
        assert (tmp_path / "file").read_text() == "x\n"
        (tmp_path / "file").write_text("from outside\n")
        assert (await shell(guest, tmp_path, "cat file")).stdout == "from outside\n"
        tried = "touch /usr/x; cat /etc/shadow; mknod dev c 1 3; ls /root/.ssh /home; echo 1 > /proc/sys/vm/drop_caches"
        assert (await shell(guest, tmp_path, f"{{ {tried}; }} 2>/dev/null")).stdout == ""
        assert {path.name for path in tmp_path.iterdir()} == {"file"}
        fork = await shell(guest, tmp_path, "for i in $(seq 60); do sleep 9 & done; echo all")
        assert fork.stdout != "all\n"
        terminal = await guest.open_terminal(["sh"], cwd=str(tmp_path), columns=100, rows=30)
        await terminal.write(b"stty size; exit 3\n")
        assert b"30 100" in b"".join([piece async for piece in terminal.read()])
        assert await terminal.wait() == 3
    finally:
        await guest.close()
    assert await backend.reap(asked.marker) == 0
