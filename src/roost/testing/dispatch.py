"""Conformance suite of the Dispatcher protocol, on two openers of one store, as two processes would be:

class TestMyDispatch(DispatchConformance):
    async def open(self, folder: Path) -> Store: ...
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.errors import Fenced, NotFound
from roost.log.content import Text
from roost.log.dispatch import HEAD_START, NodeCard
from roost.log.inputs import ControlInput, TimerInput
from roost.log.portable import StoredTimer
from roost.log.protocols import Append, Claim, NewSession, Record, TimerSpec
from roost.log.store import Store
from roost.testing.stores import PATIENCE, Opens, bodies, created, eventually, new, own, said


async def waiting(store: Store, session: str, *needs: str) -> None:
    """Create a session with work waiting."""
    await store.sessions.create(NewSession(id=session, agent="a", version="1", needs=needs), [created()])
    await store.inboxes.accept(session, said())


async def beat(store: Store, id: str, ttl: float = 60, **card: Any) -> NodeCard:
    made = NodeCard(id=id, **card)
    await store.dispatch.beat(made, ttl=ttl)
    return made


async def claimed(store: Store, node: str, **options: Any) -> list[str]:
    return [claim.info.id for claim in await store.dispatch.claim(node, **options)]


async def soon(store: Store, node: str) -> Claim:
    """Return the one claim that this node gets soon."""
    (claim,) = await eventually(lambda: store.dispatch.claim(node))
    return claim


async def release(store: Store, claim: Claim) -> None:
    await store.logs.append(Append(session=claim.info.id, epoch=claim.epoch, expected=claim.info.head, release=True))


class _Placement(Opens):
    """Placement: which node a session goes to."""

    async def test_a_session_goes_where_all_that_it_needs_is_offered(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await waiting(here, "picky", "account:main", 'odd "tag"')
            await waiting(here, "easy")
            await beat(here, "none")
            await beat(here, "some", offers=("account:main", "odd"))
            await beat(there, "all", offers=("more", 'odd "tag"', "account:main"))
            assert await claimed(here, "none") == ["easy"]
            assert await claimed(here, "some") == []
            assert await claimed(there, "all") == ["picky"]

    async def test_the_newest_card_counts(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await waiting(here, "s", "account:main")
            await beat(here, "n", offers=("account:main",), draining=True)
            assert await claimed(here, "n") == []
            await beat(here, "n")
            assert await claimed(here, "n") == []
            await beat(there, "n2", offers=("account:main",))
            assert await claimed(there, "n2") == ["s"]

    async def test_no_more_than_there_is_room_for(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            for number in range(10):
                await waiting(here, f"s{number}")
            await beat(here, "a")
            await beat(there, "b")
            first = await claimed(here, "a", limit=3)
            second = await claimed(there, "b", limit=4)
            assert (len(first), len(second)) == (3, 4)
            rest = await claimed(here, "a")
            assert sorted(first + second + rest) == [f"s{number}" for number in range(10)]

    async def test_what_a_newer_version_wrote_is_left_to_newer_versions(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await waiting(here, "s")
            await beat(here, "new", format=3)
            (claim,) = await here.dispatch.claim("new")
            assert claim.info.format == 3
            await release(here, claim)
            await beat(there, "old", format=2)
            assert await claimed(there, "old") == []
            await beat(there, "old", format=7)
            (claim,) = await there.dispatch.claim("old")
            await release(there, claim)
            await beat(here, "new", format=8, draining=True)
            assert await claimed(here, "new") == []
            assert (await here.sessions.get("s")).format == 7

    async def test_home_is_where_it_ran_last(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await waiting(here, "s")
            assert (await here.sessions.get("s")).home is None
            for store, node, home, then in ((here, "a", "x", "x"), (there, "b", "y", "y"), (here, "c", "", "y")):
                await beat(store, node, home=home)
                claim = await soon(store, node)
                assert claim.info.home == then
                await release(store, claim)
                await store.dispatch.leave(node)
            assert (await here.sessions.get("s")).home == "y"

    async def test_the_home_of_the_files_has_a_head_start(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await beat(here, "home", home="x")
            await beat(there, "away", home="y")
            seen: list[str] = []
            for number in range(20):  # a busy machine may let the head start pass unseen
                session = f"s{number}"
                await new(here, session)
                (claim,) = await here.dispatch.claim("home", session=session)
                await release(here, claim)
                began = time.monotonic()
                await here.inboxes.accept(session, said())
                seen = await claimed(there, "away")
                if time.monotonic() - began < HEAD_START:
                    assert session not in seen
                    assert session in await claimed(here, "home")
                    return
            raise AssertionError("this machine is too slow for this test")

    async def test_the_head_start_ends(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await beat(here, "home", home="x")
            await beat(there, "away", home="y")
            await new(here, "s")
            (claim,) = await here.dispatch.claim("home", session="s")
            await release(here, claim)
            await here.inboxes.accept("s", said())
            assert (await soon(there, "away")).info.home == "y"

    @pytest.mark.parametrize("why", ["full", "draining", "left", "none"])
    async def test_nobody_waits_for_a_home_that_cannot(self, tmp_path: Path, why: str) -> None:
        async with self.two(tmp_path) as (here, there):
            await beat(here, "home", home="x" if why != "none" else "y")
            await beat(there, "away", home="y")
            await new(here, "s")
            (claim,) = await here.dispatch.claim("home", session="s")
            await release(here, claim)
            if why == "left":
                await here.dispatch.leave("home")
            elif why != "none":
                await beat(here, "home", home="x", room=0 if why == "full" else 9, draining=why == "draining")
            await here.inboxes.accept("s", said())
            assert await claimed(there, "away") == ["s"]


class _Owning(_Placement):
    """Ownership: keep a session, lose it, give it back."""

    async def test_a_dead_node_loses_what_it_held(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await waiting(here, "s")
            await new(here, "idle")
            await beat(here, "dying")
            (old,) = await here.dispatch.claim("dying")
            await here.dispatch.claim("dying", session="idle")
            await beat(here, "dying", ttl=0.3)
            await beat(there, "heir")
            fresh = await soon(there, "heir")
            assert (fresh.info.id, fresh.info.owner) == ("s", "heir")
            assert fresh.epoch > old.epoch
            assert await claimed(there, "heir") == []  # the other has nothing to do
            assert await claimed(there, "heir", session="idle") == ["idle"]
            with pytest.raises(Fenced):
                await here.logs.append(Append(session="s", epoch=old.epoch, expected=1, bodies=bodies("zombie")))
            await beat(here, "dying")
            with pytest.raises(Fenced):
                await here.logs.append(Append(session="s", epoch=old.epoch, expected=1, bodies=bodies("zombie")))

    async def test_a_beat_in_time_keeps_it(self, tmp_path: Path) -> None:
        """A machine that stalls for longer than a lease may lose it once, so longer leases are tried."""
        async with self.two(tmp_path) as (here, there):
            for number in range(5):
                owner, session, ttl = f"owner{number}", f"s{number}", 0.7 * 2**number
                await waiting(here, session)
                await beat(here, owner, ttl=ttl)
                claim = await here.dispatch.claim(owner)
                await beat(there, "other")
                until, lost = time.monotonic() + 1.5 * ttl, list[str]()
                while time.monotonic() < until and not lost:
                    await asyncio.sleep(0.1 * ttl)
                    await beat(here, owner, ttl=ttl)
                    lost = await claimed(there, "other")
                if claim and not lost:
                    append = Append(session=session, epoch=claim[0].epoch, expected=1, bodies=bodies("mine"))
                    await here.logs.append(append)
                    return
            raise AssertionError("it was lost every time")

    async def test_a_former_owner_is_fenced_whatever_it_writes(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await new(here, "s")
            item = await here.inboxes.accept("s", said())
            old = await own(here, "s", "a")
            await here.dispatch.leave("a")
            fresh = await own(there, "s", "b")
            take = Append(session="s", epoch=fresh.epoch, expected=1, bodies=bodies("x"), consume=[item.id])
            await there.logs.append(take)
            late: dict[str, Any] = {"session": "s", "epoch": old.epoch, "expected": 1}
            timer = TimerSpec("t", 1.0, TimerInput("t", (Text("late"),)))
            for write in (
                Append(**late),
                Append(**late, bodies=bodies("y")),
                Append(**late, consume=[item.id]),
                Append(**late, timers=[timer], state="stopped", release=True),
            ):
                with pytest.raises(Fenced):
                    await here.logs.append(write)
            info = await here.sessions.get("s")
            assert (info.head, info.state, info.owner) == (2, "created", "b")
            assert await here.dispatch.fire(5.0) is None

    async def test_a_named_session_is_taken_whatever_it_needs(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await here.sessions.create(NewSession(id="s", agent="a", version="1", needs=("gpu",)), [created()])
            await beat(here, "a", format=9)
            await beat(there, "b", draining=True)
            (first,) = await here.dispatch.claim("a", session="s")
            assert await there.dispatch.claim("b", session="s") == []
            (again,) = await here.dispatch.claim("a", session="s")
            assert again.epoch > first.epoch
            with pytest.raises(Fenced):
                await here.logs.append(Append(session="s", epoch=first.epoch, expected=1, bodies=bodies("x")))
            await release(here, again)
            (other,) = await there.dispatch.claim("b", session="s")
            assert (other.epoch > again.epoch, other.info.format) == (True, 9)
            with pytest.raises(NotFound):
                await there.dispatch.claim("b", session="none")

    async def test_who_leaves_gives_everything_back(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            for session in ("one", "two"):
                await waiting(here, session)
            await beat(here, "a")
            await beat(there, "b")
            assert len(await here.dispatch.claim("a")) == 2
            assert await there.dispatch.claim("b") == []
            await here.dispatch.leave("a")
            await here.dispatch.leave("a")
            assert {claim.info.id for claim in await there.dispatch.claim("b")} == {"one", "two"}
            assert [node.card.id for node in await here.dispatch.nodes()] == ["b"]

    async def test_each_waiting_session_goes_to_one_of_many(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            sessions = [f"s{number:02}" for number in range(40)]
            await asyncio.gather(*(waiting(here, session) for session in sessions))
            nodes = [(store, f"{place}-{n}") for n in range(4) for place, store in enumerate((here, there))]
            await asyncio.gather(*(beat(store, node) for store, node in nodes))
            taken: list[str] = []
            for _ in range(5):
                rounds = await asyncio.gather(*(claimed(store, node, limit=2) for store, node in nodes))
                taken += [session for one in rounds for session in one]
            assert sorted(taken) == sessions


class DispatchConformance(_Owning):
    # Timers

    async def test_many_nodes_fire_a_timer_once(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            sessions = [f"s{number}" for number in range(8)]
            for session in sessions:
                await new(here, session)
                await _set(here, session, [_timer(f"t{number}", float(number)) for number in range(5)])
            await asyncio.gather(*(store.dispatch.fire(3.5, limit=7) for store in (here, there) * 12))
            assert await here.dispatch.fire(3.5) == 4.0
            for session in sessions:
                texts = [item.input for item in await there.inboxes.pending(session)]
                assert sorted(texts, key=str) == [_timer(f"t{number}", 0.0).input for number in range(4)]

    async def test_a_batch_of_timers_says_that_there_are_more(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await new(here, "s")
            await _set(here, "s", [_timer(f"t{number}", 10.0 + number) for number in range(5)])
            assert await here.dispatch.fire(9.0) == 10.0
            assert await here.dispatch.fire(20.0, limit=2) == 12.0
            assert await there.dispatch.fire(20.0, limit=2) == 14.0
            assert await here.dispatch.fire(20.0, limit=2) is None
            assert len(await here.inboxes.pending("s")) == 5

    async def test_a_timer_makes_work(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await new(here, "s")
            await _set(here, "s", [_timer("t", 10.0)])
            await beat(there, "b")
            assert await there.dispatch.claim("b") == []
            await here.dispatch.fire(10.0)
            (claim,) = await there.dispatch.claim("b")
            assert [item.input for item in claim.inbox] == [_timer("t", 0.0).input]

    async def test_a_timer_that_cannot_be_read_is_in_nobodys_way(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            for session in ("bad", "good"):
                await new(here, session)
            dump = await here.portable.dump("bad")
            events = await here.logs.read("bad")
            await here.sessions.delete("bad")
            timers = (
                StoredTimer("junk", 1.0, b"\xffjunk"),
                StoredTimer("later", 2.0, b'{"type":"of a newer version"}'),
            )
            await here.portable.restore(msgspec.structs.replace(dump, timers=timers), _once(events))
            await _set(here, "good", [_timer("t", 3.0), _timer("last", 50.0)])
            for store in (here, there):
                await eventually(lambda store=store: _is(store.dispatch.fire(10.0, limit=2), 50.0))
            assert [item.input for item in await here.inboxes.pending("good")] == [_timer("t", 0.0).input]
            assert await here.inboxes.pending("bad") == []

    # Nodes and backlog

    async def test_nodes_are_seen_by_all(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            assert await here.dispatch.nodes() == []
            card: dict[str, Any] = {"home": "x", "url": "http://h:1", "offers": ("t",), "version": "9", "format": 2}
            b = await beat(here, "b", room=3, live=4, draining=True, **card)
            a = await beat(there, "a")
            seen = await here.dispatch.nodes()
            assert [node.card for node in seen] == [a, b]
            assert all(node.alive for node in seen)
            await asyncio.sleep(0.01)
            await beat(there, "a", live=1)
            then = await here.dispatch.nodes()
            assert then[0].beat_at > seen[0].beat_at
            assert then[0].card.live == 1
            assert then[1] == seen[1]

    async def test_a_card_that_only_a_newer_version_can_read_takes_nothing_from_the_others(
        self, tmp_path: Path
    ) -> None:
        async with self.two(tmp_path) as (here, there):
            newer: Any = {"port": 8080}
            await beat(here, "newer", url=newer, home="x")
            await beat(there, "older", home="y")
            await waiting(there, "s")
            assert await there.dispatch.nodes() == await here.dispatch.nodes()
            unknown, known = await there.dispatch.nodes()
            assert (unknown.card.id, unknown.card.room, unknown.alive) == ("newer", 0, True)
            assert (known.card.id, known.card.home) == ("older", "y")
            assert await claimed(there, "older") == ["s"]
            assert (await there.dispatch.backlog()).sessions == 0

    async def test_a_node_whose_lease_is_over_is_not_alive(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            await beat(here, "dying", ttl=0.2)
            await beat(there, "living")

            async def living() -> list[str]:
                return [node.card.id for node in await there.dispatch.nodes() if node.alive]

            await eventually(lambda: _is(living(), ["living"]))
            await beat(here, "dying")
            assert await living() == ["dying", "living"]

    async def test_backlog_is_what_waits_for_a_node(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            assert await here.dispatch.backlog() == (0, 0.0)
            await new(here, "paused")
            claim = await own(here, "paused", "a")
            await here.logs.append(
                Append(session="paused", epoch=claim.epoch, expected=1, state="paused", release=True)
            )
            await here.inboxes.accept("paused", said())
            assert await there.dispatch.backlog() == (0, 0.0)
            await waiting(here, "one")
            await asyncio.sleep(0.2)
            await waiting(here, "two", "gpu")
            await here.inboxes.accept("one", said("more"))
            sessions, seconds = await there.dispatch.backlog()
            assert (sessions, 0.2 <= seconds < PATIENCE) == (2, True)
            assert await there.dispatch.ready() == ["one", "two"]
            assert await there.dispatch.ready(limit=1) == ["one"]
            await beat(here, "a", ttl=0.3)
            assert await claimed(here, "a") == ["one"]
            assert (await there.dispatch.backlog()).sessions in (1, 2)  # 2 when this machine was slower than its lease
            await here.inboxes.accept("paused", ControlInput("resume"))

            async def count() -> int:
                return (await there.dispatch.backlog()).sessions

            await eventually(lambda: _is(count(), 3))


async def _is(answer: Awaitable[Any], wanted: Any) -> bool:
    return await answer == wanted


def _timer(name: str, due: float) -> TimerSpec:
    return TimerSpec(name, due, TimerInput(name, (Text(name),)))


async def _set(store: Store, session: str, timers: Sequence[TimerSpec]) -> None:
    claim = await own(store, session, "setter")
    head = claim.info.head
    await store.logs.append(Append(session=session, epoch=claim.epoch, expected=head, timers=timers, release=True))


async def _once(records: list[Record]) -> AsyncIterator[list[Record]]:
    yield records
