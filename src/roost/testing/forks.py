"""Conformance suite of forks: logs that begin as another one's. Subclass it as `JournalConformance`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from roost.errors import Conflict, Invalid, NotFound
from roost.log.dispatch import NodeCard
from roost.log.events import Emitted
from roost.log.protocols import NewSession, Record, Snapshot, TimerSpec
from roost.log.session_info import SessionInfo
from roost.log.store import Store
from roost.log.tail import follow
from roost.testing.deliveries import append, point
from roost.testing.stores import Opens, names, new, own, said


async def grown(journal: Store, session: str, count: int = 10, **more: object) -> None:
    """Create a session of `count` events; all but the first are named by the session and their number."""
    await new(journal, session)
    await more_of(journal, session, count - 1, **more)


async def more_of(journal: Store, session: str, count: int, **more: object) -> None:
    head = (await journal.sessions.get(session)).head
    claim = await own(journal, session)
    called = [f"{session}{head + place}" for place in range(1, count + 1)]
    await append(journal, claim, *called, head=head, release=True, **more)


async def fork(journal: Store, source: str, at: int, session: str, *, key: str | None = None) -> SessionInfo:
    """Fork a session; the fork has one event of its own, named by the fork and its number."""
    fresh = NewSession(id=session, agent="agent", version="1", parent=source)
    begins = [Emitted(at=2.0, name=f"{session}{at + 1}")]
    return await journal.sessions.fork(source, at, fresh, Snapshot(at + 1, 3, session.encode()), begins, key=key)


async def log_of(journal: Store, session: str) -> list[str]:
    """Return the names of a session's events, after checking that positions have no gap."""
    found = [record async for page in _pages(journal, session) for record in page]
    assert [record.seq for record in found] == list(range(1, len(found) + 1))
    assert len(found) == (await journal.sessions.get(session)).head
    return names(found)


async def _pages(journal: Store, session: str) -> AsyncGenerator[list[Record]]:
    after = 0
    while page := await journal.logs.read(session, after=after, limit=4):
        assert len(page) <= 4
        yield page
        after = page[-1].seq


def called(session: str, first: int, last: int) -> list[str]:
    return [f"{session}{number}" for number in range(first, last + 1)]


