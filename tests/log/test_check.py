"""What is wrong with a store is found, whatever it is made of."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path

import pytest

from roost.agent.definition import Agent
from roost.errors import StoreFailed
from roost.kernel.check import check
from roost.kernel.config import KernelConfig
from roost.log.content import Text, ToolMessage
from roost.log.dispatch import NodeCard
from roost.log.facts import NewFact, PutFact
from roost.log.protocols import Append, Snapshot
from roost.memory.rights import Memory
from roost.models.request import Request
from roost.runtime import Runtime
from roost.stores.admin import layout, migrate
from roost.stores.open import is_postgres, open_store
from roost.testing.scripted import Answer, Call, ScriptedModel, by_step


@pytest.fixture(params=["sqlite", "postgres"])
async def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty store."""
    place = str(tmp_path / "roost.db")
    if request.param == "postgres":
        place = await request.getfixturevalue("postgres").database()
    return place


def node(where: str, home: Path) -> Runtime:
    answers = by_step([Answer(calls=(Call("list_files"),)), "done"])
    clerk = Agent("a", model=ScriptedModel(answers), tools=["list_files"])
    return Runtime(home, agents=[clerk], store=where, config=KernelConfig(linger=0.05))


async def live(where: str, home: Path, *, turns: int = 1) -> list[str]:
    """The second session has so many turns; a snapshot is written after about 45."""
    sessions: list[str] = []
    async with node(where, home) as runtime:
        for count in (1, turns):
            session = await runtime.session("a")
            for _ in range(count):
                await session.ask("go")
            sessions.append(session.id)
        await runtime.sessions.set_timer(sessions[0], "later", time.time() + 9999, "wake")
        while not (await runtime.sessions.inspect(sessions[0])).timers:
            await asyncio.sleep(0.01)
    return sessions


async def damage(where: str, *statements: str) -> None:
    if is_postgres(where):
        import asyncpg

        link = await asyncpg.connect(where, server_settings={"search_path": "roost"})
        for statement in statements:
            await link.execute(statement)
        await link.close()
        return
    with contextlib.closing(sqlite3.connect(where, isolation_level=None)) as raw:
        for statement in statements:
            raw.execute(statement)


async def test_nothing_is_wrong(where: str, tmp_path: Path) -> None:
    await live(where, tmp_path, turns=45)
    store = await open_store(where)
    assert [await store.logs.snapshot(session) is not None async for session in store.portable.sessions()] == [
        False,
        True,
    ]
    done = await check(where)
    assert done.faults == []
    assert (done.sessions, done.events > 250) == (2, True)
    await store.close()


async def test_an_empty_store(where: str) -> None:
    await migrate(where)
    done = await check(where)
    assert (done.sessions, done.events, done.faults) == (0, 0, [])


