from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from roost.log.store import Store
from roost.stores.postgres.store import open_postgres
from roost.testing.deliveries import DeliveryConformance
from roost.testing.dispatch import DispatchConformance
from roost.testing.forks import ForkConformance
from roost.testing.journal import JournalConformance
from roost.testing.journal_model import JournalMachine
from roost.testing.portable import PortableConformance
from roost.testing.shared import SharedConformance
from roost.testing.shared_model import SharedMachine
from tests.harness.postgres.server import PostgresServer

_server = PostgresServer.shared()
_databases: dict[Path, str] = {}


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[PostgresServer]:
    with _server:
        yield _server
    _databases.clear()


async def _prepare(url: str) -> None:
    await (await open_postgres(url)).close()


async def open_in(folder: Path) -> Store:
    """The database that stands for this folder."""
    if folder not in _databases:
        _databases[folder] = await _server.database(_prepare)
    return await open_postgres(_databases[folder])


class Lent:
    """Databases that are used again: one for each folder of a test."""

    @pytest.fixture(autouse=True)
    async def lend(self) -> AsyncIterator[None]:
        self._urls: dict[Path, str] = {}
        async with contextlib.AsyncExitStack() as self._lent:
            yield

    async def open(self, folder: Path) -> Store:
        if folder not in self._urls:
            self._urls[folder] = await self._lent.enter_async_context(_server.borrowed())
        return await open_postgres(self._urls[folder])


class TestJournal(Lent, JournalConformance):
    pass


class TestDeliveries(Lent, DeliveryConformance):
    pass


class TestForks(Lent, ForkConformance):
    pass


class TestDispatch(Lent, DispatchConformance):
    pass


class TestShared(Lent, SharedConformance):
    pass


class TestPortable(Lent, PortableConformance):
    pass


class _Machine(JournalMachine):
    async def open(self, folder: Path) -> Store:
        return await open_in(folder)


class _SharedMachine(SharedMachine):
    async def open(self, folder: Path) -> Store:
        return await open_in(folder)


TestMachine = _Machine.TestCase
TestMachine.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)
TestSharedMachine = _SharedMachine.TestCase
TestSharedMachine.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)
