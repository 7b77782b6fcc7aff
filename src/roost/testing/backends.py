"""Conformance suite of a level 1 or 2 Backend, with hostile commands.

    class TestMine(BackendContract):
        @pytest.fixture
        def backend(self): return MyBackend(...)
        maker = "my.module:MyBackend"

Fixtures: `backend`, and `tmp_path` (pytest's own). `maker` names the callable that makes the same backend in another
process. The fixture must skip a backend that cannot run here.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping, Sequence, Set
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from roost.errors import SandboxError
from roost.sandbox.backend import Backend, Bounds, Guest, Network, SandboxSpec
from roost.sandbox.base import ExecResult, Quota, Sandbox
from roost.testing import escapes

SMALL = Bounds(memory_bytes=256 * 1024**2, cpus=1.0, pids=32, disk_bytes=32 * 1024**2)
_OPEN = """
import os
def is_open(fd):
    try: return bool(os.fstat(fd))
    except OSError: return False
print(*filter(is_open, range(4096)))
"""
_FORKS = "import os, time\nfor n in range(200):\n  if os.fork() == 0: time.sleep(2); os._exit(0)\n"
_MEMORY = "x = bytearray(600 * 1024 * 1024)\nfor n in range(0, len(x), 4096): x[n] = 1"
_FILES = "import os\nfor n in range(1_000_000): open(f'/tmp/f{n}', 'w').close()"
_DEAF = "trap '' TERM HUP INT; (setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' &) ; while :; do sleep 1; done"
_LEFT = """
import asyncio, importlib, sys
from pathlib import Path
from roost.sandbox.backend import SandboxSpec
module, name = sys.argv[1].split(":")
async def main():
    backend = getattr(importlib.import_module(module), name)()
    guest = await backend.create(SandboxSpec(session="s", workspace=Path(sys.argv[2]), marker=sys.argv[3]))
    await guest.exec(["sh", "-c", "while :; do echo x >> beat; sleep 0.05; done"], cwd=sys.argv[2])
