"""The bench's PostgreSQL server, and what it spends."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.harness.postgres.server import PostgresServer

from bench.contest import Around

_TICK = os.sysconf("SC_CLK_TCK")


class Server:
    """As a careful operator runs it: `fsync` and `synchronous_commit` on, defaults else."""

    def __init__(self) -> None:
        self._server = PostgresServer(fsync=True)

    def __enter__(self) -> Server:
        self._server.start()
        self._pid = int((self._server.data / "postmaster.pid").read_text().split()[0])
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    @property
    def version(self) -> str:
        return self._server.run("psql", "-Atc", "SHOW server_version", "postgres").strip()

    def database(self) -> str:
        return asyncio.run(self._server.database())

    def fresh(self) -> Around:
        """A new database for each round; what the server spent meanwhile goes into the answer, in CPU seconds."""

        @contextlib.contextmanager
        def around() -> Iterator[dict[str, Any]]:
            order: dict[str, Any] = {"store": self.database()}
            began = self._cpu_seconds()
            yield order
            order["answer"] = {"server": self._cpu_seconds() - began}

        return around

    def _cpu_seconds(self) -> float:
        """Of the first process, of its children, and of those that ended and were waited for."""
        ticks = sum(_times(self._pid, 11, 15))
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                if entry.name.isdigit() and _times(int(entry.name), 1, 2) == [self._pid]:
                    ticks += sum(_times(int(entry.name), 11, 13))
        return ticks / _TICK


def _times(pid: int, first: int, past: int) -> list[int]:
    return [int(field) for field in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[first:past]]
