"""Starting, killing and looking after daemon processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import IO, Any

import msgspec
from tests.harness.crash.daemon import Settings
from tests.harness.warm_fork import Process, spawn

from roost.client.daemon_address import Endpoint, Unreachable, of_home

START_SECONDS = 120.0


class DaemonProcess:
    """The daemon of one home, which may be killed and started again. `starts` are the seconds from each start until the
    daemon was healthy. Its log goes to `daemon.log` beside the home."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.starts: list[float] = []
        self.spawned_at = 0.0
        self._log: IO[bytes] | None = None
        self._process: Process | None = None

    @property
    def log_path(self) -> Path:
        return self.settings.home.with_name(self.settings.home.name + ".log")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def spawn(self, **changes: Any) -> None:
        """Start it with changed settings, without waiting for anything."""
        self.settings = msgspec.structs.replace(self.settings, **changes)
        self.settings.home.mkdir(parents=True, exist_ok=True)
        if self._log is None:
            self._log = self.log_path.open("ab")
        self.spawned_at = time.monotonic()
        self._process = spawn("tests.harness.crash.daemon", self.settings.argument, output=self._log)

    async def start(self, **changes: Any) -> None:
        """Start it and wait until it is healthy. Raises `AssertionError` with the end of its log when it is not."""
        self.spawn(**changes)
        await self.healthy()

    async def healthy(self) -> float:
        """Wait; the seconds since it was started."""
        while not await asyncio.to_thread(self.answers):
            if self.exited or time.monotonic() - self.spawned_at > START_SECONDS:
                raise AssertionError(f"the daemon did not come up:\n{self.log_tail()}")
            await asyncio.sleep(0.01)
        self.starts.append(time.monotonic() - self.spawned_at)
        return self.starts[-1]

    @property
    def exited(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    async def died(self, seconds: float) -> bool:
        """Whether it ends by itself within so many seconds."""
        deadline = time.monotonic() + seconds
        while not self.exited and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        return self.exited

    async def stop(self) -> None:
        """Gracefully. Raises `AssertionError` when it does not end within 20 s."""
        if self._process is not None and not self.exited:
            self._process.send_signal(signal.SIGTERM)
            if not await self.died(20.0):
                self.kill()
                raise AssertionError(f"the daemon did not stop:\n{self.log_tail()}")

    def close(self) -> None:
        if not self.exited:
            self.kill()
        if self._log is not None:
            self._log.close()
            self._log = None

    def log_tail(self, lines: int = 20) -> str:
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def endpoint(self) -> Endpoint:
        """Raises `Unreachable` while the process that runs now has not said where it listens."""
        found = of_home(self.settings.home)
        if found.pid != self.pid:
            raise Unreachable("the daemon has not come up yet")
        return found

    def answers(self) -> bool:
        """Whether it is healthy."""
        from roost.client.requests import ApiError
        from roost.client.sync_client import BlockingTransport, SyncClient

        try:
            client = SyncClient(BlockingTransport(self.endpoint, timeout=5.0))
            try:
                return client.node.health().status == "ok"
            finally:
                client.close()
        except (Unreachable, ApiError):
            return False


def commands_of(home: Path) -> dict[int, bytes]:
    """The living processes that work in this home's workspaces, as commands of its tools do: process number, and when
    it started. Told by their folder, so that it does not matter how the product itself finds them."""
    root = f"{home.resolve()}/workspaces/"
    found: dict[int, bytes] = {}
    for name in os.listdir("/proc") if sys.platform == "linux" else []:
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{name}/cwd").startswith(root):
                    fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
                    if fields[0] not in (b"Z", b"X"):
                        found[int(name)] = fields[19]
    return found
