"""Conformance suite of the Portable protocol: content copied to another store is the same there.

    class TestMyPortable(PortableConformance):
        async def open(self, folder: Path) -> Store: ...

        async def open_other(self, folder: Path) -> Store: ...  # the target; without it, the same kind

Different folders mean different stores.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import msgspec
import pytest

from roost.errors import Conflict, NotFound, RoostError
from roost.log.content import Text
from roost.log.dispatch import NodeCard
from roost.log.events import InputReceived, TurnStarted, encode_event
from roost.log.inputs import TimerInput
from roost.log.ledger import Balance, CallNote, Charge
from roost.log.portable import SessionDump
from roost.log.protocols import Append, Checkpoint, CheckpointRow, NewSession, Record, SessionQuery, Snapshot, TimerSpec
from roost.log.store import Store
from roost.stores.copy import copy
from roost.testing.stores import Opens, bodies, created, new, own, said

TIMER = TimerInput("wake", (Text("up"),))


async def lived(store: Store, session: str = "s") -> list[int]:
    """Create a session with content of every kind. Returns its inputs: taken, taken with a key, waiting, waiting with a
    key."""
    fresh = NewSession(
        id=session,
        agent="clerk",
        version="7",
        workspace="/w",
        title="A title ✓",
        parent="p",
        labels={"user": "ann", 'odd "key"': "x"},
        needs=("account:main", "gpu"),
    )
    await store.sessions.create(fresh, [created("clerk")], key=f"key of {session}")
    keys = (None, "k1", None, "k2")
    ids = [(await store.inboxes.accept(session, said(str(place)), key=key)).id for place, key in enumerate(keys)]
    await store.dispatch.beat(NodeCard(id="n", home="h", offers=fresh.needs, format=5), ttl=60)
    (claim,) = await store.dispatch.claim("n", session=session)
    events = [
        encode_event(InputReceived(at=1.0, input=ids[0], parts=(Text("0"),))),
        encode_event(InputReceived(at=1.0, input=ids[1], parts=(Text("1"),))),
        encode_event(TurnStarted(at=1.0, turn=1, input=ids[1])),
    ]
    await store.logs.append(
        Append(
            session=session,
            epoch=claim.epoch,
            expected=1,
            bodies=events,
            consume=ids[:2],
            state="running",
            phase="waiting",
            snapshot=Snapshot(3, 9, b"\x00folded\xff"),
            checkpoint=CheckpointRow(2, "before", 7.5, "manual", "files2", 4, Snapshot(2, 9, b"\x00then")),
            timers=[TimerSpec("wake", 100.5, TIMER), TimerSpec("later", 1e12, TIMER)],
        )
    )
    return ids


async def pages(store: Store, dump: SessionDump, size: int = 2) -> AsyncGenerator[list[Record]]:
    """Yield the events that belong to a dump."""
    after = 0
    while after < dump.info.head:
        records = await store.logs.read(dump.info.id, after=after, limit=min(size, dump.info.head - after))
        yield records
        after = records[-1].seq


async def move(source: Store, target: Store, session: str = "s") -> SessionDump:
    dump = await source.portable.dump(session)
    await target.portable.restore(dump, pages(source, dump))
    return dump


async def content(store: Store, session: str = "s") -> tuple[SessionDump, list[bytes]]:
    """Return all content that must be equal in every store."""
    dump = await store.portable.dump(session)
    info = msgspec.structs.replace(dump.info, owner=None)
    log = [record.body async for page in pages(store, dump, 1000) for record in page]
    return msgspec.structs.replace(dump, info=info), log


async def ids_of(store: Store) -> list[str]:
    return [session async for session in store.portable.sessions()]


class _Moves(Opens):
    async def open_other(self, folder: Path) -> Store:
        return await self.open(folder)

    @contextlib.asynccontextmanager
    async def houses(self, folder: Path) -> AsyncGenerator[tuple[Store, Store]]:
        """Yield the source store and the target store."""
        target = await self.open_other(folder / "to")
        try:
            async with self.journal(folder / "from") as source:
                yield source, target
        finally:
            await target.close()

    async def test_what_a_dump_holds(self, tmp_path: Path) -> None:
        async with self.houses(tmp_path) as (source, _):
            ids = await lived(source)
            dump = await source.portable.dump("s")
            assert dump.create_key == "key of s"
            assert dump.info == await source.sessions.get("s")
            assert (dump.info.home, dump.info.format, dump.info.pending) == ("h", 5, 2)
            kept = [(item.id, item.key, item.taken, bool(item.body)) for item in dump.inbox]
            assert kept == [(ids[1], "k1", True, False), (ids[2], None, False, True), (ids[3], "k2", False, True)]
            assert all((item.digest is not None) == (item.key is not None) for item in dump.inbox)
            assert [(timer.id, timer.due) for timer in dump.timers] == [("later", 1e12), ("wake", 100.5)]
            assert dump.snapshot == Snapshot(3, 9, b"\x00folded\xff")
            assert [one.snapshot for one in dump.checkpoints] == [Snapshot(2, 9, b"\x00then")]
            with pytest.raises(NotFound):
                await source.portable.dump("none")

    async def test_there_and_back_it_is_the_same(self, tmp_path: Path) -> None:
        async with self.houses(tmp_path) as (source, target), self.journal(tmp_path / "back") as back:
            await lived(source)
            before = await content(source)
            await move(source, target)
            assert await content(target) == before
            assert (await target.sessions.get("s")).owner is None
            await move(target, back)
            assert await content(back) == before

    async def test_checkpoints_come_along(self, tmp_path: Path) -> None:
        async with self.houses(tmp_path) as (source, target):
            await lived(source)
            await move(source, target)
            assert await target.logs.checkpoints("s") == [Checkpoint(2, "before", 7.5, "manual", "files2", 4)]
            assert await target.logs.snapshot("s", at=2) == Snapshot(2, 9, b"\x00then")

    async def test_a_fork_moves_whole(self, tmp_path: Path) -> None:
        """The fork is the same there, also without its source."""
        async with self.houses(tmp_path) as (source, target):
            await lived(source)
            fresh = NewSession(id="f", agent="clerk", version="7", parent="s")
            await source.sessions.fork("s", 3, fresh, Snapshot(4, 9, b"f"), [created("clerk")])
            before = await content(source, "f")
            assert len(before[1]) == 4
            await move(source, target, "f")
            assert await content(target, "f") == before
            done = await copy(source, target, online=True)
            assert (done.copied, done.same, done.problems) == (1, 1, [])
            await target.sessions.delete("s")
            await target.sessions.purge()
            assert await content(target, "f") == before

    async def test_keys_go_on_to_count(self, tmp_path: Path) -> None:
        async with self.houses(tmp_path) as (source, target):
            ids = await lived(source)
            await move(source, target)
            assert (await target.inboxes.accept("s", said("1"), key="k1"))[:2] == (ids[1], True)
            assert (await target.inboxes.accept("s", said("3"), key="k2"))[:2] == (ids[3], True)
            with pytest.raises(Conflict):
                await target.inboxes.accept("s", said("other"), key="k1")
            assert (await new(target, "t", key="key of s")).id == "s"

    async def test_it_goes_on_where_it_was(self, tmp_path: Path) -> None:
        async with self.houses(tmp_path) as (source, target):
            ids = await lived(source)
            dump = await move(source, target)
            added = await target.inboxes.accept("s", said("more"))
            assert added.id > max(ids)
            assert await target.dispatch.fire(200.0) == 1e12
            claim = await own(target, "s", "there")
            assert claim.epoch > dump.info.epoch
            assert claim.snapshot == dump.snapshot
            assert [record.seq for record in claim.tail] == [4]
            assert [item.input for item in claim.inbox] == [said("2"), said("3"), said("more"), TIMER]
            assert [item.id for item in claim.inbox][:3] == [*ids[2:], added.id]
            assert len({item.id for item in claim.inbox}) == 4
            write = Append(session="s", epoch=claim.epoch, expected=4, bodies=bodies("x"), consume=[ids[2]])
            assert await target.logs.append(write) == 5
            assert [one.id for one in await target.sessions.find(SessionQuery(label=("user", "ann")))] == ["s"]

    async def test_new_inputs_are_numbered_after_all_former_ones(self, tmp_path: Path) -> None:
        """Also when the copied inbox is empty and no event names the inputs."""
        async with self.houses(tmp_path) as (source, target):
            await new(source, "s")
            ids = [(await source.inboxes.accept("s", said())).id for _ in range(5)]
            claim = await own(source, "s")
            await source.logs.append(Append(session="s", epoch=claim.epoch, expected=1, consume=ids))
            await move(source, target)
            assert (await target.inboxes.accept("s", said())).id > max(ids)

    async def test_inputs_keep_their_numbers_among_others(self, tmp_path: Path) -> None:
        async with self.houses(tmp_path) as (source, target):
            await lived(source)
            for session in ("native", "too"):
                await lived(target, session)
            here = await content(target, "native")
            await move(source, target)
            assert await content(target) == await content(source)
            assert await content(target, "native") == here
            item = await target.inboxes.accept("native", said("new"), key="new")
            await target.inboxes.accept("s", said("new"), key="new")
            assert (await target.inboxes.accept("native", said("new"), key="new"))[:2] == (item.id, True)
            await target.sessions.delete("s")
            assert [one.id for one in await target.inboxes.pending("native")][-1] == item.id

    async def test_work_that_was_left_is_work_there(self, tmp_path: Path) -> None:
        async with self.houses(tmp_path) as (source, target):
            for session, state, phase, works in (
                ("open", "running", "working", True),
                ("ready", "running", "idle", True),
                ("held", "paused", "idle", False),
            ):
                await new(source, session)
                claim = await own(source, session)
                if session != "open":
                    await source.inboxes.accept(session, said())
                await source.logs.append(
                    Append(session=session, epoch=claim.epoch, expected=1, state=state, phase=phase)  # type: ignore[arg-type]
                )
                await move(source, target, session)
                await target.dispatch.beat(NodeCard(id="n"), ttl=60)
                assert [one.info.id for one in await target.dispatch.claim("n")] == [session] * works

    async def test_a_session_of_any_size(self, tmp_path: Path) -> None:
        async with self.houses(tmp_path) as (source, target):
            await source.sessions.create(NewSession(id="empty", agent="a", version="1"), [])
            await new(source, "s")
            claim = await own(source, "s")
            head = await source.logs.append(
                Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies(*(str(n) for n in range(3000))))
            )
            await source.logs.append(
                Append(session="s", epoch=claim.epoch, expected=head, bodies=bodies("x" * 3_000_000, "end"))
            )
            for session in ("empty", "s"):
                dump = await source.portable.dump(session)
                await target.portable.restore(dump, pages(source, dump, 700))
                assert await content(target, session) == await content(source, session)


class PortableConformance(_Moves):
    async def test_every_session_by_age(self, tmp_path: Path) -> None:
        async with self.houses(tmp_path) as (source, _):
            assert await ids_of(source) == []
            sessions = [f"s{number:04}" for number in range(1100)]
            for some in range(0, 1100, 100):
                for session in sessions[some : some + 100]:
                    await new(source, session)
            assert await ids_of(source) == sessions

    # Conflicts

    async def test_what_is_there_is_not_replaced(self, tmp_path: Path) -> None:
        async with self.houses(tmp_path) as (source, target):
            await lived(source)
            await move(source, target)
            before = await content(target)
            with pytest.raises(Conflict):
                await move(source, target)
            dump = await source.portable.dump("s")
            other = msgspec.structs.replace(dump, info=msgspec.structs.replace(dump.info, id="other"))
            with pytest.raises(Conflict):  # its create key is taken
                await target.portable.restore(other, pages(source, dump))
            assert await content(target) == before
            assert await ids_of(target) == ["s"]

    @pytest.mark.parametrize("wrong", ["short", "long", "gap"])
    async def test_a_log_that_is_not_whole_is_refused(self, tmp_path: Path, wrong: str) -> None:
        async with self.houses(tmp_path) as (source, target):
            await lived(source)
            dump = await source.portable.dump("s")
            records = await source.logs.read("s")
            if wrong == "long":
                records.append(Record(5, records[-1].body))
            else:
                del records[-1 if wrong == "short" else 1]
            with pytest.raises(RoostError):
                await target.portable.restore(dump, _portions(records))
            with pytest.raises(NotFound):
                await target.sessions.get("s")
            await move(source, target)
            assert await content(target) == await content(source)

    # Interrupted copies

    async def test_nothing_is_seen_before_all_of_it_is_there(self, tmp_path: Path) -> None:
        async with self.houses(tmp_path) as (source, target):
            await lived(source)
            await target.dispatch.beat(NodeCard(id="n", offers=("account:main", "gpu"), format=9), ttl=60)
            dump = await source.portable.dump("s")

            async def events() -> AsyncIterator[list[Record]]:
                async for records in pages(source, dump, 1):
                    yield records
                    for call in (
                        target.sessions.get("s"),
                        target.logs.read("s"),
                        target.portable.dump("s"),
                        target.inboxes.accept("s", said()),
                    ):
                        with pytest.raises(NotFound):
                            await call
                    with pytest.raises(NotFound):
                        await target.dispatch.claim("n", session="s")
                    assert await target.sessions.find(SessionQuery()) == []
                    assert await ids_of(target) == []
                    assert await target.dispatch.claim("n") == []
                    assert await target.dispatch.fire(time.time()) is None
                    assert (await target.dispatch.backlog()).sessions == 0

            await target.portable.restore(dump, events())
            assert await content(target) == await content(source)

    @pytest.mark.parametrize("how", ["fails", "killed"])
    async def test_what_was_left_half_way_is_replaced(self, tmp_path: Path, how: str) -> None:
        async with self.houses(tmp_path) as (source, target):
            await lived(source)
            dump = await source.portable.dump("s")
            half = asyncio.Event()

            async def events() -> AsyncIterator[list[Record]]:
                first = True
                async for records in pages(source, dump):
                    yield records if first else [Record(r.seq, b'{"type":"wrong"}') for r in records]
                    first = False
                    half.set()
                if how == "fails":
                    raise ConnectionError("gone")
                await asyncio.sleep(60)

            moving = asyncio.create_task(target.portable.restore(dump, events()))
            await half.wait()
            if how == "killed":
                moving.cancel()
            with pytest.raises((ConnectionError, asyncio.CancelledError)):
                await moving
            await target.close()
            again = await self.open_other(tmp_path / "to")
            try:
                assert await ids_of(again) == []
                await move(source, again)
                assert await content(again) == await content(source)
            finally:
                await again.close()

    async def test_two_who_restore_the_same_make_one(self, tmp_path: Path) -> None:
        async with self.houses(tmp_path) as (source, target):
            await lived(source)
            results = await asyncio.gather(*(move(source, target) for _ in range(3)), return_exceptions=True)
            assert sum(isinstance(result, SessionDump) for result in results) <= 1
            assert all(isinstance(result, SessionDump | Conflict) for result in results)
            with contextlib.suppress(Conflict):
                await move(source, target)
            assert await content(target) == await content(source)

    # Content shared by all nodes

    async def test_budgets_and_settings_move(self, tmp_path: Path) -> None:
        async with self.houses(tmp_path) as (source, target):
            await source.coordination.setting("token", "source's")
            await source.coordination.setting("only", "here")
            await source.ledger.reserve("one", [Charge("day", 60), Charge("week", 70)])
            await source.ledger.reserve("two", [Charge("day", 1)])
            await source.ledger.reserve("old", [Charge("day", 5)])
            await source.ledger.settle("old", {"day": 4})
            note = CallNote(owner="n1", started=7.5, session="s", lasting=("day",))
            await source.ledger.reserve("lost", [Charge("day", 9)], note)
            await source.ledger.lose("lost", 0, note, told=True)
            dump = await source.portable.dump_shared()
            assert dump.settings == {"token": "source's", "only": "here"}
            assert dump.budgets == {"day": (4, 61), "week": (0, 70)}
            assert dump.reservations == {"one": {"day": 60, "week": 70}, "two": {"day": 1}}
            await target.coordination.setting("token", "target's")
            await target.ledger.reserve("mine", [Charge("gone", 5)])
            for _ in range(2):
                await target.portable.restore_shared(dump)
            now = await target.portable.dump_shared()
            assert (now.budgets, now.reservations) == (dump.budgets, dump.reservations)
            assert now.calls == dump.calls
            assert [call.id for call in await target.ledger.lost("")] == ["lost"]
            assert now.settings == {"token": "target's", "only": "here"}
            assert await target.ledger.balance("gone") == Balance(0, 0)
            await target.ledger.settle("one", {"day": 50})
            assert await target.ledger.balance("day") == Balance(54, 1)
            assert await target.ledger.balance("week") == Balance(0, 0)


async def _portions(records: list[Record]) -> AsyncIterator[list[Record]]:
    yield records[:1]
    yield records[1:]
