"""The real clock, moved ahead: what the tests of leases, lingers and timers wait by."""

from __future__ import annotations

import asyncio
import time

import pytest

from roost.kernel.lease import Lease
from roost.testing.clock import MovedClock


async def test_timers_and_leases_come_due_at_once() -> None:
    lost: list[str] = []
    clock, began = MovedClock(), time.perf_counter()
    with clock.everywhere():
        lease = Lease(3600.0, lambda: lost.append("lease"))
        lease.renewed(time.monotonic())
        asyncio.get_running_loop().call_later(1800, lost.append, "timer")
        await clock.sleep(1799)
        assert (lost, lease.held) == ([], True)
        await clock.sleep(1801.5)
        assert (lost, lease.held) == (["timer", "lease"], False)
        lease.close()
    assert time.perf_counter() - began < 60


async def test_time_passes_faster_while_work_waits() -> None:
    clock = MovedClock()

    async def work() -> str:
        await asyncio.sleep(100)
        return "done"

    with clock.everywhere():
        before, began = time.time(), time.perf_counter()
        assert await clock.hurry(work(), speed=1000) == "done"
        assert time.time() - before > 99
    assert time.perf_counter() - began < 60


async def test_a_failure_of_the_work_is_raised() -> None:
    async def work() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await MovedClock().hurry(work())


def test_wall_time_is_as_before_and_the_monotonic_clock_never_goes_back() -> None:
    clock, real = MovedClock(), time.time
    with clock.everywhere():
        before = time.monotonic()
        clock.skip(1000)
        assert time.monotonic() >= before + 1000
        assert time.time() - real() == pytest.approx(1000, abs=30)
        after = time.monotonic()
    assert time.time is real
    assert time.monotonic() >= after
