"""One PostgreSQL server for the whole run; each test that asks for `database` gets the URL of one of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from roost.testing.postgres import PostgresServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer.shared() as server:
        yield server


@pytest.fixture
async def database(postgres: PostgresServer) -> str:
    return await postgres.database()
