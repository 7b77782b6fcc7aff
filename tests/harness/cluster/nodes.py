"""The nodes: each a daemon process that reaches the database through a proxy of its own, all behind one balancer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from tests.harness.crash.daemon import Settings
from tests.harness.crash.process import DaemonProcess, commands_of
from tests.harness.proxy import Address, TcpProxy

from roost.client.daemon_address import Endpoint, Unreachable
from roost.client.requests import ApiError
from roost.client.sync_client import BlockingTransport, SyncClient

T = TypeVar("T")
UP_SECONDS = 60.0


class Node:
    """`id` is what the process that ran when it was last asked calls itself."""

    def __init__(self, settings: Settings) -> None:
        assert settings.store is not None
        self.name = settings.home.name
        self.process = DaemonProcess(settings)
        self.proxy = TcpProxy.to(settings.store)
        self.id = ""
        self.down = False
        self._store = settings.store

    async def start(self) -> None:
        await self.proxy.start()
        self.process.spawn(store=self.proxy.through(self._store))

    def spawn(self) -> None:
        self.down = False
        self.process.spawn()

    def kill(self) -> None:
        """SIGKILL, and it stays down until `spawn`."""
        self.down = True
        self.process.kill()

    def suspend(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGCONT)

    async def stop(self) -> None:
        """SIGTERM, and it stays down."""
        self.down = True
        await self.process.stop()

    async def drain(self, seconds: float) -> int:
        """Ask it to let its sessions go; how many it still has when it has none any more or the time is up."""
        deadline = time.monotonic() + seconds
        await asyncio.to_thread(self._call, lambda client: client.node.drain(grace=seconds))
        while True:
            left = (await asyncio.to_thread(self._call, lambda client: client.node.health())).live
            if not left or time.monotonic() > deadline:
                return left
            await asyncio.sleep(0.05)

    async def ask(self) -> bool:
        """Whether it is healthy; then `id` is known."""
        return await asyncio.to_thread(self._ask)

    def _ask(self) -> bool:
        try:
            health = self._call(lambda client: client.node.health())
        except (Unreachable, ApiError):
            return False
        self.id = health.node or self.id
        return health.status == "ok"

    def _call(self, order: Callable[[SyncClient], T]) -> T:
        client = SyncClient(BlockingTransport(self.process.endpoint, timeout=2.0))
        try:
            return order(client)
        finally:
            client.close()

    async def close(self) -> None:
        self.resume()
        self.process.close()
        await self.proxy.close()


class Nodes:
    """All of them, and the way in. A process that ended by itself is started again, as a service manager does; `ends`
    tells of each."""

    def __init__(self, folder: Path, count: int, settings: Settings) -> None:
        self.all = [
            Node(msgspec.structs.replace(settings, home=folder / f"node{number}")) for number in range(1, count + 1)
        ]
        self.balancer = TcpProxy(self._addresses)
        self.ends: list[str] = []
        self._token: str | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.balancer.start()
        for node in self.all:
            await node.start()
        self._keeper = asyncio.create_task(self._keep())
        await self.healthy()
        self._token = self.all[0].process.endpoint().token

    def endpoint(self) -> Endpoint:
        """Any node, by way of the balancer."""
        return Endpoint(self.balancer.url, self._token)

    async def healthy(self, nodes: Sequence[Node] | None = None) -> float:
        """Until all (of these) say that they are; the seconds that it took. Raises `AssertionError` after a minute."""
        began = time.monotonic()
        for node in nodes or self.all:
            while not await node.ask():
                if time.monotonic() - began > UP_SECONDS:
                    raise AssertionError(f"{node.name} did not come up:\n{node.process.log_tail()}")
                await asyncio.sleep(0.02)
        return time.monotonic() - began

    async def stop(self) -> list[str]:
        """Gracefully, all at once. What is left of them, in words."""
        await self._rest()
        results = await asyncio.gather(*(node.stop() for node in self.all), return_exceptions=True)
        left = [f"{node.name}: {result}" for node, result in zip(self.all, results, strict=True) if result]
        commands = {node.name: sorted(commands_of(node.process.settings.home)) for node in self.all}
        return left + [
            f"{name}: commands outlived its graceful stop: {pids}" for name, pids in commands.items() if pids
        ]

    async def close(self) -> None:
        await self._rest()
        for node in self.all:
            await node.close()
        await self.balancer.close()

    async def _rest(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            for node in self.all:
                if node.process.exited and not node.down:
                    self.ends.append(f"{node.name} ended by itself: {node.process.log_tail(3)}")
                    node.spawn()
            await asyncio.sleep(0.2)

    def _addresses(self) -> Sequence[Address]:
        found: list[Address] = []
        for node in self.all:
            with contextlib.suppress(Unreachable):
                host, port, _ = node.process.endpoint().address
                found.append((host, port))
        return found
