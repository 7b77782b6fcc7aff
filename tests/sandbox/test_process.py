"""Level 0: the contract, and what only this level does."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.sandbox.base import Quota
from roost.sandbox.host_process import ProcessSandbox
from roost.sandbox.process_marks import reap_orphans
from roost.testing.sandbox import SandboxContract

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


@pytest.fixture
async def sandbox() -> AsyncIterator[ProcessSandbox]:
    made = ProcessSandbox(marker=f"test-{secrets.token_hex(4)}")
    yield made
    await made.close()


@linux
class TestContract(SandboxContract):
    pass


async def test_it_is_level_0(sandbox: ProcessSandbox) -> None:
    assert sandbox.level == 0


@linux
async def test_no_command_inherits_a_descriptor(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    look = ["ls", "/proc/self/fd"]
    try:
        said = (await sandbox.exec(look, cwd=str(tmp_path))).stdout
        running = await sandbox.spawn(look, cwd=str(tmp_path))
        after = b"".join([piece async for piece in running.read()]).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert said.split() == after.split() == ["0", "1", "2", "3"]  # the last is the list's own


async def test_no_descriptor_or_thread_is_left(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    import threading

    await sandbox.exec(["true"], cwd=str(tmp_path))
    before = len(os.listdir("/dev/fd")), threading.active_count()
    for script in ("true", "exit 3", "head -c 100000 /dev/zero", "(setsid sleep 60 &)"):
        await sandbox.exec(["sh", "-c", script], cwd=str(tmp_path))
    await sandbox.exec(["sleep", "60"], cwd=str(tmp_path), quota=Quota(wall_seconds=0.1))
    async with asyncio.timeout(30):
        while len(os.listdir("/dev/fd")) > before[0] or threading.active_count() > before[1]:
            await asyncio.sleep(0.05)


async def test_a_flood_takes_no_memory(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        await sandbox.exec(["head", "-c", "100000000", "/dev/zero"], cwd=str(tmp_path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


@linux
async def test_a_thread_that_outlives_its_main_thread_is_found(sandbox: ProcessSandbox, tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import ctypes, os, threading, time
        os.setsid()
        def beat():
            while True:
                open("beat", "a").write("x")
                time.sleep(0.02)
        threading.Thread(target=beat).start()
        ctypes.CDLL(None).pthread_exit(None)
    """)
    (tmp_path / "program.py").write_text(program)
    script = f"(env -i {sys.executable} program.py &); while [ ! -s beat ]; do sleep 0.02; done; sleep 0.1"
    await sandbox.exec(["sh", "-c", script], cwd=str(tmp_path), quota=Quota(wall_seconds=20))
    size = (tmp_path / "beat").stat().st_size
    await asyncio.sleep(0.3)
    assert (tmp_path / "beat").stat().st_size == size > 0


_DAEMON = """
import asyncio, sys
from roost.sandbox.host_process import ProcessSandbox
beat = "while :; do echo x >> beat; sleep 0.05; done"
script = f"(env -i PATH=$PATH setsid sh -c '({beat}) & exit' >/dev/null 2>&1 &) ; setsid sh -c '{beat}' & sleep 100"
asyncio.run(ProcessSandbox(marker=sys.argv[1]).exec(["sh", "-c", script], cwd=sys.argv[2]))
"""


def _daemon(name: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _DAEMON, name, str(folder)], stderr=subprocess.DEVNULL)


@linux
async def test_what_a_killed_daemon_left_is_reaped_and_nothing_else(tmp_path: Path) -> None:
    home, other = secrets.token_hex(6), secrets.token_hex(6)
    folders = {name: tmp_path / name for name in (home, other)}
    daemons = []
    for name, folder in folders.items():
        folder.mkdir()
        daemons.append(_daemon(name, folder))
    for folder in folders.values():
        deadline = time.monotonic() + 20
        while not (folder / "beat").exists() or (folder / "beat").stat().st_size < 20:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
    daemons[0].send_signal(signal.SIGKILL)
    daemons[0].wait()

    assert await asyncio.to_thread(reap_orphans, home) >= 3
    sizes = {name: (folder / "beat").stat().st_size for name, folder in folders.items()}
    await asyncio.sleep(0.4)
    assert (folders[home] / "beat").stat().st_size == sizes[home]
    async with asyncio.timeout(30):
        while (folders[other] / "beat").stat().st_size <= sizes[other]:
            await asyncio.sleep(0.05)
    assert await asyncio.to_thread(reap_orphans, home) == 0

    daemons[1].kill()
    daemons[1].wait()
    assert await asyncio.to_thread(reap_orphans, other) >= 3


@linux
def test_the_reaper_spares_itself() -> None:
    home = secrets.token_hex(6)
    program = f"from roost.sandbox.process_marks import reap_orphans; print('reaped', reap_orphans({home!r}))"
    env = {**os.environ, "ROOST_SANDBOX": f"{home}/1"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "reaped 0\n"


@linux
def test_secrets_do_not_show_in_the_process_list() -> None:
    program = textwrap.dedent(r"""
        import os, subprocess
        from roost.sandbox.environment import hide_secrets
        shown = lambda: subprocess.run(["cat", f"/proc/{os.getpid()}/environ"], capture_output=True).stdout
        assert b"sk-very-secret" in shown()
        assert "MY_API_KEY" in hide_secrets()
        assert b"sk-very-secret" not in shown() and b"PLAIN=plain" in shown()
        assert os.environ["MY_API_KEY"] == "sk-very-secret"
        assert subprocess.run(["sh", "-c", "echo $MY_API_KEY"], capture_output=True).stdout == b"sk-very-secret\n"
    """)
    env = {"PATH": os.environ["PATH"], "MY_API_KEY": "sk-very-secret", "PLAIN": "plain"}
    subprocess.run([sys.executable, "-c", program], env=env, check=True)


def test_no_room_for_descriptors_is_an_error_and_leaves_nothing() -> None:
    program = textwrap.dedent("""
        import asyncio, os, resource
        from roost.errors import SandboxError
        from roost.sandbox.host_process import ProcessSandbox
        async def main():
            sandbox = ProcessSandbox(marker="none")
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            held = []
            while True:
                try:
                    held.append(os.open("/dev/null", os.O_RDONLY))
                except OSError:
                    break
            for free in range(1, 40):
                os.close(held.pop())
                try:
                    result = await asyncio.wait_for(sandbox.exec(["echo", "hi"], cwd="/"), 30)
                except SandboxError:
                    continue
                assert result.stdout == "hi\\n"
                print("ran with", free)
                return
        asyncio.run(main())
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.startswith("ran with"), done.stderr


_SHARES = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        held = bytearray(b"x") * (80 * 1024**2)
        time.sleep(60)
        os._exit(0)
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="the memory of processes is read from /proc")
async def test_memory_counts_for_all_processes_of_a_command(tmp_path: Path) -> None:
    """Each of them stays below the limit of one process."""
    sandbox = ProcessSandbox(marker=f"test-{secrets.token_hex(6)}", memory_bytes=200 * 1024**2)
    try:
        began = time.monotonic()
        result = await sandbox.exec([sys.executable, "-S", "-c", _SHARES], cwd=str(tmp_path))
        assert (result.exit_code, result.killed_by) == (None, "memory_bytes")
        assert time.monotonic() - began < 50
        fine = await sandbox.exec([sys.executable, "-S", "-c", "import time; time.sleep(0.6); print(1)"], cwd="/")
        assert (fine.stdout, fine.killed_by) == ("1\n", None)
    finally:
        await sandbox.close()
