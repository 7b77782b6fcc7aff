"""What a process remembers of the end of a log counts only while it is the whole end."""

from __future__ import annotations

from pathlib import Path

import msgspec

from roost import Agent, Runtime
from roost.doors.log_end import LogTails
from roost.testing.scripted import Answer, ScriptedModel


async def test_a_remembered_end_is_what_the_log_says_and_counts_for_its_head_alone(tmp_path: Path) -> None:
    model = ScriptedModel(lambda _: Answer(text="yes"))
    async with Runtime(tmp_path / "home", agents=[Agent("clerk", model=model)]) as runtime:
        session = await runtime.session("clerk", id="s")
        for text in ("one", "two"):
            await session.ask(text)
        sessions = runtime.sessions
        info = await sessions.get("s")
        log = await sessions.history("s", limit=1000)
        tails = LogTails(sessions)
        assert tails.end(info).known == []
        tail = tails.begin(info)
        for record in log[4:]:
            tail.note(record.seq, record.body)
        assert tails.end(info).known == []  # the turn has not ended
        tail.keep()
        assert tails.end(info).known == log[4:]
        for position in (0, 2, 4, 5, info.head):
            assert await tails.end(info).after(position) == log[position:]
        again = msgspec.structs.replace(info, created_at=info.created_at + 1)
        assert tails.end(again).known == []  # another session of this id
        await session.ask("three")
        now = await sessions.get("s")
        assert now.head > info.head
        assert tails.end(now).known == []
        assert await tails.end(now).after(info.head) == (await sessions.history("s", limit=1000))[info.head :]


async def test_of_a_long_turn_the_newest_events_are_remembered_without_a_gap(tmp_path: Path) -> None:
    async with Runtime(tmp_path / "home") as runtime:
        tails = LogTails(runtime.sessions)
        model = ScriptedModel(lambda _: Answer(text="yes"))
        await runtime.sessions.create(Agent("clerk", model=model), id="s")
        info = msgspec.structs.replace(await runtime.sessions.get("s"), head=40)
        tail = tails.begin(info)
        for seq in range(1, 41):
            tail.note(seq, b"x" * 1000)
        tail.keep()
        known = tails.end(info).known
        assert 0 < len(known) < 20
        assert [one.seq for one in known] == list(range(41 - len(known), 41))
        tail.note(42, b"x")  # after a gap
        tail.keep()
        assert [one.seq for one in tails.end(msgspec.structs.replace(info, head=42)).known] == [42]