EVENT = '{"type":"emitted","name":"x","at":1.0}'
KINDS = {
    "gap": "DELETE FROM events WHERE s = 1 AND seq = 3",
    "head": "DELETE FROM events WHERE s = 1 AND seq = (SELECT head FROM sessions WHERE s = 1)",
    "event": "UPDATE events SET body = CAST('nonsense' AS BYTES) WHERE s = 1 AND seq = 3",
    "pending": "UPDATE sessions SET pending = pending + 1 WHERE s = 1",
    "snapshot": f"UPDATE events SET body = CAST('{EVENT}' AS BYTES) WHERE s = 2 AND seq = 4",
    "state": "UPDATE sessions SET state = 'paused' WHERE s = 1",
    "ready": "UPDATE sessions SET ready = TRUE WHERE s = 1",
    "orphan": "DELETE FROM sessions WHERE s = 1",
    "timer": "DELETE FROM timers",
    "input": "UPDATE timers SET body = CAST('nonsense' AS BYTES)",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_wrong_is_found(where: str, tmp_path: Path, kind: str) -> None:
    sessions = await live(where, tmp_path, turns=45 if kind == "snapshot" else 1)
    true, octets = ("true", "bytea") if is_postgres(where) else ("1", "blob")
    await damage(where, KINDS[kind].replace("TRUE", true).replace("BYTES", octets))
    done = await check(where)
    if kind == "head" and is_postgres(where):
        kind = "damage"  # the store itself finds that the log ends too early
    assert kind in {fault.kind for fault in done.faults}, done.faults
    named = {fault.session for fault in done.faults if fault.kind == kind}
    assert named <= {sessions[1 if kind == "snapshot" else 0], None}
    assert done.sessions == (1 if kind == "orphan" else 2)


async def test_events_beyond_the_head(where: str, tmp_path: Path) -> None:
    await live(where, tmp_path)
    await damage(where, "UPDATE sessions SET head = head - 1 WHERE s = 1")
    assert {"head"} <= {fault.kind for fault in (await check(where)).faults}


async def test_a_snapshot_of_a_later_event_than_there_is(where: str, tmp_path: Path) -> None:
    sessions = await live(where, tmp_path)
    store = await open_store(where)
    await store.dispatch.beat(NodeCard(id="n"), ttl=9)
    (claim,) = await store.dispatch.claim("n", session=sessions[0])
    late = Snapshot(99, 1, b"x")
    head = claim.info.head
    await store.logs.append(Append(session=sessions[0], epoch=claim.epoch, expected=head, snapshot=late, release=True))
    await store.dispatch.leave("n")
    await store.close()
    assert [(fault.kind, fault.session) for fault in (await check(where)).faults] == [("snapshot", sessions[0])]


def learner(where: str, home: Path) -> Runtime:
    """An agent that remembers what it is told."""

    def say(request: Request) -> Answer | str:
        last = request.messages[-1]
        if isinstance(last, ToolMessage):
            return "noted"
        text = "".join(part.text for part in last.parts if isinstance(part, Text))
        key = text.split()[0] if "=" in text else None
        scopes = ("agent", "session") if key is None else ("agent",)
        return Answer(calls=tuple(Call("remember", {"text": text, "scope": scope, "key": key}) for scope in scopes))

    clerk = Agent("a", model=ScriptedModel(say), tools=["remember"], permissions="all", memory=Memory())
    return Runtime(home, agents=[clerk], store=where, config=KernelConfig(linger=0.05))


async def memorable(where: str, home: Path) -> str:
    """A session, a fork of it and others, with facts of every origin that came, went and came back."""
    async with learner(where, home) as runtime:
        one = await runtime.session("a")
        await one.ask("the sky is blue")
        await one.ask("tea = oolong")
        await runtime.checkpoints.make(one.id, "there")
        await one.ask("tea = sencha")
        await one.ask("a lamp is on")
        fork = await runtime.checkpoints.fork(one.id)
        await runtime.open(fork.id).ask("tea = mate")
        await runtime.open(fork.id).ask("rain is near")
        await runtime.checkpoints.rollback(one.id, "there")
        await one.ask("the sea is calm")
        gone = await runtime.session("a", id="again")
        await gone.ask("a door is shut")
        await gone.delete()
        await (await runtime.session("a", id="again")).ask("a door is open")
        added = await runtime.memory.add("agent:a", "a person says so")
        await runtime.memory.update(added.fact.id, "a person says other")
        await runtime.memory.undo(fork.id, 0)
        file = home / "out.jsonl"
        await runtime.exchange.write(one.id, file)
        await runtime.exchange.read(file, agent="a")
        store = runtime.node.store
        proposals = [NewFact(id=f"fct_p{n}", space="agent:a", text=f"proposed {n}", proposed=True) for n in range(3)]
        await store.facts.change([PutFact(fact) for fact in proposals], by="x")
        await runtime.memory.accept("fct_p0")
        await runtime.memory.reject("fct_p1")
        return one.id


OF_ONE = "id = (SELECT max(id) FROM facts WHERE text = 'the sea is calm')"
FACTS = {
    "is not what event": f"UPDATE facts SET text = 'the sea is wild' WHERE {OF_ONE}",
    "is not in ": f"DELETE FROM facts WHERE {OF_ONE}",
    "facts tell of": "DELETE FROM facts WHERE text = 'a person says so'",
    "cannot be read": f"UPDATE facts SET about = CAST('nonsense' AS BYTES) WHERE {OF_ONE}",
    "there is no category": f"UPDATE facts SET category = 'rumour' WHERE {OF_ONE}",
    "before it came": "UPDATE facts SET ended_version = 1 WHERE text = 'a person says so'",
    "there are": "UPDATE spaces SET facts = facts + 1 WHERE name = 'agent:a'",
    "which says nothing of it": f"UPDATE facts SET seq = 2 WHERE {OF_ONE}",
    "the log ends before it": f"UPDATE facts SET seq = 9999 WHERE {OF_ONE}",
}


async def test_facts_are_what_their_versions_and_the_logs_say(where: str, tmp_path: Path) -> None:
    one = await memorable(where, tmp_path)
    assert (await check(where)).faults == []
    octets = "bytea" if is_postgres(where) else "blob"
    for said, statement in FACTS.items():
        copy = await a_copy(where, tmp_path)
        await damage(copy, statement.replace("BYTES", octets))
        found = (await check(copy)).faults
        assert {fault.kind for fault in found} == {"fact"}, (said, found)
        assert any(said in fault.detail for fault in found), (said, found)
        assert {fault.session for fault in found} <= {one, None}, (said, found)


async def a_copy(where: str, folder: Path) -> str:
    if is_postgres(where):
        return await copied(where)
    target = folder / f"copy{len(list(folder.iterdir()))}.db"
    with contextlib.closing(sqlite3.connect(where)) as source, contextlib.closing(sqlite3.connect(target)) as into:
        source.backup(into)
    return str(target)


async def copied(where: str) -> str:
    """Within the same server, whole: a database is a template for another."""
    import asyncpg

    server, _, name = where.rpartition("/")
    made = f"{name}_{time.monotonic_ns()}"
    link = await asyncpg.connect(f"{server}/postgres")
    await link.execute(f'CREATE DATABASE "{made}" TEMPLATE "{name}"')
    await link.close()
    return f"{server}/{made}"


async def test_while_it_is_in_use(where: str, tmp_path: Path) -> None:
    """What is committed between two looks is no fault."""
    async with node(where, tmp_path) as runtime:
        session = await runtime.session("a")
        for _ in range(5):
            sent = [await session.send("go") for _ in range(4)]
            assert (await check(where)).faults == []
            await session.answer(sent[-1].id)
    async with learner(where, tmp_path) as runtime:
        sessions = [await runtime.session("a") for _ in range(4)]
        for number in range(5):
            sent = [(session, await session.send(f"number = {number}")) for session in sessions]
            assert (await check(where)).faults == []
            for session, last in sent:
                await session.answer(last.id)


async def test_a_partition_that_is_gone(postgres: object, tmp_path: Path) -> None:
    where = await postgres.database()  # type: ignore[attr-defined]
    sessions = await live(where, tmp_path)
    await damage(where, "ALTER TABLE events DETACH PARTITION events_1")
    found = {(fault.kind, fault.session) for fault in (await check(where)).faults}
    assert {("partition", None), ("damage", sessions[0]), ("damage", sessions[1])} <= found
    await damage(where, "UPDATE partitions SET first = 1000 WHERE first = 1")
    assert ("partition", sessions[0]) in {(fault.kind, fault.session) for fault in (await check(where)).faults}


async def test_layouts(where: str) -> None:
    before = await layout(where)
    assert (before.found, before.steps) == (0, tuple(f"layout {n}" for n in range(1, before.known + 1)))
    assert await migrate(where) == before
    after = await layout(where)
    assert (after.found, after.known, after.steps) == (before.known, before.known, ())
    newer = f"PRAGMA user_version = {after.known + 1}"
    if is_postgres(where):
        newer = f"INSERT INTO migrations VALUES ({after.known + 1}, {after.known + 1}, 1, 1)"
    await damage(where, newer)
    with pytest.raises(StoreFailed, match="upgrade Roost"):
        await check(where)


async def test_an_older_layout_is_not_touched(tmp_path: Path) -> None:
    where = str(tmp_path / "roost.db")
    with contextlib.closing(sqlite3.connect(where)) as raw:
        raw.execute("PRAGMA user_version = 1")
    (fault,) = (await check(where)).faults
    assert (fault.kind, "roost store migrate" in (fault.fix or "")) == ("layout", True)
    assert (await layout(where)).found == 1
