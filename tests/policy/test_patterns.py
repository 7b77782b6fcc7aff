"""Patterns searched in processes of their own: what they find, what they cost, and what is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import pytest

from roost.policy.guardrails import PatternGuard
from roost.policy.patterns import MOST, Patterns
from roost.sandbox.host_process import ProcessSandbox
from roost.sandbox.process_marks import reap_orphans

CATASTROPHE = ("(a+)+$", "a" * 50 + "!")


@pytest.fixture
def marker() -> str:
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
async def hands(marker: str) -> AsyncIterator[ProcessSandbox]:
    made = ProcessSandbox(marker=marker)
    yield made
    await made.close()
    assert _marked(marker) == []


def _marked(marker: str) -> list[int]:
    """Processes that search, and belong to `marker`."""
    found: list[int] = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as command, open(f"/proc/{name}/environ", "rb") as environment:
                if b"pattern_worker" in command.read() and marker.encode() in environment.read():
                    found.append(int(name))
        except OSError:
            continue
    return found


async def test_what_is_found(hands: ProcessSandbox) -> None:
    patterns = Patterns(hands)
    for pattern, text, found in [
        (r"\bé+\b", "x éé y", True),
        (r"(?i)ABC$", "1\nabc\n", True),
        ("x", "", False),
        ("", "", True),
        ("\ud800", "a\ud800b", True),
        ("z", "ä" * 3_000_000, False),
    ]:
        assert await patterns.found(pattern, text, seconds=60) is found


async def test_one_process_is_kept_and_a_slow_one_is_ended(hands: ProcessSandbox, marker: str) -> None:
    patterns = Patterns(hands)
    for _ in range(30):
        assert await patterns.found("b", "abc", seconds=60)
    (kept,) = _marked(marker)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(patterns.found(*CATASTROPHE, seconds=0.3), 30)
    assert _marked(marker) == []
    assert await patterns.found("b", "abc", seconds=60)
    (fresh,) = _marked(marker)
    assert fresh != kept


async def test_a_process_that_somebody_ended_is_made_anew(hands: ProcessSandbox, marker: str) -> None:
    patterns = Patterns(hands)
    for wait in (0.0, 0.5):
        assert await patterns.found("b", "abc", seconds=60)
        (kept,) = _marked(marker)
        os.kill(kept, signal.SIGKILL)
        await asyncio.sleep(wait)
        assert await patterns.found("b", "abc", seconds=60)


async def test_many_at_once_and_cancelled(hands: ProcessSandbox, marker: str) -> None:
    patterns = Patterns(hands)
    many = [asyncio.create_task(patterns.found(*CATASTROPHE, seconds=600)) for _ in range(3)]
    good = [patterns.found("b", "abc", seconds=60) for _ in range(4 * MOST)]
    assert await asyncio.gather(*good) == [True] * len(good)
    assert len(_marked(marker)) <= MOST
    for task in many:
        task.cancel()
    assert all(isinstance(each, asyncio.CancelledError) for each in await asyncio.gather(*many, return_exceptions=True))
    assert await patterns.found("b", "abc", seconds=60)


async def test_a_guardrail_of_no_node_holds_its_time_too() -> None:
    guard = PatternGuard(CATASTROPHE[0], seconds=0.3)
    with pytest.raises(TimeoutError):
        await guard.check(CATASTROPHE[1])
    assert await _patiently(guard, "aa")
    assert await _patiently(guard, "b") is None


async def _patiently(guard: PatternGuard, text: str) -> str | None:
    """On a machine that stands still the answer may come too late for once."""
    for _ in range(20):
        with contextlib.suppress(TimeoutError):
            return await guard.check(text)
    raise AssertionError("it never answers")


_DYING = """
import asyncio, sys
from roost.policy.patterns import Patterns
from roost.sandbox.host_process import ProcessSandbox
async def main():
    patterns = Patterns(ProcessSandbox(marker=sys.argv[1]))
    await asyncio.gather(patterns.found("x", "x", seconds=60), patterns.found("x", "x", seconds=60))
    asyncio.create_task(patterns.found("(a+)+$", "a" * 50 + "!", seconds=float(sys.argv[2])))
    await asyncio.sleep(0.2)
    print("ready", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("reaped", [True, False])
async def test_nothing_is_left_of_a_killed_owner(marker: str, reaped: bool) -> None:
    seconds = "60" if reaped else "0.5"
    with subprocess.Popen([sys.executable, "-c", _DYING, marker, seconds], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert await asyncio.to_thread(owner.stdout.readline) == b"ready\n"
        owner.kill()
    if reaped:
        assert _marked(marker)
        await asyncio.to_thread(reap_orphans, marker)
    deadline = time.monotonic() + 60
    while _marked(marker):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
