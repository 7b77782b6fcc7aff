"""What waits in an inbox holds no value of the vault, on either store."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.errors import Conflict
from roost.log.content import Text
from roost.log.inputs import encode_input
from roost.policy.loading import Policy
from roost.policy.vault import SecretSource

from .policies import Notes, under, writer
from .support import events, said

VALUE = "s3cr3t-of-the-service-0123"
POLICY = Policy(secrets={"SERVICE": SecretSource(source="env:MY_SERVICE")})


async def test_what_waits_in_an_inbox_is_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE", VALUE)
    agent = writer(Notes(), permissions="all")
    async with under(tmp_path, agent, POLICY) as runtime:
        session = await runtime.session("a")
        await session.control("start")
        await session.control("pause")
        first = await session.send(f"use {VALUE}", key="k")
        await session.send([Text("and"), Text(VALUE)], mode="steer")
        waiting = [encode_input(item.input).decode() for item in await runtime.node.store.inboxes.pending(session.id)]
        assert [body.count("[secret:SERVICE]") for body in waiting] == [1, 1]
        assert VALUE not in "".join(waiting)
        kept = b"".join(file.read_bytes() for file in tmp_path.glob("roost.db*") if file.is_file())
        assert VALUE.encode() not in kept
        # A repetition is what was sent, not what was kept of it.
        assert (await session.send(f"use {VALUE}", key="k"))[:2] == (first.id, True)
        with pytest.raises(Conflict) as refused:
            await session.send("use [secret:SERVICE]", key="k")
        assert refused.value.code == "idempotency_mismatch"
    # The next node may know other secrets.
    async with under(tmp_path, agent) as runtime:
        session = runtime.open(session.id)
        assert (await session.send(f"use {VALUE}", key="k"))[:2] == (first.id, True)
        await session.control("resume")
        await session.answer(first.id)
        assert said(await events(session, runtime))[0] == "use [secret:SERVICE]"


async def test_a_timers_words_and_a_programs_event_are_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE", VALUE)
    async with under(tmp_path, writer(Notes(), permissions="all"), POLICY) as runtime:
        session = await runtime.session("a")
        await runtime.sessions.set_timer(session.id, "t", 4e9, f"say {VALUE}")
        await runtime.sessions.emit(session.id, "told", {"deep": [VALUE]})
        assert VALUE not in str(await runtime.node.store.inboxes.pending(session.id))
        kept = b"".join(file.read_bytes() for file in tmp_path.glob("roost.db*") if file.is_file())
        assert VALUE.encode() not in kept
