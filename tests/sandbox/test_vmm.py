"""Firecracker, the real one, with a machine so small that it runs where KVM emulates everything."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.harness.vmm import NoFirecracker, find_firecracker, tiny_guest

from roost.errors import SandboxError
from roost.machines.firecracker.api import Api
from roost.machines.firecracker.jail import find_jailer
from roost.machines.firecracker.vmm import Vmm
from roost.machines.firecracker.vsock import dial
from roost.sandbox.backend import SandboxSpec
from roost.sandbox.cgroups import find_groups
from roost.sandbox.process_marks import reap_orphans
from roost.sandbox.sandbox_host import SandboxHost, left, plain_egress

MEMORY = 16


@pytest.fixture(scope="module")
def program() -> str:
    try:
        return str(find_firecracker())
    except NoFirecracker as error:
        pytest.skip(str(error))


@pytest.fixture(params=["plain", "jailed"])
def jailer(request: pytest.FixtureRequest, program: str) -> str | None:
    if request.param == "plain":
        return None
    if os.geteuid() != 0:
        pytest.skip("the jailer runs for root alone")
    return find_jailer(program)


Make = Callable[[], Awaitable[Vmm]]


@pytest.fixture
async def make(program: str, jailer: str | None, tmp_path: Path) -> AsyncIterator[Make]:
    """New ones, all ended after the test, with nothing left of them."""
    marker = f"test-{secrets.token_hex(6)}"
    made: list[Vmm] = []
    groups = await asyncio.to_thread(find_groups)

    async def one() -> Vmm:
        body = SandboxHost(SandboxSpec(session="s", workspace=tmp_path, marker=marker), "firecracker")
        await body.prepare(groups, plain_egress)
        vmm = Vmm(body, program, jailer)
        made.append(vmm)
        await vmm.spawn()
        return vmm

    yield one
    for vmm in made:
        await vmm.end()
    assert await asyncio.to_thread(reap_orphans, marker) == 0
    assert left("firecracker", marker) == []
    assert groups is None or await asyncio.to_thread(groups.reap, marker) == 0


async def start(vmm: Vmm, folder: Path) -> None:
    kernel = folder / "tiny"
    kernel.write_bytes(tiny_guest())
    await vmm.boot(kernel, "console=ttyS0", None, memory_mib=MEMORY, cpus=1)
    assert await said(vmm, 6) == "READY\n"


async def said(vmm: Vmm, count: int) -> str:
    async with asyncio.timeout(30):
        while len(vmm.console.said) < count:
            vmm.console.news.clear()
            await vmm.console.news.wait()
    text = vmm.console.said.decode()
    vmm.console.said.clear()
    return text


async def added(vmm: Vmm, number: int) -> int:
    vmm.console.write(bytes([number]))
    return ord(await said(vmm, 1)) - ord("0")


async def test_a_machine_sleeps_and_goes_on_with_its_memory(make: Make, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir()
    vmm = await make()
    await start(vmm, tmp_path)
    assert [await added(vmm, each) for each in (3, 1)] == [3, 4]
    await vmm.api.pause()
    assert await vmm.api.state() == "Paused"
    await vmm.api.go_on()
    assert await added(vmm, 2) == 6
    await vmm.write(image)
    for count in (7, 8, 9):  # the first file is whole, what follows adds to it
        assert {each.name for each in image.iterdir()} == {"state", "memory"}
        assert (image / "memory").stat().st_size == MEMORY * 1024**2
        vmm = await make()
        await vmm.load(image)
        assert await added(vmm, 1) == count
        await vmm.write(image)


async def test_what_sleeps_again_writes_only_what_is_new(make: Make, tmp_path: Path) -> None:
    """Beside the memory that it was loaded from: a file without it holds some pages of 4,096."""
    image = tmp_path / "image"
    image.mkdir()
    vmm = await make()
    await start(vmm, tmp_path)
    await vmm.write(image)
    vmm = await make()
    await vmm.load(image)
    await added(vmm, 1)
    await vmm.api.pause()
    await vmm.api.snapshot("Diff", "other", "difference")
    difference = (vmm.root / "difference").stat()
    assert difference.st_size == MEMORY * 1024**2
    assert 0 < difference.st_blocks * 512 <= 64 * 1024


async def test_one_image_goes_on_four_times_and_each_has_its_own_memory(make: Make, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir()
    vmm = await make()
    await start(vmm, tmp_path)
    await added(vmm, 1)
    await vmm.write(image)
    copies = [tmp_path / f"copy{number}" for number in range(5)]
    for copy in copies:
        shutil.copytree(image, copy, copy_function=os.link)

    async def fork(number: int) -> tuple[Vmm, int]:
        vmm = await make()
        await vmm.load(copies[number])
        return vmm, await added(vmm, number)

    forks = await asyncio.gather(*map(fork, range(4)))
    assert [count for _, count in forks] == [1, 2, 3, 4]
    assert [await added(vmm, 1) for vmm, _ in forks] == [2, 3, 4, 5]
    await forks[3][0].write(copies[3])
    assert (await fork(4))[1] == 5, "the memory that others go on from was changed"
    vmm = await make()
    await vmm.load(copies[3])
    assert await added(vmm, 0) == 5


async def test_a_file_that_forks_share_can_be_read_at_every_moment_of_a_load(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "image"
    image.mkdir()
    vmm = await make()
    await start(vmm, tmp_path)
    await vmm.write(image)
    shutil.copytree(image, tmp_path / "copy", copy_function=os.link)
    vmm, set_mode, modes = await make(), Path.chmod, list[int]()

    def chmod(self: Path, mode: int, **options: bool) -> None:
        set_mode(self, mode, **options)
        modes.append(mode)

    monkeypatch.setattr(Path, "chmod", chmod)
    await vmm.load(tmp_path / "copy")
    assert modes == [0o444, 0o444]


async def test_it_is_confined(make: Make, jailer: str | None, tmp_path: Path) -> None:
    vmm = await make()
    await start(vmm, tmp_path)
    assert vmm.body.process is not None
    process = Path(f"/proc/{vmm.body.process.pid}")
    filters = [(task / "status").read_text().split("Seccomp:\t")[1][0] for task in (process / "task").iterdir()]
    assert len(filters) >= 3
    assert set(filters) == {"2"}
    if jailer is not None:
        assert (process / "status").read_text().split("Uid:\t")[1].split()[0] == str(vmm.jail.user) != "0"
        assert "CapEff:\t0000000000000000" in (process / "status").read_text()
        assert "etc" not in os.listdir(process / "root")


async def test_what_it_refuses_is_told(make: Make, tmp_path: Path) -> None:
    vmm = await make()
    with pytest.raises(SandboxError, match=r"refused PUT /actions: .*kernel"):
        await vmm.api.start()
    (tmp_path / "nonsense").write_bytes(b"no kernel")
    with pytest.raises(SandboxError, match="refused PUT"):
        await vmm.boot(tmp_path / "nonsense", "", None, memory_mib=MEMORY, cpus=1)
    with pytest.raises(SandboxError, match=r"PUT /machine-config: .*memory size"):
        await vmm.api.machine(memory_mib=0, cpus=1, diffs=True)
    image = tmp_path / "image"
    image.mkdir()
    for name in ("state", "memory"):
        (image / name).write_bytes(b"nothing of the kind")
    with pytest.raises(SandboxError, match=r"/snapshot/load"):
        await (await make()).load(image)


async def test_what_a_crash_left_is_found(program: str, jailer: str | None, tmp_path: Path) -> None:
    marker = f"test-{secrets.token_hex(6)}"
    body = SandboxHost(SandboxSpec(session="s", workspace=tmp_path, marker=marker), "firecracker")
    await body.prepare(None, plain_egress)
    vmm = Vmm(body, program, jailer)
    await vmm.spawn()
    await start(vmm, tmp_path)
    assert body.process is not None
    assert await asyncio.to_thread(reap_orphans, f"{marker}0") == 0
    assert await asyncio.to_thread(reap_orphans, marker) == 1
    assert await body.process.wait() == -9
    await vmm.end()


async def test_a_program_that_ends_at_once(tmp_path: Path) -> None:
    body = SandboxHost(SandboxSpec(session="s", workspace=tmp_path, marker="test"), "firecracker")
    await body.prepare(None, plain_egress)
    vmm = Vmm(body, "/bin/true", None)
    with pytest.raises(SandboxError, match="ended at once"):
        await vmm.spawn()
    await vmm.end()


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(place: Path, answer: Answer) -> AsyncIterator[None]:
    async def each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_unix_server(each, str(place)):
        yield


async def test_an_answer_that_is_none(tmp_path: Path) -> None:
    """Not HTTP, too large, cut off, never: said once, and nothing is asked on that connection any more."""
    process = await asyncio.create_subprocess_exec("sleep", "60")
    answers = [b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", b"HTTP/1.1 204", b""]
    answers += [b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{]}", b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n"]
    try:
        for number, answer in enumerate(answers):

            async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes = answer) -> None:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)

            async with served(place := tmp_path / f"api{number}", say):
                api = Api(place)
                await api.connect(process)
                with pytest.raises(SandboxError, match="does not answer GET /version"):
                    await api.version()
                with pytest.raises(SandboxError, match="not connected"):
                    await api.version()
    finally:
        process.kill()
        await process.wait()


class Doors:
    """Firecracker's end of a vsock, as its documentation says: connections to `open` ports are echoed."""

    def __init__(self, *open_ports: int) -> None:
        self.open = set(open_ports)
        self.asked: list[bytes] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        self.asked.append(line)
        if int(line.split()[1]) in self.open:
            for part in (b"O", b"K 10737", b"41824", b"\nfirst"):  # its first words come with the answer
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.01)
            while data := await reader.read(1000):
                writer.write(data)


