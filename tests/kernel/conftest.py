"""Every test of the kernel runs on every store. `ROOST_TEST_STORES=sqlite` leaves the others out."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from roost.log.store import open_store

from .support import place

STORES = os.environ.get("ROOST_TEST_STORES", "sqlite postgres").split()


async def prepare(url: str) -> None:
    """A database with the tables in it, which the tests' own are copies of."""
    await (await open_store(url)).close()


@pytest.fixture(autouse=True, params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """`parametrize("store", ["sqlite"], indirect=True)` marks what is about one of them."""
    if request.param == "postgres":
        place.set(await request.getfixturevalue("postgres").database(prepare))
    yield
    place.set(None)
