"""What the other nodes are told of a commit: enough for readers and owners, and no more than that to look for work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from roost.log.protocols import Append, Change
from roost.log.store import Store
from roost.stores.postgres.store import open_postgres
from roost.testing.stores import bodies, eventually, new, own, said
from tests.harness.postgres.server import PostgresServer

LOOK = Change("s", None, None)


class Heard(list[Change]):
    """Of the session `s`, until asked."""

    async def take(self, *, seconds: float = 0.15) -> list[Change]:
        await asyncio.sleep(seconds)
        heard: list[Change] = []
        for change in self:
            if change.session == "s" and change not in heard:
                heard.append(change)
        self.clear()
        return heard


@pytest.fixture
async def pair(server: PostgresServer) -> AsyncIterator[tuple[Store, Store, Heard]]:
    """Two journals, and what the second hears. The first has a session `s`, owned by its node `n`."""
    async with server.borrowed() as url:
        here, there = [await open_postgres(url) for _ in range(2)]
        await asyncio.sleep(0.15)
        await new(here, "s")
        heard = Heard()
        there.changes.watch(heard.append)
        yield here, there, heard
        await here.close()
        await there.close()


async def test_events_are_a_matter_of_readers(pair: tuple[Store, Store, Heard]) -> None:
    here, _, heard = pair
    claim = await own(here, "s", "n")
    await heard.take()
    await here.logs.append(Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("a")))
    assert await heard.take() == [Change("s", None, ())]
    await here.logs.append(Append(session="s", epoch=claim.epoch, expected=2, bodies=bodies("b"), release=True))
    assert await heard.take() == [Change("s", None, ())]


async def test_inputs_are_a_matter_of_the_owner(pair: tuple[Store, Store, Heard]) -> None:
    here, there, heard = pair
    await own(there, "s", "n")
    await heard.take()
    await here.inboxes.accept("s", said())
    assert await heard.take() == [Change("s", (), None)]


async def test_what_nobody_took_is_work(pair: tuple[Store, Store, Heard]) -> None:
    here, _, heard = pair
    await here.inboxes.accept("s", said())
    assert LOOK in await heard.take()


async def test_what_was_released_with_work_left_is_work_for_all(
    pair: tuple[Store, Store, Heard],
) -> None:
    here, there, heard = pair
    woken = asyncio.Event()
    here.dispatch.on_work(woken.set)
    claim = await own(here, "s", "n")
    await there.inboxes.accept("s", said())
    await heard.take()
    assert not woken.is_set()
    await here.logs.append(Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("a"), release=True))
    assert woken.is_set()
    assert await heard.take() == [LOOK]
    (claim,) = await there.dispatch.claim("n", session="s")
    await there.logs.append(Append(session="s", epoch=claim.epoch, expected=2, release=True))


async def test_both_that_happened_at_once_are_told(pair: tuple[Store, Store, Heard]) -> None:
    """An owner's events and an input that another journal accepted, in one notification each."""
    here, there, heard = pair
    claim = await own(here, "s", "n")
    mine: list[Change] = []
    here.changes.watch(mine.append, session="s")
    await heard.take()
    await asyncio.gather(
        here.logs.append(Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("a"))),
        there.inboxes.accept("s", said()),
    )
    assert Change("s", None, ()) in await heard.take()
    await eventually(lambda: asyncio.sleep(0, Change("s", (), None) in mine))


async def test_events_do_not_wait_for_an_input_that_may_yet_be_taken_here(
    pair: tuple[Store, Store, Heard],
) -> None:
    here, there, _ = pair
    await new(here, "mine")
    claim = await own(here, "mine", "n")
    order: list[str] = []
    there.changes.watch(lambda change: order.append(change.session))
    for number in range(20):  # one of them, on a machine that is busy
        await asyncio.sleep(0.15)
        order.clear()
        await here.inboxes.accept("s", said())
        append = Append(session="mine", epoch=claim.epoch, expected=1 + number, bodies=bodies("a"))
        await here.logs.append(append)
        await eventually(lambda: asyncio.sleep(0, "s" in order))
        if order.index("s") > 0 and order[0] == "mine":
            return
    raise AssertionError("told together, each time")
