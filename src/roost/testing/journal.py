"""Conformance suite of sessions, logs and inboxes. Subclass it, say how to open a store, and run it with pytest:

    class TestMyJournal(JournalConformance):
        async def open(self, folder: Path) -> Store: ...

`open` called twice with one folder must open the same store twice, as two processes would.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.authority import ACCOUNT
from roost.errors import Busy, Conflict, Fenced, NotFound, SequenceConflict, TooManySessions
from roost.features.schedules.events import DueInput
from roost.log.content import Text
from roost.log.dispatch import NodeCard
from roost.log.inputs import ControlInput, TimerInput
from roost.log.protocols import Append, Moved, NewSession, SessionQuery, Snapshot, TimerSpec
from roost.log.store import Store
from roost.log.tail import follow
from roost.testing.readers import ReaderConformance
from roost.testing.stores import NODE, bodies, created, names, new, own, said


class JournalConformance(ReaderConformance):
    # Sessions

    async def test_create_get_find(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            for number in range(5):
                await new(journal, f"s{number}", agent=f"agent{number % 2}")
            info = await journal.sessions.get("s3")
            assert (info.agent, info.state, info.phase, info.head, info.pending) == ("agent1", "created", "idle", 1, 0)
            first = await journal.sessions.find(SessionQuery(limit=2))
            assert [one.id for one in first] == ["s4", "s3"]
            rest = await journal.sessions.find(SessionQuery(before="s3", limit=9))
            assert [one.id for one in rest] == ["s2", "s1", "s0"]
            assert [one.id for one in await journal.sessions.find(SessionQuery(agent="agent1"))] == ["s3", "s1"]
            assert await journal.sessions.find(SessionQuery(state="stopped")) == []
            named = ("s1", "none", "s4", 'odd "id"', "s1")
            assert [one.id for one in await journal.sessions.find(SessionQuery(ids=named))] == ["s4", "s1"]
            assert [one.id for one in await journal.sessions.find(SessionQuery(ids=named, before="s4"))] == ["s1"]
            assert await journal.sessions.find(SessionQuery(ids=())) == []

    async def test_owner_and_needs_are_in_the_index(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            needs = ("account:main", "sandbox:2")
            made = await journal.sessions.create(NewSession(id="s", agent="a", version="1", needs=needs), [created()])
            await new(journal, "other")
            await own(journal, "s")
            assert made.needs == (await journal.sessions.get("s")).needs == needs
            assert [one.id for one in await journal.sessions.find(SessionQuery(owner=NODE))] == ["s"]
            assert await journal.sessions.find(SessionQuery(owner="nobody")) == []
            assert (await journal.sessions.get("other")).needs == ()

    async def test_labels_are_found(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            labels = {"user": "ann", 'odd "key"': "x"}
            await journal.sessions.create(NewSession(id="s", agent="a", version="1", labels=labels), [created()])
            await new(journal, "other")
            assert [one.id for one in await journal.sessions.find(SessionQuery(label=("user", "ann")))] == ["s"]
            assert [one.id for one in await journal.sessions.find(SessionQuery(label=('odd "key"', "x")))] == ["s"]
            assert await journal.sessions.find(SessionQuery(label=("user", "bob"))) == []

    async def test_sessions_with_a_label_come_newest_first(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:

            async def found(**more: Any) -> list[str]:
                return [one.id for one in await journal.sessions.find(SessionQuery(label=("user", "ann"), **more))]

            for number in range(5):
                labels = {"user": "bob" if number == 2 else "ann", "other": "ann"}
                session = NewSession(id=f"s{number}", agent=f"a{number % 2}", version="1", labels=labels)
                await journal.sessions.create(session, [created()])
            fork = NewSession(id="f", agent="a0", version="1", labels={"user": "ann"})
            await journal.sessions.fork("s0", 1, fork, Snapshot(1, 1, b""), [])
            assert await found() == ["f", "s4", "s3", "s1", "s0"]
            assert await found(limit=2) == ["f", "s4"]
            assert await found(before="s4", limit=2) == ["s3", "s1"]
            assert await found(agent="a1", state="created") == ["s3", "s1"]
            assert await found(ids=("s0", "s2", "s3")) == ["s3", "s0"]
            await journal.sessions.delete("s3")
            assert await found() == ["f", "s4", "s1", "s0"]

    async def test_sessions_of_an_account_are_found(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:

            async def found(account: str, **more: Any) -> list[str]:
                return [one.id for one in await journal.sessions.find(SessionQuery(account=account, **more))]

            for number in range(6):
                labels = {ACCOUNT: "bob" if number % 3 == 0 else "ann", "user": "x" if number > 2 else "y"}
                session = NewSession(id=f"s{number}", agent="a", version="1", labels=labels)
                await journal.sessions.create(session, [created()])
            await new(journal, "home")
            assert await found("ann") == ["s5", "s4", "s2", "s1"]
            assert await found("ann", label=("user", "x")) == ["s5", "s4"]
            assert await found("bob", label=("user", "y")) == ["s0"]
            assert await found("ann", before="s4", limit=1) == ["s2"]
            assert await found("ann", skip=1, limit=2) == ["s4", "s2"]
            assert await found("ann", skip=4) == []
            session = NewSession(id="keyed", agent="a", version="1", labels={ACCOUNT: "cat"})
            await journal.sessions.create(session, [created()], key="k")
            assert await found("cat", key="k") == ["keyed"]
            assert await found("cat", key="other") == []
            assert await found("bob", ids=("s0", "s1")) == ["s0"]
            assert await found("") == []

    async def test_create_twice(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            first = await new(journal, "s", key="k")
            assert (await new(journal, "other", key="k")).id == first.id
            with pytest.raises(Conflict):
                await new(journal, "s")
            with pytest.raises(NotFound):
                await journal.sessions.get("other")

    async def test_an_account_never_has_more_sessions_than_it_may(self, tmp_path: Path) -> None:
        labels = {ACCOUNT: "alice"}

        def session(id: str) -> NewSession:
            return NewSession(id=id, agent="echo", version="1", labels=labels, most=3)

        async def make(id: str) -> str | None:
            try:
                return (await journal.sessions.create(session(id), [created()], key=f"key-{id}")).id
            except TooManySessions:
                return None

        async with self.journal(tmp_path) as journal:
            made = await asyncio.gather(*(make(f"s{number}") for number in range(8)))
            own = [id for id in made if id is not None]
            assert len(own) == 3
            again = await journal.sessions.create(session(own[0]), [created()], key=f"key-{own[0]}")
            assert again.id == own[0]
            with pytest.raises(Conflict):
                await journal.sessions.create(session(own[1]), [created()])
            source = await journal.sessions.get(own[0])
            snapshot = Snapshot(source.head, 1, b"{}")
            with pytest.raises(TooManySessions):
                await journal.sessions.fork(own[0], source.head, session("fork"), snapshot, [])
            other = msgspec.structs.replace(session("of-bob"), labels={ACCOUNT: "bob"})
            await journal.sessions.create(other, [created()])
            await journal.sessions.delete(own[2])
            assert (await journal.sessions.fork(own[0], source.head, session("fork"), snapshot, [])).id == "fork"
            assert len(await journal.sessions.find(SessionQuery(account="alice"))) == 3

    async def test_delete(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            await new(journal, "other")
            await journal.inboxes.accept("s", said())
            await journal.sessions.delete("s")
            for call in (
                journal.sessions.get("s"),
                journal.logs.read("s"),
                journal.inboxes.accept("s", said()),
                journal.sessions.delete("s"),
            ):
                with pytest.raises(NotFound):
                    await call
            await new(journal, "s")
            assert (await journal.sessions.get("s")).head == 1
            assert len(await journal.logs.read("other")) == 1

    async def test_the_owner_may_delete(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            former, claim = await own(journal, "s"), await own(journal, "s")
            with pytest.raises(Conflict):
                await journal.sessions.delete("s", epoch=former.epoch)
            await journal.sessions.delete("s", epoch=claim.epoch)
            with pytest.raises(NotFound):
                await journal.logs.append(Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("late")))

    async def test_delete_refused_while_owned(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            await own(journal, "s")
            with pytest.raises(Conflict):
                await journal.sessions.delete("s")
            await journal.dispatch.leave(NODE)
            await journal.sessions.delete("s")

    # The log

    async def test_append_and_read(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            head = await journal.logs.append(
                Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("a", "b"))
            )
            assert head == 3
            records = await journal.logs.read("s", after=1)
            assert [record.seq for record in records] == [2, 3]
            assert [record.body for record in records] == bodies("a", "b")
            assert await journal.logs.read("s", after=3) == []
            assert [record.seq for record in await journal.logs.read("s", limit=2)] == [1, 2]
            assert (await journal.sessions.get("s")).head == 3

    async def test_wrong_expectation_changes_nothing(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            for expected in (0, 2, 99):
                with pytest.raises(SequenceConflict):
                    await journal.logs.append(
                        Append(session="s", epoch=claim.epoch, expected=expected, bodies=bodies("x"), state="paused")
                    )
            info = await journal.sessions.get("s")
            assert (info.head, info.state) == (1, "created")
            with pytest.raises(NotFound):
                await journal.logs.append(Append(session="none", epoch=1, expected=0, bodies=bodies("x")))

    async def test_former_owner_is_fenced(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            old = await own(journal, "s")
            await journal.dispatch.leave(NODE)
            with pytest.raises(Fenced):
                await journal.logs.append(Append(session="s", epoch=old.epoch, expected=1, bodies=bodies("late")))
            fresh = await own(journal, "s", "node-b")
            assert fresh.epoch > old.epoch
            with pytest.raises(Fenced):
                await journal.logs.append(Append(session="s", epoch=old.epoch, expected=1, bodies=bodies("late")))
            await journal.logs.append(Append(session="s", epoch=fresh.epoch, expected=1, bodies=bodies("good")))
            assert names(await journal.logs.read("s")) == ["good"]

    async def test_one_append_is_all_or_nothing(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            item = await journal.inboxes.accept("s", said())
            timer = TimerSpec("t", 5.0, TimerInput("t", (Text("now"),)))
            append = Append(
                session="s",
                epoch=claim.epoch,
                expected=1,
                bodies=bodies("a"),
                consume=[item.id, item.id + 1000],
                state="running",
                snapshot=Snapshot(2, 1, b"state"),
                timers=[timer],
            )
            with pytest.raises(SequenceConflict):
                await journal.logs.append(append)
            info = await journal.sessions.get("s")
            assert (info.head, info.state, info.pending) == (1, "created", 1)
            assert await journal.logs.snapshot("s") is None
            assert await journal.dispatch.fire(10.0) is None
            append.consume = [item.id]
            await journal.logs.append(append)
            info = await journal.sessions.get("s")
            assert (info.head, info.state, info.pending) == (2, "running", 0)
            assert await journal.logs.snapshot("s") == Snapshot(2, 1, b"state")

    async def test_many_sessions_at_once(self, tmp_path: Path) -> None:
        """Concurrent owners share commits; a refused append harms no other."""

        async def write(journal: Store, session: str) -> None:
            claim = await own(journal, session)
            head = claim.info.head
            for number in range(20):
                head = await journal.logs.append(
                    Append(session=session, epoch=claim.epoch, expected=head, bodies=bodies(f"{session}.{number}"))
                )
                with pytest.raises(SequenceConflict):
                    await journal.logs.append(
                        Append(session=session, epoch=claim.epoch, expected=0, bodies=bodies("no"))
                    )

        async with self.journal(tmp_path) as journal:
            sessions = [f"s{number}" for number in range(20)]
            for session in sessions:
                await new(journal, session)
            await asyncio.gather(*(write(journal, session) for session in sessions))
            for session in sessions:
                assert names(await journal.logs.read(session)) == [f"{session}.{number}" for number in range(20)]

    async def test_survives_reopening(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            append = Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("a"), state="running")
            await journal.logs.append(append)
            await journal.inboxes.accept("s", said("kept"), key="k")
            await journal.dispatch.leave(NODE)
        async with self.journal(tmp_path) as journal:
            assert names(await journal.logs.read("s")) == ["a"]
            (item,) = await journal.inboxes.pending("s")
            assert item.input == said("kept")
            assert (await journal.inboxes.accept("s", said("kept"), key="k")).duplicate

    # An append repeated after its answer was lost

    async def test_an_append_that_is_in_the_log_is_not_written_again(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            item = await journal.inboxes.accept("s", said(), key="k")
            assert item.head == 1
            first = Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("a", "b"), consume=[item.id])
            assert await journal.logs.append(first) == 3
            assert await journal.inboxes.accept("s", said(), key="k") == (item.id, True, 3)
            assert await journal.logs.append(first) == 3
            more = Append(session="s", epoch=claim.epoch, expected=3, bodies=bodies("c"))
            assert await journal.logs.append(more) == 4
            assert await journal.logs.append(first) == 3
            assert names(await journal.logs.read("s")) == ["a", "b", "c"]
            info = await journal.sessions.get("s")
            assert (info.head, info.pending) == (4, 0)
            for other in (bodies("a", "x"), bodies("x"), bodies("a", "b", "c", "d")):
                changed = msgspec.structs.replace(first, bodies=other, consume=())
                with pytest.raises(SequenceConflict):
                    await journal.logs.append(changed)
            assert names(await journal.logs.read("s")) == ["a", "b", "c"]

    async def test_a_release_that_is_in_the_log_is_a_success_again(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            last = Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("end"), release=True)
            assert await journal.logs.append(last) == 2
            assert await journal.logs.append(last) == 2
            await own(journal, "s", "node-b")
            with pytest.raises(Fenced):
                await journal.logs.append(last)
            assert names(await journal.logs.read("s")) == ["end"]

    async def test_the_same_append_many_times_at_once(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal, self.journal(tmp_path) as other:
            await new(journal, "s")
            claim = await own(journal, "s")
            write = Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("once"))
            heads = await asyncio.gather(*(store.logs.append(write) for store in (journal, other) * 5))
            assert heads == [2] * 10
            assert names(await journal.logs.read("s")) == ["once"]

    # Inbox

    async def test_inbox_order_and_consumption(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            accepted = [await journal.inboxes.accept("s", said(str(number))) for number in range(3)]
            pending = await journal.inboxes.pending("s")
            assert [item.id for item in pending] == [one.id for one in accepted] == sorted(one.id for one in accepted)
            claim = await own(journal, "s")
            assert [item.id for item in claim.inbox] == [one.id for one in accepted]
            write = Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("x"), consume=[accepted[0].id])
            await journal.logs.append(write)
            assert [item.id for item in await journal.inboxes.pending("s")] == [one.id for one in accepted[1:]]
            with pytest.raises(SequenceConflict):
                await journal.logs.append(msgspec.structs.replace(write, expected=2))

    async def test_idempotency_key(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            await new(journal, "other")
            results = await asyncio.gather(*(journal.inboxes.accept("s", said(), key="k") for _ in range(10)))
            assert len({result.id for result in results}) == 1
            assert sorted(result.duplicate for result in results) == [False] + [True] * 9
            assert not (await journal.inboxes.accept("other", said(), key="k")).duplicate
            claim = await own(journal, "s")
            await journal.logs.append(Append(session="s", epoch=claim.epoch, expected=1, consume=[results[0].id]))
            again = await journal.inboxes.accept("s", said(), key="k")
            assert again.duplicate
            assert again.id == results[0].id
            assert await journal.inboxes.pending("s") == []
            with pytest.raises(Conflict) as refused:
                await journal.inboxes.accept("s", said("something else"), key="k")
            assert refused.value.code == "idempotency_mismatch"

    async def test_what_was_sent_and_is_not_kept_tells_a_repetition(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            first = await journal.inboxes.accept("s", said("[masked]"), key="k", sent=said("one"))
            again = await journal.inboxes.accept("s", said("masked otherwise"), key="k", sent=said("one"))
            assert again[:2] == (first.id, True)
            assert (await journal.inboxes.accept("s", said("one"), key="k"))[:2] == (first.id, True)
            with pytest.raises(Conflict):
                await journal.inboxes.accept("s", said("[masked]"), key="k", sent=said("two"))
            assert [item.input for item in await journal.inboxes.pending("s")] == [said("[masked]")]

    async def test_inbox_is_bounded_but_control_passes(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")

            async def flood() -> None:
                for _ in range(100_000):
                    await asyncio.gather(*(journal.inboxes.accept("s", said()) for _ in range(100)))

            with pytest.raises(Busy):
                await flood()
            await journal.inboxes.accept("s", ControlInput("stop"))

    async def test_a_stopped_session_takes_control_and_repetitions_only(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            first = await journal.inboxes.accept("s", said(), key="k")
            claim = await own(journal, "s")
            for state in ("stopped", "error"):
                await journal.logs.append(Append(session="s", epoch=claim.epoch, expected=1, state=state))
                with pytest.raises(Conflict) as refused:
                    await journal.inboxes.accept("s", said("more"), key="other")
                assert refused.value.code == f"session_{state}"
                assert (await journal.inboxes.accept("s", said(), key="k"))[:2] == (first.id, True)
                await journal.inboxes.accept("s", ControlInput("start"))

    async def test_large_events_are_read_in_portions(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            head = 1
            for _ in range(8):
                head = await journal.logs.append(
                    Append(session="s", epoch=claim.epoch, expected=head, bodies=bodies("x" * 600_000))
                )
            assert len(await journal.logs.read("s")) < 5
            got = list[int]()
            async for record in follow(journal, "s"):
                got.append(record.seq)
                if record.seq == head:
                    break
            assert got == list(range(1, head + 1))

    # Ownership

    async def test_claim_finds_work_only(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await journal.dispatch.beat(NodeCard(id=NODE), ttl=60)
            for session in ("idle", "busy"):
                await new(journal, session)
            await journal.inboxes.accept("busy", said())
            assert [claim.info.id for claim in await journal.dispatch.claim(NODE)] == ["busy"]
            assert await journal.dispatch.claim(NODE) == []

    async def test_release_leaves_what_arrived_meanwhile(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            first = await journal.inboxes.accept("s", said("1"))
            await journal.dispatch.beat(NodeCard(id=NODE), ttl=60)
            (claim,) = await journal.dispatch.claim(NODE)
            await journal.inboxes.accept("s", said("2"))
            done = Append(session="s", epoch=claim.epoch, expected=1, consume=[first.id], state="running", release=True)
            await journal.logs.append(done)
            (claim,) = await journal.dispatch.claim(NODE)
            assert [item.input for item in claim.inbox] == [said("2")]

    async def test_state_decides_what_is_work(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            pause = Append(session="s", epoch=claim.epoch, expected=1, state="paused", release=True)
            await journal.logs.append(pause)
            await journal.inboxes.accept("s", said())
            assert await journal.dispatch.claim(NODE) == []
            await journal.inboxes.accept("s", ControlInput("resume"))
            (claim,) = await journal.dispatch.claim(NODE)
            assert len(claim.inbox) == 2

    async def test_unfinished_turn_is_work(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            working = Append(session="s", epoch=claim.epoch, expected=1, state="running", phase="working")
            await journal.logs.append(working)
            await journal.dispatch.leave(NODE)
            await journal.dispatch.beat(NodeCard(id="node-b"), ttl=60)
            assert [one.info.id for one in await journal.dispatch.claim("node-b")] == ["s"]

    async def test_dead_node_loses_its_sessions(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            await journal.inboxes.accept("s", said())
            await journal.dispatch.beat(NodeCard(id=NODE), ttl=60)
            (old,) = await journal.dispatch.claim(NODE)
            await journal.dispatch.beat(NodeCard(id="node-b"), ttl=60)
            assert await journal.dispatch.claim("node-b") == []
            await journal.dispatch.beat(NodeCard(id=NODE), ttl=0.2)
            await asyncio.sleep(0.3)
            (fresh,) = await journal.dispatch.claim("node-b")
            assert fresh.epoch > old.epoch
            assert [item.input for item in fresh.inbox] == [said()]
            with pytest.raises(Fenced):
                await journal.logs.append(Append(session="s", epoch=old.epoch, expected=1, bodies=bodies("zombie")))

    async def test_only_one_of_many_claims_it(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as first, self.journal(tmp_path) as second:
            for number in range(10):
                await new(first, f"s{number}")
                await first.inboxes.accept(f"s{number}", said())
            nodes = [
                (journal, f"{place}-{number}") for number in range(4) for place, journal in enumerate((first, second))
            ]
            for journal, node in nodes:
                await journal.dispatch.beat(NodeCard(id=node), ttl=60)
            taken = await asyncio.gather(*(journal.dispatch.claim(node, limit=2) for journal, node in nodes))
            ids = [claim.info.id for claims in taken for claim in claims]
            assert sorted(ids) == [f"s{number}" for number in range(10)]

    async def test_claim_brings_snapshot_and_tail(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            await journal.logs.append(Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies(*"abc")))
            snapshot = Snapshot(5, 7, b"\x00state")
            await journal.logs.append(
                Append(session="s", epoch=claim.epoch, expected=4, bodies=bodies("d"), snapshot=snapshot)
            )
            await journal.logs.append(
                Append(session="s", epoch=claim.epoch, expected=5, bodies=bodies("e"), release=True)
            )
            claim = await own(journal, "s")
            assert claim.snapshot == snapshot
            assert names(claim.tail) == ["e"]
            assert claim.info.head == 6

    async def test_a_move_is_in_the_index_with_its_event(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            moved = Moved("v2", ("account:a", "sandbox:1"))
            stale = Append(session="s", epoch=claim.epoch, expected=9, bodies=bodies("x"), moved=moved)
            with pytest.raises(SequenceConflict):
                await journal.logs.append(stale)
            assert (await journal.sessions.get("s")).version != "v2"
            written = Append(
                session="s", epoch=claim.epoch, expected=1, bodies=bodies("moved"), moved=moved, release=True
            )
            await journal.logs.append(written)
            info = await journal.sessions.get("s")
            assert (info.version, set(info.needs)) == ("v2", {"account:a", "sandbox:1"})
            await journal.inboxes.accept("s", said())
            await journal.dispatch.beat(NodeCard(id="poor", offers=("account:a",)), ttl=60)
            assert await journal.dispatch.claim("poor") == []
            await journal.dispatch.beat(NodeCard(id="rich", offers=("account:a", "sandbox:1")), ttl=60)
            assert [claim.info.id for claim in await journal.dispatch.claim("rich")] == ["s"]

    # Timers

    async def test_timer_fires_once(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            late = TimerInput("late", (Text("later"),))
            soon = TimerInput("soon", (Text("now"),))
            gone = TimerSpec("gone", 50.0, TimerInput("gone", (Text("never"),)))
            timers = [TimerSpec("late", 300.0, late), TimerSpec("soon", 100.0, soon), gone]
            await journal.logs.append(Append(session="s", epoch=claim.epoch, expected=1, timers=timers))
            clear = Append(session="s", epoch=claim.epoch, expected=1, clear_timers=["gone"], release=True)
            await journal.logs.append(clear)
            assert await journal.dispatch.fire(99.0) == 100.0
            assert await journal.dispatch.fire(150.0) == 300.0
            assert await journal.dispatch.fire(150.0) == 300.0
            (claim,) = await journal.dispatch.claim(NODE)
            assert [item.input for item in claim.inbox] == [soon]
            assert await journal.dispatch.fire(1000.0) is None

    async def test_timer_is_replaced_by_its_name(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            for due in (10.0, 20.0):
                timer = TimerSpec("t", due, TimerInput("t", (Text(str(due)),)))
                await journal.logs.append(Append(session="s", epoch=claim.epoch, expected=1, timers=[timer]))
            assert await journal.dispatch.fire(15.0) == 20.0
            await journal.dispatch.fire(25.0)
            assert [item.input for item in await journal.inboxes.pending("s")] == [TimerInput("t", (Text("20.0"),))]

    async def test_the_sessions_that_have_timers_are_found(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            for name, timers in {"a": ["mine:1", "mine:2"], "B": ["mine:1", "other"], "c": ["other", "mine"]}.items():
                await new(journal, name)
                claim = await own(journal, name)
                specs = [TimerSpec(id, 1e12, TimerInput(id, ())) for id in timers]
                await journal.logs.append(
                    Append(session=name, epoch=claim.epoch, expected=1, timers=specs, release=True)
                )
            assert await journal.sessions.with_timers("mine:") == ["B", "a"]
            assert await journal.sessions.with_timers("mine:", after="B") == ["a"]
            assert await journal.sessions.with_timers("mine:", limit=1) == ["B"]
            assert await journal.sessions.with_timers("m%") == []
            await journal.sessions.delete("a")
            assert await journal.sessions.with_timers("") == ["B", "c"]

    async def test_sessions_whose_timer_came_due_are_found_until_its_input_is_taken(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            for name in "abcd":
                await new(journal, name)
            for name, due, what in (("a", 10.0, DueInput("t", 10.0)), ("b", 1e12, DueInput("t", 1e12))):
                claim = await own(journal, name)
                timers = [TimerSpec("mine:t", due, what)]
                await journal.logs.append(
                    Append(session=name, epoch=claim.epoch, expected=1, timers=timers, release=True)
                )
            await journal.inboxes.accept("c", DueInput("t"))
            await journal.inboxes.accept("c", DueInput("t"))
            await journal.inboxes.accept("d", TimerInput('t{"type":"schedule.due"', ()))
            await journal.dispatch.fire(15.0)
            assert await journal.sessions.with_timers("mine:") == ["b"]
            assert await journal.sessions.with_timers("mine:", fired="schedule.due") == ["a", "b", "c"]
            assert await journal.sessions.with_timers("mine:", fired="schedule.due", after="a", limit=1) == ["b"]
            claim = await own(journal, "a")
            (item,) = claim.inbox
            await journal.logs.append(
                Append(session="a", epoch=claim.epoch, expected=1, consume=[item.id], release=True)
            )
            assert await journal.sessions.with_timers("mine:", fired="schedule.due") == ["b", "c"]