async def test_a_stream_into_a_machine(tmp_path: Path) -> None:
    doors = Doors(5000)
    async with served(place := tmp_path / "vsock", doors):
        with await dial(place, 5000, 5) as made:
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(made, 1) == b"f"
            await loop.sock_sendall(made, b" and more")
            got = b""
            while not got.endswith(b"more"):
                got += await loop.sock_recv(made, 100)
            assert got == b"irst and more"
    assert doors.asked == [b"CONNECT 5000\n"]


async def test_a_machine_that_listens_late_is_waited_for(tmp_path: Path) -> None:
    """There is no socket, then nobody listens on the port, then somebody does."""
    place, doors = tmp_path / "vsock", Doors()
    dialled = asyncio.create_task(dial(place, 5000, 10))
    await asyncio.sleep(0.05)
    async with served(place, doors):
        while not doors.asked:
            await asyncio.sleep(0.01)
        assert not dialled.done()
        doors.open.add(5000)
        (await dialled).close()
    assert len(doors.asked) >= 2


@pytest.mark.parametrize("answer", [b"", b"OK", b"OK 12", b"NO 12\n", b"OK twelve\n", b"\n", b"O" * 100, b"\xff\n"])
async def test_who_answers_otherwise_is_not_taken(tmp_path: Path, answer: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)

    async with served(place := tmp_path / "vsock", say):
        with pytest.raises(SandboxError, match="port 7"):
            await dial(place, 7, 0.2)


async def test_who_never_answers_is_given_up(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        await reader.read()

    async with served(place := tmp_path / "vsock", silent):
        for seconds in (0.5, 5, 20):  # a machine that stands still may try only once
            asked.clear()
            with pytest.raises(SandboxError, match="did not answer"):
                await dial(place, 7, seconds, once=0.1)
            if len(asked) >= 2:
                break
        assert len(asked) >= 2
        before = len(os.listdir("/proc/self/fd"))
        task = asyncio.create_task(dial(place, 7, 30))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(30):
            while len(os.listdir("/proc/self/fd")) > before:
                await asyncio.sleep(0.05)
    with pytest.raises(SandboxError, match="port 7"):
        await dial(tmp_path / "nothing", 7, 0.1)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf"))
        with pytest.raises(SandboxError, match="port 7"):
            await dial(tmp_path / "deaf", 7, 0.1)
