"""Every test of the kernel runs on every store. `ROOST_TEST_STORES=sqlite` leaves the others out."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from .support import place

STORES = os.environ.get("ROOST_TEST_STORES", "sqlite postgres").split()


@pytest.fixture(autouse=True, params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """`parametrize("store", ["sqlite"], indirect=True)` marks what is about one of them."""
    if request.param == "sqlite":
        yield
        return
    async with request.getfixturevalue("postgres").borrowed() as url:
        place.set(url)
        yield
        place.set(None)
