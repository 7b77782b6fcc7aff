"""Every test of the kernel runs on every store. `ROOST_TEST_STORES=sqlite` leaves the others out."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from roost.testing.clock import MovedClock

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


@pytest.fixture
def clock() -> Iterator[MovedClock]:
    """The clock of the process, for a test that would sleep until a lease, a linger or a timer is over."""
    clock = MovedClock()
    with clock.everywhere():
        yield clock
