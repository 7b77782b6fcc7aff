from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from roost.log.postgres import PostgresJournal
from roost.log.store import Store
from roost.testing.dispatch import DispatchConformance
from roost.testing.journal import JournalConformance
from roost.testing.journal_model import JournalMachine
from roost.testing.portable import PortableConformance
from roost.testing.postgres import PostgresServer
from roost.testing.shared import SharedConformance

_server = PostgresServer.shared()
_databases: dict[Path, str] = {}


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[PostgresServer]:
    with _server:
        yield _server
    _databases.clear()


async def _prepare(url: str) -> None:
    await (await PostgresJournal.open(url)).close()


async def open_in(folder: Path) -> Store:
    """The database that stands for this folder."""
    if folder not in _databases:
        _databases[folder] = await _server.database(_prepare)
    return await PostgresJournal.open(_databases[folder])


class TestJournal(JournalConformance):
    async def open(self, folder: Path) -> Store:
        return await open_in(folder)


class TestDispatch(DispatchConformance):
    async def open(self, folder: Path) -> Store:
        return await open_in(folder)


class TestShared(SharedConformance):
    async def open(self, folder: Path) -> Store:
        return await open_in(folder)


class TestPortable(PortableConformance):
    async def open(self, folder: Path) -> Store:
        return await open_in(folder)


class _Machine(JournalMachine):
    async def open(self, folder: Path) -> Store:
        return await open_in(folder)


TestMachine = _Machine.TestCase
TestMachine.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)
