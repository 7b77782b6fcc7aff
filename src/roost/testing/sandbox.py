"""Conformance suite of a Sandbox. Every isolation level must pass it.

    class TestMine(SandboxContract):
        @pytest.fixture
        def sandbox(self): return MySandbox(...)

Fixtures: `sandbox`, and `tmp_path` (pytest's own), a folder that the sandbox's commands can use. Needs a POSIX shell
and the usual small programs inside the sandbox, and pytest's asyncio mode `auto`.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from roost.errors import SandboxError
from roost.sandbox.base import ExecResult, Quota, Sandbox


async def _run(sandbox: Sandbox, folder: Path, script: str, quota: Quota | None = None) -> ExecResult:
    return await sandbox.exec(["/bin/sh", "-c", script], cwd=str(folder), quota=quota)


async def _silent(file: Path, seconds: float = 0.4) -> bool:
    """True when no process writes to `file` any more. Processes that tests leave behind write to it continuously, which
    reveals them at every isolation level."""
    before = file.stat().st_size if file.exists() else 0
    await asyncio.sleep(seconds)
    return (file.stat().st_size if file.exists() else 0) == before


async def _until(file: Path, size: int = 1) -> None:
    deadline = time.monotonic() + 20
    while not file.exists() or file.stat().st_size < size:
        assert time.monotonic() < deadline, f"{file.name} was never written"
        await asyncio.sleep(0.02)


_BEAT = "while :; do echo x >> beat; sleep 0.05; done"
_DETACHED = {
    "background": f"({_BEAT}) &",
    "nohup": f"nohup sh -c '{_BEAT}' >/dev/null 2>&1 &",
    "own session": f"setsid sh -c '{_BEAT}' >/dev/null 2>&1 &",
    "double fork": f"(setsid sh -c '({_BEAT}) & exit' >/dev/null 2>&1 &)",
    "cleared environment": f'(env -i PATH="$PATH" setsid sh -c "({_BEAT}) & exit" >/dev/null 2>&1 &)',
    "ignored signals": f"(trap '' TERM HUP INT; setsid sh -c '{_BEAT}' >/dev/null 2>&1 &)",
}


class SandboxContract:
    knows_kin = True
    """The sandbox knows which command an orphan with its own session belongs to. gVisor does not."""

    async def test_output_and_exit_code(self, sandbox: Sandbox, tmp_path: Path) -> None:
        result = await _run(sandbox, tmp_path, "echo out; echo err >&2; pwd; exit 7")
        assert result.stdout == f"out\n{os.path.realpath(tmp_path)}\n"
        assert result.stderr == "err\n"
        assert result.exit_code == 7
        assert result.killed_by is None
        assert not result.truncated

    async def test_a_signal_is_a_negative_exit_code(self, sandbox: Sandbox, tmp_path: Path) -> None:
        assert (await _run(sandbox, tmp_path, "kill -9 $$")).exit_code == -9

    async def test_what_cannot_start_is_data(self, sandbox: Sandbox, tmp_path: Path) -> None:
        for argv in (["/no/such/program"], [str(tmp_path)], ["sh", "-c", "a\0b"], ["sh", "-c", "x" * 3_000_000]):
            result = await sandbox.exec(argv, cwd=str(tmp_path))
            assert result.exit_code in (126, 127)
            assert result.stderr
        for folder in ("gone", "no\0name"):
            gone = await sandbox.exec(["true"], cwd=str(tmp_path / folder))
            assert gone.exit_code == 126
            assert folder[:2] in gone.stderr
        assert (await _run(sandbox, tmp_path, "echo on")).stdout == "on\n"

    async def test_stdin(self, sandbox: Sandbox, tmp_path: Path) -> None:
        data = os.urandom(300_000)
        result = await sandbox.exec(["/bin/sh", "-c", "wc -c; cat"], cwd=str(tmp_path), stdin=data)
        assert result.stdout.split() == ["300000"]
        assert (await sandbox.exec(["cat"], cwd=str(tmp_path))).stdout == ""
        unread = await sandbox.exec(["true"], cwd=str(tmp_path), stdin=data)
        assert unread.exit_code == 0

    async def test_output_is_text_whatever_comes(self, sandbox: Sandbox, tmp_path: Path) -> None:
        result = await _run(sandbox, tmp_path, r"printf 'a\377b\000c'")
        assert result.stdout == "a\ufffdb\0c"

    async def test_a_flood_keeps_head_and_tail(self, sandbox: Sandbox, tmp_path: Path) -> None:
        script = "echo first; head -c 100000000 /dev/zero | tr '\\0' x; echo; echo last"
        result = await _run(sandbox, tmp_path, script, Quota(output_bytes=10_000))
        assert result.truncated
        assert result.stdout.startswith("first\nxxx")
        assert result.stdout.endswith("xxx\nlast\n")
        assert len(result.stdout) < 10_100
        assert "bytes cut" in result.stdout

    async def test_wall_time(self, sandbox: Sandbox, tmp_path: Path) -> None:
        for seconds in (0.4, 2.0, 10.0):  # a slow machine may need longer for the first output
            result = await _run(sandbox, tmp_path, f"echo early; trap '' TERM; {_BEAT}", Quota(wall_seconds=seconds))
            if result.stdout:
                break
        assert result.killed_by == "wall_seconds"
        assert result.exit_code is None
        assert result.stdout == "early\n"
        assert result.seconds < seconds + 20
        assert await _silent(tmp_path / "beat")

    async def test_cpu_time(self, sandbox: Sandbox, tmp_path: Path) -> None:
        result = await _run(sandbox, tmp_path, "while :; do :; done", Quota(cpu_seconds=1, wall_seconds=100))
        assert result.killed_by == "cpu_seconds"
        assert result.exit_code is None

    async def test_memory_files_and_descriptors(self, sandbox: Sandbox, tmp_path: Path) -> None:
        quota = Quota(memory_bytes=256 * 1024**2, file_bytes=100_000, open_files=50)
        memory = await _run(sandbox, tmp_path, "head -c 600000000 /dev/zero | tail -c 500000000 | wc -c", quota)
        assert memory.stdout.strip() != "500000000"
        await _run(sandbox, tmp_path, "head -c 500000 /dev/zero > big", quota)
        assert (tmp_path / "big").stat().st_size <= 100_352
        assert (await _run(sandbox, tmp_path, "ulimit -n", quota)).stdout == "50\n"

    async def test_nothing_outlives_the_command(self, sandbox: Sandbox, tmp_path: Path) -> None:
        for name, script in _DETACHED.items():
            folder = tmp_path / name.replace(" ", "-")
            folder.mkdir()
            wait = "while [ ! -s beat ]; do sleep 0.02; done; echo done"
            result = await _run(sandbox, folder, f"{script}\n{wait}", Quota(wall_seconds=60))
            assert (name, result.stdout) == (name, "done\n")
            assert await _silent(folder / "beat"), name

    async def test_nothing_outlives_a_cancel(self, sandbox: Sandbox, tmp_path: Path) -> None:
        script = f"{_DETACHED['double fork']}\n{_DETACHED['cleared environment']}\n{_BEAT}"
        task = asyncio.create_task(_run(sandbox, tmp_path, script))
        await _until(tmp_path / "beat", 10)
        task.cancel()
        asyncio.get_running_loop().call_later(0.05, task.cancel)
        cancelled = False
        try:
            await task
        except asyncio.CancelledError:
            cancelled = True
        assert cancelled
        assert await _silent(tmp_path / "beat")

    async def test_many_children(self, sandbox: Sandbox, tmp_path: Path) -> None:
        script = f"for i in $(seq 20); do (setsid sh -c '{_BEAT}' >/dev/null 2>&1 &); done"
        script += "; while [ ! -s beat ]; do sleep 0.02; done; sleep 0.3"
        assert (await _run(sandbox, tmp_path, script)).exit_code == 0
        assert (tmp_path / "beat").stat().st_size > 0
        assert await _silent(tmp_path / "beat")

    async def test_sigterm_comes_first(self, sandbox: Sandbox, tmp_path: Path) -> None:
        script = "trap 'echo tidy; exit' TERM; echo ready > ready; while :; do sleep 0.05; done"
        for seconds in (0.5, 2.0, 10.0):  # a slow machine may need longer until it traps the signal
            result = await _run(sandbox, tmp_path, script, Quota(wall_seconds=seconds))
            if (tmp_path / "ready").exists():
                break
        assert result.stdout == "tidy\n"
        assert result.killed_by == "wall_seconds"

    async def test_the_environment_is_clean(self, sandbox: Sandbox, tmp_path: Path) -> None:
        os.environ["ROOST_TEST_API_KEY"] = "sk-secret"
        try:
            result = await sandbox.exec(["env"], cwd=str(tmp_path), env={"MINE": "yes"})
        finally:
            del os.environ["ROOST_TEST_API_KEY"]
        names = dict(line.split("=", 1) for line in result.stdout.splitlines())
        assert "sk-secret" not in result.stdout
        assert names["MINE"] == "yes"
        assert names["HOME"] == str(tmp_path)
        assert set(names) <= {"MINE", "HOME", "PATH", "PWD", "LANG", "TERM", "ROOST_SANDBOX", "SHLVL", "_", "OLDPWD"}

    async def test_concurrent_commands_do_not_meet(self, sandbox: Sandbox, tmp_path: Path) -> None:
        slow = asyncio.create_task(_run(sandbox, tmp_path, "sleep 1; echo slow"))
        quick = [_run(sandbox, tmp_path, f"(setsid sleep 50 &) ; sleep 0.1; echo {n}") for n in range(12)]
        results = await asyncio.gather(*quick)
        assert [result.stdout for result in results] == [f"{n}\n" for n in range(12)]
        assert (await slow).stdout == "slow\n"

    async def test_what_detached_itself_stays_as_long_as_its_command(self, sandbox: Sandbox, tmp_path: Path) -> None:
        beat, over = tmp_path / "beat", tmp_path / "over"
        wait = "while [ ! -e over ]; do sleep 0.02; done"
        living = asyncio.create_task(_run(sandbox, tmp_path, f"{_DETACHED['double fork']}\n{wait}"))
        await _until(beat)
        assert (await _run(sandbox, tmp_path, "echo other")).stdout == "other\n"
        if self.knows_kin:
            await _until(beat, beat.stat().st_size + 6)
        over.touch()
        assert (await living).exit_code == 0
        assert await _silent(beat)

    async def test_the_loop_stays_free(self, sandbox: Sandbox, tmp_path: Path) -> None:
        shares: list[float] = []
        while len(shares) < 5 and min(shares, default=1.0) > 0.5:  # a machine that stands still holds the loop up, too
            running = asyncio.create_task(_run(sandbox, tmp_path, "head -c 50000000 /dev/zero; sleep 0.3"))
            began = last = time.monotonic()
            longest = 0.0
            while not running.done():
                await asyncio.sleep(0.005)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
            assert (await running).exit_code == 0
            shares.append(longest / (last - began))
        assert min(shares) <= 0.5, "the loop stood still for most of the command's time"

    async def test_close_ends_what_runs(self, sandbox: Sandbox, tmp_path: Path) -> None:
        task = asyncio.create_task(_run(sandbox, tmp_path, _BEAT))
        await _until(tmp_path / "beat")
        await sandbox.close()
        result = await task
        assert result.exit_code is None
        assert await _silent(tmp_path / "beat")
        refused = False
        try:
            await _run(sandbox, tmp_path, "true")
        except SandboxError:
            refused = True
        assert refused
