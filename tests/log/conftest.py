"""A PostgreSQL database with Roost's tables, and a journal on it. A module whose tests break the server overrides
`server` with one of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from roost.log.store import Store
from roost.stores.postgres.store import open_postgres
from tests.harness.postgres.server import PostgresServer


async def _prepare(url: str) -> None:
    await (await open_postgres(url)).close()


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> PostgresServer:
    return postgres


@pytest.fixture
async def url(server: PostgresServer) -> str:
    return await server.database(_prepare)


@pytest.fixture
async def journal(url: str) -> AsyncIterator[Store]:
    journal = await open_postgres(url)
    yield journal
    await journal.close()
