"""A home that was copied, by whatever copies machines, bears the name of another."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path

import pytest

from roost.errors import ConfigError
from roost.kernel.config import KernelConfig
from roost.log.dispatch import NodeCard
from roost.runtime import Runtime

from .nodes import node
from .support import place

BRIEF = KernelConfig(linger=0.05, scan=30.0, lease=1.5)


async def copied(folder: Path) -> None:
    """As `cp -a`, while a node is at work in it."""
    await asyncio.to_thread(shutil.copytree, folder / "one", folder / "two", symlinks=True)


async def test_a_copy_of_a_home_is_refused_while_the_other_is_in_use(tmp_path: Path) -> None:
    async with (
        node(tmp_path, "one", config=BRIEF),
        node(tmp_path, "one", config=BRIEF) as one,
    ):  # two in one home are fine
        await copied(tmp_path)
        started = time.monotonic()
        with pytest.raises(ConfigError, match=r"two/home\.id") as caught:
            async with node(tmp_path, "two", config=BRIEF):
                pass
        assert caught.value.code == "home_copied"
        assert time.monotonic() - started < BRIEF.scan
        (tmp_path / "two" / "home.id").unlink()
        async with node(tmp_path, "two", config=BRIEF) as two:
            assert two.node.place.home != one.node.place.home


async def test_of_two_copies_that_start_at_once_not_both_go_on(tmp_path: Path) -> None:
    async with node(tmp_path, "one", config=BRIEF):
        await copied(tmp_path)
    first = Runtime(tmp_path / "one", config=BRIEF, store=place.url or tmp_path / "roost.db")
    second = Runtime(tmp_path / "two", config=BRIEF, store=place.url or tmp_path / "roost.db")
    ends = await asyncio.gather(first.start(), second.start(), return_exceptions=True)
    refused = [end for end in ends if end is not None]
    assert refused
    assert all(isinstance(end, ConfigError) for end in refused)
    for runtime, end in zip((first, second), ends, strict=True):
        if end is None:
            await runtime.stop()


async def test_a_home_is_taken_up_after_a_crash(tmp_path: Path) -> None:
    """The store believes that the dead node lives, and its lock is free: but it does not beat."""
    async with node(tmp_path, "one", config=BRIEF) as one:
        home = one.node.place.home
        store = await place.open(tmp_path)
        await store.dispatch.beat(NodeCard(id="node_dead", home=home), ttl=60)
        started = time.monotonic()
        async with node(tmp_path, "one", config=BRIEF) as again:
            assert again.node.place.home == home
            assert time.monotonic() - started < 30, "it waited until the dead node's lease was over"
        await store.dispatch.leave("node_dead")
        await store.close()


async def test_a_home_that_a_program_makes_is_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "below" / "home"
    async with Runtime(home, config=BRIEF, store=place.url or None):
        assert home.stat().st_mode & 0o077 == 0
