"""Level 1 by an OCI runtime: the contract, and what only a container does."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.errors import SandboxError
from roost.sandbox.backend import Bounds, Network, SandboxSpec
from roost.sandbox.guest.guest import LinkedGuest
from roost.sandbox.oci import OciBackend
from roost.testing.sandbox import SandboxContract

RUNTIMES = [name for name in ("crun", "runc") if shutil.which(name)] or ["crun"]


@pytest.fixture(params=RUNTIMES)
async def backend(request: pytest.FixtureRequest) -> OciBackend:
    made = OciBackend(shutil.which(request.param) or request.param)
    probe = await made.probe()
    if not probe.able:
        pytest.skip(f"{request.param}: {probe.why}")
    return made


def spec(workspace: Path, **more: object) -> SandboxSpec:
    return SandboxSpec(session="s", workspace=workspace, marker=f"test-{secrets.token_hex(4)}", **more)  # pyright: ignore[reportArgumentType]


@pytest.fixture
async def sandbox(backend: OciBackend, tmp_path: Path) -> AsyncIterator[LinkedGuest]:
    made = await backend.create(spec(tmp_path))
    yield made
    await made.close()
    assert not list(Path(tempfile.gettempdir()).glob("roost-oci-*")), "a folder was left"


@pytest.mark.parametrize("backend", RUNTIMES[:1], indirect=True)
class TestContract(SandboxContract):
    pass


@pytest.mark.soak
@pytest.mark.parametrize("backend", RUNTIMES[1:], indirect=True)
class TestContractOfTheOther(SandboxContract):
    pass


async def test_a_machine_without_a_runtime_says_so() -> None:
    probe = await OciBackend("/no/such/crun").probe()
    assert not probe.able
    assert probe.why
    assert probe.fix
    with pytest.raises(SandboxError):
        await OciBackend("/no/such/crun").create(spec(Path("/tmp")))


async def test_only_the_workspace_can_be_written(sandbox: LinkedGuest, tmp_path: Path) -> None:
    script = "for f in / /usr /etc /run /proc/sys/kernel; do touch $f/x 2>/dev/null && echo $f; done; touch here"
    assert (await sandbox.exec(["sh", "-c", script], cwd=str(tmp_path))).stdout == ""
    assert (tmp_path / "here").exists()
    home = await sandbox.exec(["ls", os.path.expanduser("~/.ssh"), "/etc/shadow", "/home"], cwd=str(tmp_path))
    assert home.stdout == ""


async def test_there_is_no_network(sandbox: LinkedGuest, tmp_path: Path) -> None:
    assert (await sandbox.exec(["cat", "/proc/net/dev"], cwd=str(tmp_path))).stdout.count(":") == 1


async def test_limits_of_the_whole(backend: OciBackend, tmp_path: Path) -> None:
    guest = await backend.create(spec(tmp_path, bounds=Bounds(memory_bytes=100 * 1024**2, pids=20)))
    try:
        if guest.capabilities.pids == "kernel":
            fork = await guest.exec(["sh", "-c", "for i in $(seq 60); do sleep 9 & done; echo all"], cwd=str(tmp_path))
            assert fork.stdout != "all\n" or "pids" in fork.limits
            memory = await guest.exec(
                ["sh", "-c", "head -c 300000000 /dev/zero | tail -c 250000000"], cwd=str(tmp_path)
            )
            assert "memory_bytes" in memory.limits
        assert (await guest.exec(["echo", "on"], cwd=str(tmp_path))).stdout == "on\n"
        assert (await guest.usage()).pids == 0
    finally:
        await guest.close()


async def test_what_runs_on_and_terminals(sandbox: LinkedGuest, tmp_path: Path) -> None:
    terminal = await sandbox.open_terminal(["sh"], cwd=str(tmp_path), columns=100, rows=30)
    await terminal.write(b"stty size; exit 3\n")
    shown = b"".join([piece async for piece in terminal.read()])
    assert b"30 100" in shown
    assert await terminal.wait() == 3


async def test_hosts_are_reached_through_the_proxy_only(backend: OciBackend, tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    guest = await backend.create(spec(tmp_path, network=Network(hosts=(f"localhost:{port}",))))
    ask = "import sys,urllib.request as u; print(u.urlopen(sys.argv[1], timeout=9).read().decode())"
    try:
        python = os.path.realpath(sys.executable)
        good = await guest.exec([python, "-I", "-c", ask, f"http://localhost:{port}/"], cwd=str(tmp_path))
        bad = await guest.exec([python, "-I", "-c", ask, "http://127.0.0.2/"], cwd=str(tmp_path))
    finally:
        await guest.close()
        server.close()
    assert good.stdout == "hi\n", good.stderr
    assert "403" in bad.stderr
    assert bad.limits == ("network",)


async def test_a_killed_daemon_leaves_nothing_after_reap(backend: OciBackend, tmp_path: Path) -> None:
    made = spec(tmp_path)
    program = textwrap.dedent(f"""
        import asyncio, os, signal
        from pathlib import Path
        from roost.sandbox.backend import SandboxSpec
        from roost.sandbox.oci import OciBackend
        async def main():
            spec = SandboxSpec(session="s", workspace=Path({str(tmp_path)!r}), marker={made.marker!r})
            guest = await OciBackend({backend.program!r}).create(spec)
            await guest.spawn(["sh", "-c", "while :; do echo x >> beat; sleep 0.05; done"], cwd={str(tmp_path)!r})
            await asyncio.sleep(0.3)
            os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
    """)
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=False)
    assert await backend.reap(made.marker) > 0
    size = (tmp_path / "beat").stat().st_size
    await asyncio.sleep(0.3)
    assert (tmp_path / "beat").stat().st_size == size
    assert await backend.reap(made.marker) == 0
