"""The part of the conformance suite about readers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from roost.errors import RoostError
from roost.log.protocols import Append, Change
from roost.log.tail import follow
from roost.testing.stores import PATIENCE, Opens, bodies, new, own


class ReaderConformance(Opens):
    async def test_tail_replays_then_follows(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            total, got = 1500, list[int]()

            async def read(after: int) -> list[int]:
                async for record in follow(journal, "s", after=after):
                    got.append(record.seq)
                    if record.seq == total + 1:
                        break
                return got

            reading = asyncio.create_task(read(0))
            head = 1
            while head < total + 1:
                head = await journal.logs.append(
                    Append(session="s", epoch=claim.epoch, expected=head, bodies=bodies(*["x"] * 30))
                )
            await asyncio.wait_for(reading, 30)
            assert got == list(range(1, total + 2))

    async def test_slow_reader_misses_nothing(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")
            tail = follow(journal, "s")
            assert (await anext(tail)).seq == 1
            head = 1
            for _ in range(40):
                head = await journal.logs.append(
                    Append(session="s", epoch=claim.epoch, expected=head, bodies=bodies(*["x"] * 50))
                )
            got = [(await anext(tail)).seq for _ in range(head - 1)]
            assert got == list(range(2, head + 1))

    async def test_slow_reader_misses_nothing_of_a_session_that_comes_and_goes(self, tmp_path: Path) -> None:
        """The reader hears of this journal's writes at once, and of the other one's a moment later."""
        async with self.two(tmp_path) as (here, there):
            await new(here, "s")
            tail, head = follow(here, "s"), 1
            assert (await anext(tail)).seq == 1
            for _ in range(10):
                for writer, node in ((here, "node-a"), (there, "node-b"), (here, "node-a")):
                    claim = await own(writer, "s", node)
                    written = Append(session="s", epoch=claim.epoch, expected=head, bodies=bodies("x"), release=True)
                    head = await writer.logs.append(written)
                got = [(await asyncio.wait_for(anext(tail), PATIENCE)).seq for _ in range(3)]
                assert got == [head - 2, head - 1, head]

    async def test_tail_ends_with_the_session_and_the_journal(self, tmp_path: Path) -> None:
        journal = await self.open(tmp_path)
        await new(journal, "deleted")
        await new(journal, "kept")

        async def last(session: str) -> int:
            seq = 0
            async for record in follow(journal, session):
                seq = record.seq
            return seq

        ends = [asyncio.create_task(last(session)) for session in ("deleted", "kept")]
        await asyncio.sleep(0.05)
        await journal.sessions.delete("deleted")
        assert await asyncio.wait_for(ends[0], PATIENCE) == 1
        await journal.close()
        assert await asyncio.wait_for(ends[1], PATIENCE) == 1

    async def test_a_listener_that_fails_harms_nobody_else(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim, heard = await own(journal, "s"), list[Change]()

            def fail(change: Change) -> None:
                raise RuntimeError("a defect")

            journal.changes.watch(fail)
            journal.changes.watch(heard.append)
            for head in (1, 2, 3, 4):
                write = Append(session="s", epoch=claim.epoch, expected=head, bodies=bodies("x"))
                assert await asyncio.wait_for(journal.logs.append(write), PATIENCE) == head + 1
            assert len(heard) >= 4

    async def test_other_opener_is_heard(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as writer, self.journal(tmp_path) as reader:
            await new(writer, "s")
            heard = asyncio.Event()
            changes: list[Change] = []

            def listen(change: Change) -> None:
                changes.append(change)
                heard.set()

            stop = reader.changes.watch(listen)
            tail = follow(reader, "s")
            assert (await anext(tail)).seq == 1
            claim = await own(writer, "s")
            await writer.logs.append(Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("far")))
            record = await asyncio.wait_for(anext(tail), PATIENCE)
            assert (record.seq, record.body) == (2, bodies("far")[0])
            await asyncio.wait_for(heard.wait(), PATIENCE)
            stop()

    async def test_other_opener_is_heard_whatever_this_one_writes(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as there, self.journal(tmp_path) as here:
            await new(there, "far")
            await new(here, "near")
            far, near = await own(there, "far"), await own(here, "near", "node-b")
            tail = follow(here, "far", after=1)
            waiting = asyncio.ensure_future(anext(tail))
            await asyncio.sleep(0.3)
            await there.logs.append(Append(session="far", epoch=far.epoch, expected=1, bodies=bodies("far")))
            await here.logs.append(Append(session="near", epoch=near.epoch, expected=1, bodies=bodies("near")))
            assert (await asyncio.wait_for(waiting, PATIENCE)).seq == 2

    async def test_reading_does_not_wait_for_writers(self, tmp_path: Path) -> None:
        async with self.journal(tmp_path) as journal:
            await new(journal, "s")
            claim = await own(journal, "s")

            async def write() -> None:
                head = 1
                while True:
                    head = await journal.logs.append(
                        Append(session="s", epoch=claim.epoch, expected=head, bodies=bodies("x"))
                    )

            writing = asyncio.create_task(write())
            began = time.monotonic()
            for _ in range(50):
                assert (await journal.sessions.get("s")).id == "s"
            assert time.monotonic() - began < 10
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError, RoostError):
                await writing