asyncio.run(main())
"""


_ON_UVLOOP = """
import asyncio, importlib, json, sys
from pathlib import Path
import uvloop
from roost.testing.backends import attempt_all, inherited
module, name = sys.argv[1].split(":")
async def main():
    backend, folder = getattr(importlib.import_module(module), name)(*sys.argv[3:]), Path(sys.argv[2])
    (work := folder / "work").mkdir()
    print(json.dumps([await inherited(backend, work), await attempt_all(backend, folder)]))
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
"""


@asynccontextmanager
async def made(backend: Backend, workspace: Path, marker: str = "", **more: Any) -> AsyncGenerator[Guest]:
    marker = marker or f"test-{secrets.token_hex(6)}"
    guest = await backend.create(SandboxSpec(session="s", workspace=workspace, marker=marker, **more))
    try:
        yield guest
    finally:
        await guest.close()
        assert await backend.reap(marker) == 0, "something was left"


async def shell(guest: Guest, folder: Path, script: str, quota: Quota | None = None) -> ExecResult:
    return await guest.exec(["/bin/sh", "-c", script], cwd=str(folder), quota=quota)


async def python(guest: Guest, folder: Path, program: str, quota: Quota | None = None) -> ExecResult:
    run = [os.path.realpath(sys.executable), "-I", "-S", "-c", program]
    return await guest.exec(run, cwd=str(folder), quota=quota)


FETCH = """
import os, sys, urllib.request as r
get = r.build_opener(r.ProxyHandler({'http': os.environ['http_proxy']})).open
try: print(get(sys.argv[1], timeout=10).read().decode())
except Exception as e: print('refused', getattr(e, 'code', e))
"""
"""A program that fetches the URL in its argument from inside, through the proxy in its environment."""


class BackendContract:
    maker = ""
    not_held: Set[str] = frozenset()
    """Attempts of `roost.testing.escapes` that succeed without reaching this machine."""

    def arguments(self, backend: Backend) -> Sequence[str]:
        """Return the arguments of `maker` that make `backend`."""
        return ()

    async def test_the_probe_runs_a_guest_and_is_remembered(self, backend: Backend) -> None:
        probe = await backend.probe()
        assert (probe.able, probe.level, probe.backend) == (True, backend.level, backend.name)
        assert probe.seconds > 0
        began = time.monotonic()
        assert await backend.probe() == probe
        assert time.monotonic() - began < max(0.5, probe.seconds)

    async def test_no_way_out(self, backend: Backend, tmp_path: Path) -> None:
        got = await attempt_all(backend, tmp_path)
        assert len(got) >= 60
        assert {name: what for name, what in got.items() if what is not None and name not in self.not_held} == {}

    async def test_no_way_out_on_another_event_loop(self, backend: Backend, tmp_path: Path) -> None:
        """uvloop leaks copies of a program's standard streams, and inherited descriptors, into its children."""
        if find_spec("uvloop") is None:
            return
        given = os.open(os.devnull, os.O_RDONLY)
        try:
            owner = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", _ON_UVLOOP, self.maker, str(tmp_path), *self.arguments(backend)),
                stdout=asyncio.subprocess.PIPE,
                pass_fds=[given],
            )
        finally:
            os.close(given)
        said, _ = await owner.communicate()
        assert owner.returncode == 0
        streams, got = json.loads(said)
        assert streams == ["0 1 2"] * 3
        assert len(got) >= 60
        assert {name for name, what in got.items() if what is not None} <= self.not_held

    async def test_memory(self, backend: Backend, tmp_path: Path) -> None:
        async with made(backend, tmp_path, bounds=SMALL) as guest:
            bomb = await python(guest, tmp_path, _MEMORY)
            assert bomb.exit_code is None
            assert bomb.killed_by == "memory_bytes"
            assert "memory_bytes" in bomb.limits
            assert (await guest.usage()).hits["memory_bytes"] >= 1
            if guest.alive:
                assert (await shell(guest, tmp_path, "echo on")).stdout == "on\n"

    async def test_processes(self, backend: Backend, tmp_path: Path) -> None:
        async with made(backend, tmp_path, bounds=SMALL) as guest:
            bomb = await python(guest, tmp_path, _FORKS, Quota(wall_seconds=10))
            assert bomb.exit_code != 0
            if guest.capabilities.pids == "kernel" and (await guest.usage()).hits:
                assert "pids" in bomb.limits
            assert (await shell(guest, tmp_path, "echo on")).stdout == "on\n"

    async def test_disk(self, backend: Backend, tmp_path: Path) -> None:
        async with made(backend, tmp_path, bounds=SMALL) as guest:
            full = await shell(guest, tmp_path, "head -c 100000000 /dev/zero > /tmp/big; wc -c < /tmp/big; rm /tmp/big")
            assert int(full.stdout.split()[0]) <= 32 * 1024**2
            many = await python(guest, tmp_path, _FILES, Quota(wall_seconds=4))
            assert many.exit_code != 0
            if not guest.alive:
                return
            assert (await shell(guest, tmp_path, "echo on", Quota(wall_seconds=20))).stdout == "on\n"

    async def test_processor(self, backend: Backend, tmp_path: Path) -> None:
        half = Bounds(cpus=0.5)
        async with made(backend, tmp_path, bounds=half) as guest:
            if guest.capabilities.cpus != "kernel":
                return
            before = (await guest.usage()).cpu_seconds
            await shell(guest, tmp_path, "while :; do :; done & while :; do :; done", Quota(wall_seconds=2))
            assert (await guest.usage()).cpu_seconds - before < 1.8

    async def test_a_gigabyte_of_output_leaves_neighbours_alone(self, backend: Backend, tmp_path: Path) -> None:
        async with made(backend, tmp_path) as guest, made(backend, tmp_path) as neighbour:
            flood = asyncio.create_task(
                shell(guest, tmp_path, "head -c 1000000000 /dev/zero; echo end", Quota(wall_seconds=110))
            )
            times: list[float] = []
            while not flood.done():
                began = time.monotonic()
                assert (await shell(neighbour, tmp_path, "echo hi")).stdout == "hi\n"
                times.append(time.monotonic() - began)
            result = await flood
            assert result.truncated
            assert result.stdout.endswith("end\n")
            assert sorted(times)[len(times) // 2] < 0.5

    async def test_who_does_not_listen_is_killed(self, backend: Backend, tmp_path: Path) -> None:
        async with made(backend, tmp_path) as guest:
            deaf = await shell(guest, tmp_path, _DEAF, Quota(wall_seconds=0.5))
            assert deaf.killed_by == "wall_seconds"
            assert deaf.seconds < 30
            for _ in range(250):  # killed processes count until they are reaped
                if (await guest.usage()).pids <= 1:
                    break
                await asyncio.sleep(0.02)
            assert (await guest.usage()).pids <= 1

    async def test_the_first_process_cannot_be_ended_from_inside(self, backend: Backend, tmp_path: Path) -> None:
        async with made(backend, tmp_path) as guest:
            await shell(guest, tmp_path, "for s in 1 2 3 9 11 13 15 17 19; do kill -$s 1; done; kill -9 -1")
            assert guest.alive
            assert (await shell(guest, tmp_path, "echo on")).stdout == "on\n"

    async def test_two_do_not_meet(self, backend: Backend, tmp_path: Path) -> None:
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        async with made(backend, tmp_path / "one") as one, made(backend, tmp_path / "two") as two:
            await one.spawn(["sleep", "4711"], cwd=str(tmp_path / "one"))
            await shell(one, tmp_path / "one", "echo of-one > /tmp/mine; echo work > file")
            script = f"cat /tmp/mine {tmp_path}/one/file; cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
            seen = (await shell(two, tmp_path / "two", script)).stdout
            assert "of-one" not in seen
            assert "4711" not in seen
            assert "work\n" not in seen
        assert (tmp_path / "one" / "file").read_text() == "work\n"

    async def test_programs_that_run_on(self, backend: Backend, tmp_path: Path) -> None:
        async with made(backend, tmp_path) as guest:
            server = await guest.spawn(
                ["sh", "-c", "echo up; while read line; do echo got $line; done"], cwd=str(tmp_path)
            )
            reading = server.read()
            assert await anext(reading) == b"up\n"
            assert (await shell(guest, tmp_path, "(sleep 60 &) ; echo between")).stdout == "between\n"
            assert guest.background == 1
            await server.write(b"this\n")
            assert await anext(reading) == b"got this\n"
            await server.close()
            await server.close()
            assert await server.wait() < 0
            assert guest.background == 0
            missing = await guest.spawn(["/no/such/program"], cwd=str(tmp_path))
            assert b"/no/such/program" in b"".join([piece async for piece in missing.read()])
            assert await missing.wait() == 127

    async def test_a_flood_that_nobody_reads_keeps_its_end(self, backend: Backend, tmp_path: Path) -> None:
        async with made(backend, tmp_path) as guest:
            script = "head -c 50000000 /dev/zero | tr '\\0' x; echo; echo last"
            job = await guest.spawn(["sh", "-c", script], cwd=str(tmp_path))
            assert await asyncio.wait_for(job.wait(), 30) == 0
            said = b"".join([piece async for piece in job.read()])
            assert said.startswith(b"xxx")
            assert said.endswith(b"x\nlast\n")
            assert b"bytes cut" in said
            assert len(said) < 600_000

    async def test_a_terminal(self, backend: Backend, tmp_path: Path) -> None:
        async with made(backend, tmp_path) as guest:
            if not guest.capabilities.terminals:
                return
            terminal = await guest.open_terminal(["/bin/sh"], cwd=str(tmp_path), columns=100, rows=30)
            await terminal.write(b"stty size; tty; exit_code=3\n")
            shown = await until(terminal.read(), b"/dev/pts/")
            assert b"30 100" in shown
            await terminal.resize(120, 40)
            await terminal.write(b"stty size; exit $exit_code\n")
            shown = b"".join([piece async for piece in terminal.read()])
            assert b"40 120" in shown
            assert await terminal.wait() == 3

    async def test_no_network(self, backend: Backend, tmp_path: Path) -> None:
        async with made(backend, tmp_path) as guest:
            assert (await shell(guest, tmp_path, "cat /proc/net/dev")).stdout.count(":") == 1

    async def test_only_hosts_of_the_list(self, backend: Backend, tmp_path: Path) -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        run = [os.path.realpath(sys.executable), "-I", "-c", FETCH]
        async with server, made(backend, tmp_path, network=Network(hosts=(f"localhost:{port}",))) as guest:
            good = await guest.exec([*run, f"http://localhost:{port}/"], cwd=str(tmp_path))
            assert good.stdout == "hello\n", good
            bad = await guest.exec([*run, "http://example.com/"], cwd=str(tmp_path))
            assert bad.stdout == "refused 403\n"
            assert "network" in bad.limits
            direct = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
            assert (await python(guest, tmp_path, direct)).exit_code == 1

    async def test_a_sandbox_that_is_over(self, backend: Backend, tmp_path: Path) -> None:
        async with made(backend, tmp_path) as guest:
            running = asyncio.create_task(shell(guest, tmp_path, "sleep 60"))
            await asyncio.sleep(0.2)
            await guest.close()
            assert (await running).exit_code is None
            assert not guest.alive
            refused = False
            try:
                await shell(guest, tmp_path, "true")
            except SandboxError:
                refused = True
            assert refused
            await guest.close()

    async def test_a_command_that_is_stopped_is_killed_at_once(self, backend: Backend, tmp_path: Path) -> None:
        async with made(backend, tmp_path) as guest:
            stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            script = "trap '' TERM; echo begun; (while :; do echo x >> beat; sleep 0.05; done) & wait"
            running = asyncio.create_task(guest.exec(["/bin/sh", "-c", script], cwd=str(tmp_path), stop=stop))
            for _ in range(1000):
                await asyncio.sleep(0.02)
                if (tmp_path / "beat").exists():
                    break
            stop.set_result("no_room")
            result = await running
            assert (result.killed_by, result.exit_code, result.stdout) == ("no_room", None, "begun\n")
            size = (tmp_path / "beat").stat().st_size
            await asyncio.sleep(0.3)
            assert (tmp_path / "beat").stat().st_size == size
            assert (await shell(guest, tmp_path, "echo on")).stdout == "on\n"

    async def test_a_workspace_that_is_no_folder_of_a_task(self, backend: Backend) -> None:
        for folder in (Path("/"), Path("/no/such/folder")):
            refused = False
            try:
                async with made(backend, folder):
                    pass
            except SandboxError:
                refused = True
            assert refused, folder

    async def test_what_a_killed_process_left_is_reaped(self, backend: Backend, tmp_path: Path) -> None:
        marker = f"test-{secrets.token_hex(6)}"
        owner = await asyncio.create_subprocess_exec(sys.executable, "-c", _LEFT, self.maker, str(tmp_path), marker)
        try:
            deadline = time.monotonic() + 20
            while not (tmp_path / "beat").exists():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
        finally:
            owner.kill()
            await owner.wait()
        async with made(backend, tmp_path) as other:
            await backend.reap(marker)
            assert (await shell(other, tmp_path, "echo on")).stdout == "on\n"
        size = (tmp_path / "beat").stat().st_size
        await asyncio.sleep(0.3)
        assert (tmp_path / "beat").stat().st_size == size
        assert await backend.reap(marker) == 0

    async def test_chaos_leaves_nothing(self, backend: Backend, tmp_path: Path, rounds: int = 12) -> None:
        """Make sandboxes, use them, cancel at any moment, close."""

        async def one(number: int) -> None:
            async with made(backend, tmp_path) as guest:
                await shell(guest, tmp_path, f"(setsid sleep 60 &); sleep 0.{number}; exit {number}")

        before = set(os.listdir("/proc/self/fd"))
        tasks = [asyncio.create_task(one(number % 10)) for number in range(rounds)]
        for number, task in enumerate(tasks):
            if number % 3 == 0:
                asyncio.get_running_loop().call_later(0.03 * number, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [each for each in results if isinstance(each, Exception)] == []
        for _ in range(600):  # what was cancelled is closed in its own time
            if len(set(os.listdir("/proc/self/fd")) - before) <= 2:
                break
            await asyncio.sleep(0.05)
        assert len(set(os.listdir("/proc/self/fd")) - before) <= 2


async def inherited(backend: Backend, workspace: Path) -> list[str]:
    """Return the open descriptors of a command, of a background command and of one on a terminal."""
    look, cwd = [os.path.realpath(sys.executable), "-I", "-S", "-c", _OPEN], str(workspace)
    async with made(backend, workspace) as guest:
        found = [(await guest.exec(look, cwd=cwd)).stdout]
        for starting in (guest.spawn(look, cwd=cwd), guest.open_terminal(look, cwd=cwd)):
            running = await starting
            found.append(b"".join([piece async for piece in running.read()]).decode())
            await running.close()
    return [each.strip() for each in found]


async def attempt_all(backend: Backend, folder: Path) -> dict[str, str | None]:
    """Return what each attempt of `roost.testing.escapes` got."""
    (workspace := folder / "workspace").mkdir()
    with target(folder, workspace) as setting:
        async with made(backend, workspace) as guest:
            return await attempt(guest, workspace, {**setting, "pid": os.getpid()})


async def attempt(sandbox: Sandbox, workspace: Path, setting: Mapping[str, Any]) -> dict[str, str | None]:
    run = [os.path.realpath(sys.executable), "-I", "-S", "-", json.dumps(setting)]
    program = await asyncio.to_thread(Path(escapes.__file__).read_bytes)
    result = await sandbox.exec(run, cwd=str(workspace), stdin=program)
    assert result.exit_code == 0, result
    return json.loads(result.stdout)


@contextmanager
def target(folder: Path, workspace: Path | None = None) -> Generator[dict[str, Any]]:
    """Set up targets outside a sandbox and yield them as settings for `roost.testing.escapes`, without `pid`. Programs
    outside also listen on sockets in the workspace."""
    (secret := folder / "secret").write_text("the secret")
    name = f"roost-test-{secrets.token_hex(6)}"
    with (
        socket.create_server(("127.0.0.1", 0)) as outside,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as service,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mailbox,
    ):
        abstract.bind("\0" + name)
        abstract.listen()
        if workspace is not None:
            (workspace / "run").mkdir(exist_ok=True)
            service.bind(str(workspace / "run" / "service"))
            service.listen()
            mailbox.bind(str(workspace / "mailbox"))
        yield {
            "secret": str(secret),
            "port": outside.getsockname()[1],
            "socket": name,
            "homes": [str(Path.home())],
            "writes": ["/", "/usr", "/usr/bin", "/etc", "/run/roost", sys.prefix, sys.base_prefix],
        }


async def until(pieces: AsyncIterator[bytes], wanted: bytes) -> bytes:
    found = b""
    async with asyncio.timeout(10):
        async for piece in pieces:
            found += piece
            if wanted in found:
                return found
    raise AssertionError(f"{wanted!r} was never shown: {found!r}")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
    await writer.drain()
    writer.close()
