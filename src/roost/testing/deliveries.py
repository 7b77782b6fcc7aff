"""Conformance suite of deliveries to other sessions in an append, and of checkpoints. Subclass it as
`JournalConformance`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roost.errors import Conflict, Fenced, NotFound
from roost.log.dispatch import NodeCard
from roost.log.inputs import ControlInput
from roost.log.protocols import Append, Change, Checkpoint, CheckpointRow, Claim, Delivery, Snapshot
from roost.log.store import Store
from roost.testing.stores import Opens, bodies, eventually, new, own, said


def point(seq: int, label: str | None = None, files: str | None = None) -> CheckpointRow:
    return CheckpointRow(seq, label, 5.5, "manual", files, None, Snapshot(seq, 3, b"state \x00%d" % seq))


async def append(journal: Store, claim: Claim, *names: str, head: int = 1, **more: object) -> int:
    write = Append(session=claim.info.id, epoch=claim.epoch, expected=head, bodies=bodies(*names), **more)  # pyright: ignore[reportArgumentType]
    return await journal.logs.append(write)


async def said_to(journal: Store, session: str) -> list[object]:
    return [item.input for item in await journal.inboxes.pending(session)]


class DeliveryConformance(Opens):
    async def test_an_append_delivers_to_other_sessions(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            for name in ("child", "parent", "third"):
                await new(journal, name)
            claim = await own(journal, "child")
            told: list[Change] = []
            journal.changes.watch(told.append, session="parent")
            sent = [
                Delivery("parent", said("done"), "end"),
                Delivery("third", said("t"), "k"),
                Delivery("child", said("me"), "k"),
            ]
            assert await append(journal, claim, "end", deliver=sent) == 2
            assert await said_to(journal, "parent") == [said("done")]
            assert await said_to(journal, "third") == [said("t")]
            assert await said_to(journal, "child") == [said("me")]
            assert (await journal.sessions.get("parent")).pending == 1
            assert [item.input for change in told for item in change.inbox or ()] == [said("done")]
            again = await journal.inboxes.accept("parent", said("done"), key="end")
            assert again.duplicate
            with pytest.raises(Conflict):
                await journal.inboxes.accept("parent", said("other"), key="end")

    async def test_what_is_delivered_is_work(self, tmp_path: Path) -> None:
        """Also in the release of a session that delivers to itself."""
        async with self.journal(tmp_path) as journal:
            for name in ("child", "parent"):
                await new(journal, name)
            claim = await own(journal, "child")
            assert (await journal.dispatch.backlog()).sessions == 0
            sent = [Delivery("parent", said("done"), "end"), Delivery("child", said("more"), "m")]
            await append(journal, claim, "end", deliver=sent, release=True)
            assert sorted(await journal.dispatch.ready()) == ["child", "parent"]
            await journal.dispatch.beat(NodeCard(id="other"), ttl=60)
            claims = {claim.info.id: claim for claim in await journal.dispatch.claim("other")}
            assert [item.input for item in claims["parent"].inbox] == [said("done")]
            assert [item.input for item in claims["child"].inbox] == [said("more")]

    async def test_delivered_twice_it_is_there_once(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            for name in ("child", "parent"):
                await new(journal, name)
            claim = await own(journal, "child")
            sent = [Delivery("parent", said("done"), "end")] * 2
            await append(journal, claim, "end", deliver=sent)
            await append(journal, claim, "end", deliver=sent)  # the answer was lost, and it is written again
            await append(journal, claim, "end again", head=2, deliver=[Delivery("parent", said("changed"), "end")])
            assert await said_to(journal, "parent") == [said("done")]
            parent = await own(journal, "parent")
            await append(journal, parent, "taken", consume=[parent.inbox[0].id])
            await append(journal, claim, "late", head=3, deliver=sent)
            assert await said_to(journal, "parent") == []

    async def test_an_append_that_is_refused_delivers_nothing(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            for name in ("child", "parent"):
                await new(journal, name)
            former = await own(journal, "child", "a")
            await journal.dispatch.leave("a")
            await own(journal, "child", "b")
            with pytest.raises(Fenced):
                await append(
                    journal, former, "end", deliver=[Delivery("parent", said("done"), "end")], checkpoint=point(2)
                )
            assert await said_to(journal, "parent") == []
            assert await journal.logs.checkpoints("child") == []

    async def test_a_target_that_takes_nothing_does_not_stop_the_append(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            for name in ("child", "stopped", "gone"):
                await new(journal, name)
            claim, other = await own(journal, "child"), await own(journal, "stopped")
            await append(journal, other, state="stopped")
            await journal.sessions.delete("gone")
            sent = [
                Delivery("gone", said(), "k"),
                Delivery("never", said(), "k"),
                Delivery("stopped", said(), "k"),
                Delivery("stopped", ControlInput("stop"), "c"),
            ]
            assert await append(journal, claim, "end", deliver=sent) == 2
            assert await said_to(journal, "stopped") == [ControlInput("stop")]
            with pytest.raises(NotFound):
                await journal.inboxes.pending("gone")

    async def test_a_full_inbox_takes_a_delivery(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            for name in ("child", "parent"):
                await new(journal, name)
            await asyncio.gather(*(journal.inboxes.accept("parent", said(str(number))) for number in range(1000)))
            await append(journal, await own(journal, "child"), deliver=[Delivery("parent", said("end"), "end")])
            assert (await said_to(journal, "parent"))[-1] == said("end")

    async def test_deliveries_both_ways_at_once(self, tmp_path: Path) -> None:
        """Every delivery arrives, and no writer waits for another forever."""
        async with self.two(tmp_path) as journals:
            names = [f"s{number}" for number in range(6)]
            for name in names:
                await new(journals[0], name)
            claims = [await own(journals[place % 2], name, f"n{place % 2}") for place, name in enumerate(names)]

            async def talk(place: int) -> None:
                for turn in range(15):
                    sent = [Delivery(name, said(f"{place} {turn}"), f"{place} {turn}") for name in names[::-1]]
                    await append(journals[place % 2], claims[place], "x", head=turn + 1, deliver=sent)

            await asyncio.gather(*map(talk, range(len(names))))
            for name in names:
                assert len(await journals[0].inboxes.pending(name)) == 15 * len(names)
                assert (await journals[1].sessions.get(name)).pending == 15 * len(names)

    async def test_other_nodes_hear_of_it(self, tmp_path: Path) -> None:
        async with self.two(tmp_path) as (here, there):
            for name in ("child", "parent"):
                await new(here, name)
            claim, parent = await own(here, "child", "a"), await own(there, "parent", "b")
            told: list[Change] = []
            there.changes.watch(told.append, session="parent")
            await asyncio.sleep(0.3)
            told.clear()
            await append(here, claim, "end", deliver=[Delivery("parent", said("done"), "end")])

            async def heard() -> bool:
                return any(change.inbox is None or change.inbox for change in told)

            await eventually(heard)
            assert await there.dispatch.claim("b", session="parent") != []
            assert (await there.inboxes.pending("parent"))[0].input == said("done")
            assert parent.epoch < (await there.sessions.get("parent")).epoch

    # Checkpoints

    async def test_checkpoints_are_kept_until_dropped(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            assert await journal.logs.checkpoints("s") == []
            await append(journal, claim, "a", checkpoint=point(2, "first", "files1"))
            await append(journal, claim, "b", head=2, checkpoint=point(3), snapshot=Snapshot(3, 3, b"newest"))
            await append(journal, claim, "c", "d", head=3, checkpoint=point(5, "third"))
        async with self.journal(tmp_path) as journal:
            found = await journal.logs.checkpoints("s")
            assert found[2] == Checkpoint(2, "first", 5.5, "manual", "files1", None)
            assert [one.seq for one in found] == [5, 3, 2]
            claim = await own(journal, "s", "other")
            assert claim.snapshot == Snapshot(3, 3, b"newest")
            await append(journal, claim, "e", head=5, drop_checkpoints=[2, 5, 77])
            assert [one.seq for one in await journal.logs.checkpoints("s")] == [3]
            await append(journal, claim, head=6, checkpoint=point(3, "named"))
            assert [(one.seq, one.label) for one in await journal.logs.checkpoints("s")] == [(3, "named")]
            with pytest.raises(NotFound):
                await journal.logs.checkpoints("none")

    async def test_the_state_at_a_position(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            assert await journal.logs.snapshot("s", at=1) is None
            await append(journal, claim, "a", "b", "c", "d", checkpoint=point(2))
            await append(journal, claim, head=5, checkpoint=point(4), snapshot=Snapshot(5, 3, b"five"))
            found = [await journal.logs.snapshot("s", at=at) for at in range(1, 7)]
            assert [None if one is None else one.seq for one in found] == [None, 2, 2, 4, 5, 5]
            assert found[1] == point(2).snapshot
            assert await journal.logs.snapshot("s") == Snapshot(5, 3, b"five")
            await append(journal, claim, "e", head=5, checkpoint=point(6))
            assert await journal.logs.snapshot("s") == point(6).snapshot

    async def test_checkpoints_go_with_their_session(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            await append(journal, claim, "a", checkpoint=point(2))
            await journal.sessions.delete("s", epoch=claim.epoch)
            await new(journal, "s")
            assert await journal.logs.checkpoints("s") == []
            assert await journal.logs.snapshot("s") is None