class ForkConformance(Opens):
    async def test_a_fork_begins_as_its_source(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await grown(journal, "s", snapshot=Snapshot(9, 3, b"s"), timers=[TimerSpec("t", 1e12, said())])
            await journal.inboxes.accept("s", said())
            await journal.dispatch.beat(NodeCard(id="n", format=7, home="h"), ttl=60)
            (claim,) = await journal.dispatch.claim("n", session="s")
            info = await fork(journal, "s", 6, "f")
            assert (info.head, info.pending, info.owner, info.parent, info.state) == (7, 0, None, "s", "created")
            assert info == await journal.sessions.get("f")
            assert info.format == claim.info.format
            assert await log_of(journal, "f") == [*called("s", 2, 6), "f7"]
            assert [record.seq for record in await journal.logs.read("f", after=4)] == [5, 6, 7]
            assert [record.seq for record in await journal.logs.read("f", after=6)] == [7]
            assert await journal.logs.read("f", after=7) == []
            assert [record.seq for record in await journal.logs.read("f", after=2, limit=1)] == [3]
            await more_of(journal, "f", 3)
            await journal.dispatch.leave("n")
            await more_of(journal, "s", 2)
            assert await log_of(journal, "f") == [*called("s", 2, 6), *called("f", 7, 10)]
            assert await log_of(journal, "s") == called("s", 2, 12)
            assert await journal.dispatch.fire(2e12) is None
            assert len(await journal.inboxes.pending("s")) == 2
            assert await journal.inboxes.pending("f") == []

    async def test_a_fork_wakes_from_its_snapshot(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await grown(journal, "s")
            await fork(journal, "s", 10, "f")
            await journal.inboxes.accept("f", said("go"))
            await journal.dispatch.beat(NodeCard(id="n"), ttl=60)
            (claim,) = await journal.dispatch.claim("n")
            assert claim.info.id == "f"
            assert claim.snapshot == Snapshot(11, 3, b"f")
            assert claim.tail == []
            assert await append(journal, claim, "on", head=11) == 12
            assert await append(journal, claim, "on", head=11) == 12  # it is in the log already

    async def test_a_fork_with_work_is_found(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await grown(journal, "s")
            fresh = NewSession(id="f", agent="agent", version="1", title="T", labels={"a": "b"})
            info = await journal.sessions.fork(
                "s", 10, fresh, Snapshot(10, 3, b"s"), [], state="running", phase="working"
            )
            assert (info.state, info.phase, info.title, info.labels) == ("running", "working", "T", {"a": "b"})
            assert await journal.dispatch.ready() == ["f"]
            assert (await journal.sessions.get("f")) == info

    async def test_fork_twice_and_wrongly(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await grown(journal, "s")
            first = await fork(journal, "s", 5, "f", key="k")
            assert (await fork(journal, "s", 7, "other", key="k")).id == first.id
            with pytest.raises(Conflict):
                await fork(journal, "s", 5, "f")
            with pytest.raises(Conflict):
                await fork(journal, "s", 5, "s")
            for at in (0, 11, -1, 2**40):
                with pytest.raises(Invalid):
                    await fork(journal, "s", at, "other")
            fresh = NewSession(id="other", agent="a", version="1")
            for seq in (4, 7):
                with pytest.raises(Invalid):
                    await journal.sessions.fork("s", 5, fresh, Snapshot(seq, 1, b""), [Emitted(at=1.0, name="x")])
            with pytest.raises(NotFound):
                await fork(journal, "none", 1, "other")
            with pytest.raises(NotFound):
                await journal.sessions.get("other")
            await journal.sessions.delete("s")
            assert (await fork(journal, "s", 7, "other", key="k")).id == "f"

    async def test_either_lives_on_when_the_other_is_deleted(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await grown(journal, "s")
            await fork(journal, "s", 6, "f")
            await fork(journal, "s", 8, "g")
            await fork(journal, "f", 4, "deep")
            await journal.sessions.delete("f")
            await journal.sessions.purge()
            assert await log_of(journal, "s") == called("s", 2, 10)
            assert await log_of(journal, "deep") == [*called("s", 2, 4), "deep5"]
            await journal.sessions.delete("s")
            await journal.sessions.purge()
        async with self.journal(tmp_path) as journal:
            assert await log_of(journal, "g") == [*called("s", 2, 8), "g9"]
            assert await log_of(journal, "deep") == [*called("s", 2, 4), "deep5"]
            await new(journal, "s")
            assert await log_of(journal, "s") == []
            await journal.sessions.delete("g")
            await journal.sessions.purge()
            assert await log_of(journal, "deep") == [*called("s", 2, 4), "deep5"]
            await fork(journal, "deep", 3, "deeper")
            await journal.sessions.delete("deep")
            await journal.sessions.purge()
            assert await log_of(journal, "deeper") == [*called("s", 2, 3), "deeper4"]

    async def test_a_long_chain_of_forks(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await grown(journal, "s0", 3)
            for number in range(1, 101):
                head = (await journal.sessions.get(f"s{number - 1}")).head
                await fork(journal, f"s{number - 1}", head, f"s{number}")
            whole = ["s02", "s03", *(f"s{number}{number + 3}" for number in range(1, 101))]
            assert await log_of(journal, "s100") == whole
            assert names(await journal.logs.read("s100", after=50, limit=2)) == whole[49:51]
            for number in range(100):
                await journal.sessions.delete(f"s{number}")
            await journal.sessions.purge()
            assert await log_of(journal, "s100") == whole
            await fork(journal, "s100", 2, "short")
            await journal.sessions.delete("s100")
            await journal.sessions.purge()
            assert await log_of(journal, "short") == ["s02", "short3"]

    async def test_states_of_the_logs_it_begins_with(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await grown(journal, "s", checkpoint=point(3))
            claim = await own(journal, "s")
            await append(journal, claim, head=10, checkpoint=point(8))
            await fork(journal, "s", 6, "f")
            await fork(journal, "f", 7, "g")
            assert await journal.logs.checkpoints("f") == []
            found = [await journal.logs.snapshot("g", at=at) for at in (2, 3, 6, 7, 8)]
            assert [one and (one.seq, one.body) for one in found] == [
                None, (3, b"state \x003"), (3, b"state \x003"), (7, b"f"), (8, b"g")
            ]  # fmt: skip
            await journal.sessions.delete("s", epoch=claim.epoch)
            assert await journal.logs.snapshot("g", at=6) is None

    async def test_a_fork_is_followed(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await grown(journal, "s")
            await fork(journal, "s", 9, "f")
            seen: list[int] = []

            async def read() -> None:
                async for record in follow(journal, "f", after=7):
                    seen.append(record.seq)
                    if record.seq == 12:
                        return

            async with asyncio.timeout(10), asyncio.TaskGroup() as group:
                group.create_task(read())
                await more_of(journal, "f", 2)
            assert seen == [8, 9, 10, 11, 12]

    async def test_forks_and_deletions_at_once(self, tmp_path: Path) -> None:
        """A fork is complete once it is made, whatever is deleted meanwhile."""
        async with self.two(tmp_path) as (here, there):
            for number in range(8):
                await grown(here, f"s{number}", 5)

            async def one(number: int) -> bool:
                try:
                    await fork(here, f"s{number}", 4, f"f{number}")
                except NotFound:
                    return False
                return True

            made = await asyncio.gather(
                *(one(number) for number in range(8)), *(there.sessions.delete(f"s{number}") for number in range(8))
            )
            await asyncio.gather(here.sessions.purge(), there.sessions.purge())
            for number in range(8):
                if made[number]:
                    assert await log_of(there, f"f{number}") == [*called(f"s{number}", 2, 4), f"f{number}5"]
