"""Between a SQLite file and a PostgreSQL database, both ways."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.log.store import Store
from roost.stores.open import open_store
from roost.testing.portable import PortableConformance
from tests.harness.postgres.server import PostgresServer


class Houses:
    """A file for each folder, and a database."""

    @pytest.fixture(autouse=True)
    async def lend(self, postgres: PostgresServer) -> AsyncIterator[None]:
        self.databases: dict[Path, str] = {}
        async with contextlib.AsyncExitStack() as self.lent:
            self.server = postgres
            yield

    async def file(self, folder: Path) -> Store:
        return await open_store(folder / "roost.db")

    async def database(self, folder: Path) -> Store:
        if folder not in self.databases:
            self.databases[folder] = await self.lent.enter_async_context(self.server.borrowed())
        return await open_store(self.databases[folder])


class TestIntoPostgres(Houses, PortableConformance):
    async def open(self, folder: Path) -> Store:
        return await self.file(folder)

    async def open_other(self, folder: Path) -> Store:
        return await self.database(folder)


class TestOutOfPostgres(Houses, PortableConformance):
    async def open(self, folder: Path) -> Store:
        return await self.database(folder)

    async def open_other(self, folder: Path) -> Store:
        return await self.file(folder)
