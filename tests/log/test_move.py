"""Content moves from any store into any other and is the same there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from roost.errors import Conflict
from roost.log.content import Text
from roost.log.dispatch import NodeCard
from roost.log.events import Emitted, StateChanged, encode_event
from roost.log.inputs import MessageInput, TimerInput
from roost.log.ledger import Charge
from roost.log.protocols import Append, Claim, NewSession, Record, Snapshot, TimerSpec
from roost.log.store import Store
from roost.stores.copy import checksum, copy
from roost.stores.open import open_store

STRANGE = "ü – 漢字 – 🦉 – \x01\x7f – \u2028 – \\u0000 – 'quotes' \"two\" – <b>"
KINDS = ("sqlite", "postgres")
Open = Callable[[str], Awaitable[Store]]


@pytest.fixture
async def fresh(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Open an empty store of a kind; they are closed after the test."""
    async with contextlib.AsyncExitStack() as stack:
        count = 0

        async def make(kind: str) -> Store:
            nonlocal count
            count += 1
            postgres = kind == "postgres"
            where = await request.getfixturevalue("postgres").database() if postgres else tmp_path / f"{count}.db"
            store = await open_store(where, durability="relaxed")
            stack.push_async_callback(store.close)
            return store

        yield make


@pytest.fixture(params=[(a, b) for a in KINDS for b in KINDS], ids="-".join)
async def houses(request: pytest.FixtureRequest, fresh: Open) -> tuple[Store, Store]:
    source, target = request.param
    return await fresh(source), await fresh(target)


def event(text: str) -> bytes:
    return encode_event(Emitted(at=1.25, name="said", data={"text": text}))


def said(text: str) -> MessageInput:
    return MessageInput((Text(text),), source="test")


async def own(store: Store, session: str) -> Claim:
    await store.dispatch.beat(NodeCard(id="n", home="h"), ttl=60)
    (claim,) = await store.dispatch.claim("n", session=session)
    return claim


async def write(store: Store, session: str, texts: list[str], **more: object) -> None:
    """As its owner for a moment."""
    claim = await own(store, session)
    bodies = [event(text) for text in texts]
    append = Append(session=session, epoch=claim.epoch, expected=claim.info.head, bodies=bodies, release=True)
    for name, value in more.items():
        setattr(append, name, value)
    await store.logs.append(append)
    await store.dispatch.leave("n")


async def live(store: Store) -> None:
    """Three sessions: one with everything, one that nobody ever spoke to, one whose log is long."""
    rich = NewSession(
        id="rich",
        agent="clerk",
        version="7",
        workspace="/w",
        title=STRANGE,
        parent="p",
        labels={"b": STRANGE, "a": "x"},
        needs=("account:z", "account:a"),
    )
    await store.sessions.create(rich, [StateChanged(at=0.1 + 0.2, state="running")], key="made")
    ids = [
        (await store.inboxes.accept("rich", said(f"{n} {STRANGE}"), key=key)).id
        for n, key in enumerate((None, "k1", "k2"))
    ]
    await store.dispatch.beat(NodeCard(id="n", home="h", offers=rich.needs), ttl=60)
    (claim,) = await store.dispatch.claim("n", session="rich")
    binary = bytes(range(256))
    await store.logs.append(
        Append(
            session="rich",
            epoch=claim.epoch,
            expected=1,
            bodies=[event(STRANGE), binary, b"", b"\x00" * 3],
            consume=ids[:2],
            state="running",
            phase="waiting",
            snapshot=Snapshot(3, 12, binary),
            timers=[TimerSpec("t", 4e9, TimerInput("t", (Text(STRANGE),)))],
            release=True,
        )
    )
    await store.dispatch.leave("n")
    await store.sessions.create(NewSession(id="silent", agent="clerk", version="7"), [])
    await store.sessions.create(NewSession(id="long", agent="clerk", version="7"), [])
    await write(store, "long", [f"{n} {'x' * 2000}" for n in range(700)])
    await store.coordination.setting("secret", STRANGE)
    await store.ledger.reserve("r1", [Charge("ann", 10**15, limit=10**18), Charge("team", 7)])
    await store.ledger.reserve("r2", [Charge("ann", 5)])
    await store.ledger.settle("r2", {"ann": 3})


async def ids(store: Store) -> list[str]:
    return [session async for session in store.portable.sessions()]


async def test_everything_moves_and_comes_back(houses: tuple[Store, Store], fresh: Open, tmp_path: Path) -> None:
    source, target = houses
    await live(source)
    done = await copy(source, target)
    assert (done.copied, done.same, done.problems, done.shared, done.extra) == (3, 0, [], "copied", [])
    assert (done.events, done.bytes > 1_400_000) == (705, True)
    back = await fresh("sqlite")
    assert (await copy(target, back)).problems == []
    assert await ids(source) == await ids(target) == await ids(back) == ["rich", "silent", "long"]
    for session in await ids(source):
        assert await checksum(source, session) == await checksum(target, session) == await checksum(back, session)
    for store in (target, back):
        assert await store.logs.read("rich") == await source.logs.read("rich")
        assert await store.portable.dump_shared() == await source.portable.dump_shared()


async def test_what_moved_goes_on_as_if_nothing_had_happened(houses: tuple[Store, Store]) -> None:
    source, target = houses
    await live(source)
    await copy(source, target)
    there = {item.key: item.id for item in (await source.portable.dump("rich")).inbox if item.key}
    repeated = await target.inboxes.accept("rich", said(f"1 {STRANGE}"), key="k1")
    assert repeated[:2] == (there["k1"], True)
    assert (await target.sessions.create(NewSession(id="x", agent="a", version="1"), [], key="made")).id == "rich"
    assert (await target.inboxes.accept("rich", said("new"))).id > max(there.values())
    await target.dispatch.beat(NodeCard(id="n", offers=("account:a", "account:z")), ttl=60)
    (claim,) = await target.dispatch.claim("n", session="rich")
    assert claim.epoch > (await source.sessions.get("rich")).epoch
    assert len(claim.inbox) == 2
    assert await target.dispatch.fire(5e9) is None
    assert len(await target.inboxes.pending("rich")) == 3
    assert await target.ledger.reserve("r1", [Charge("ann", 1, limit=0)]) is None


async def test_an_empty_store(houses: tuple[Store, Store]) -> None:
    done = await copy(*houses)
    assert (done.copied, done.events, done.problems, done.shared) == (0, 0, [], "same")


async def test_a_second_time_nothing_is_to_do(houses: tuple[Store, Store]) -> None:
    source, target = houses
    await live(source)
    await copy(source, target)
    done = await copy(source, target)
    assert (done.copied, done.same, done.events, done.shared) == (0, 3, 0, "same")


async def test_a_copy_that_broke_off_is_taken_up(houses: tuple[Store, Store]) -> None:
    """In the middle of a session's log."""
    source, target = houses
    await live(source)

    async def pages() -> AsyncGenerator[list[Record], None]:
        yield (await source.logs.read("long", limit=100))[:100]
        raise ZeroDivisionError

    await copy(source, target)
    await target.sessions.delete("long")
    with pytest.raises(ZeroDivisionError):
        await target.portable.restore(await source.portable.dump("long"), pages())
    assert await ids(target) == ["rich", "silent"]
    done = await copy(source, target)
    assert (done.copied, done.same, done.problems) == (1, 2, [])
    assert await checksum(source, "long") == await checksum(target, "long")


async def test_nobody_may_be_at_work(houses: tuple[Store, Store]) -> None:
    source, target = houses
    await source.dispatch.beat(NodeCard(id="busy"), ttl=60)
    with pytest.raises(Conflict, match="1 nodes are at work in the store to copy from"):
        await copy(source, target)
    assert (await copy(source, target, online=True)).problems == []
    await source.dispatch.leave("busy")
    await target.dispatch.beat(NodeCard(id="busy"), ttl=60)
    with pytest.raises(Conflict, match="1 nodes are at work in the store to copy to") as caught:
        await copy(source, target, online=True)
    assert caught.value.code == "nodes_at_work"


async def test_a_node_that_comes_meanwhile_is_told_of(fresh: Open) -> None:
    source, target = await fresh("sqlite"), await fresh("sqlite")
    await live(source)
    beats: list[asyncio.Future[None]] = []
    done = await copy(
        source,
        target,
        progress=lambda _: beats.append(asyncio.ensure_future(source.dispatch.beat(NodeCard(id="n"), ttl=60))),
    )
    await asyncio.gather(*beats)
    assert done.copied == 3
    assert ["came to work" in problem.detail for problem in done.problems] == [True]


async def test_while_the_source_is_in_use_and_once_more_afterwards(houses: tuple[Store, Store]) -> None:
    source, target = houses
    await live(source)
    await copy(source, target, online=True)
    await write(source, "long", ["more"])
    await source.inboxes.accept("silent", said("hello"))
    await source.sessions.delete("rich")
    await source.ledger.reserve("r3", [Charge("ann", 1)])

    done = await copy(source, target)
    problems = {problem.session: problem.detail for problem in done.problems}
    assert set(problems) == {"long", "silent", ""}
    assert "--replace" in problems["long"]
    assert await checksum(source, "long") != await checksum(target, "long")

    done = await copy(source, target, replace=True)
    assert (done.replaced, done.copied, done.problems, done.extra, done.shared) == (2, 0, [], ["rich"], "copied")
    for session in ("long", "silent"):
        assert await checksum(source, session) == await checksum(target, session)
    assert await source.ledger.balance("ann") == await target.ledger.balance("ann")


async def test_what_went_on_by_itself_is_never_replaced(houses: tuple[Store, Store]) -> None:
    source, target = houses
    await live(source)
    await copy(source, target)
    await write(source, "long", ["here"])
    await write(target, "long", ["there"])
    await write(target, "silent", ["there only"])
    before = await checksum(target, "long")
    done = await copy(source, target, replace=True)
    assert {problem.session for problem in done.problems} == {"long", "silent"}
    assert all("went on in the target" in problem.detail for problem in done.problems)
    assert await checksum(target, "long") == before


async def test_an_input_that_waits_in_the_target_alone_is_never_lost(houses: tuple[Store, Store]) -> None:
    source, target = houses
    await live(source)
    await source.inboxes.accept("long", said("to both"))
    await copy(source, target)
    await target.inboxes.accept("long", said("there only"))
    await source.inboxes.accept("silent", said("here"))
    await target.inboxes.accept("silent", said("there"))
    done = await copy(source, target, replace=True)
    assert {problem.session for problem in done.problems} == {"long", "silent"}
    assert [item.input for item in await target.inboxes.pending("long")] == [said("to both"), said("there only")]
    assert [item.input for item in await target.inboxes.pending("silent")] == [said("there")]


async def test_the_targets_settings_stay(houses: tuple[Store, Store]) -> None:
    source, target = houses
    await source.coordination.setting("token", "old")
    await source.coordination.setting("other", "x")
    await target.coordination.setting("token", "new")
    done = await copy(source, target)
    assert (done.shared, done.kept) == ("copied", ["token"])
    assert (await target.coordination.setting("token"), await target.coordination.setting("other")) == ("new", "x")


async def test_a_damaged_session_does_not_keep_the_others(fresh: Open, tmp_path: Path) -> None:
    import sqlite3

    source, target = await fresh("sqlite"), await fresh("sqlite")
    await live(source)
    with contextlib.closing(sqlite3.connect(tmp_path / "1.db", isolation_level=None)) as raw:
        raw.execute("DELETE FROM events WHERE seq = 350")
    done = await copy(source, target)
    assert [problem.session for problem in done.problems] == ["long"]
    assert (done.copied, await ids(target)) == (2, ["rich", "silent"])


async def test_what_the_target_cannot_hold_is_said(fresh: Open) -> None:
    """PostgreSQL's text has no NUL; an event's bytes have whatever they have."""
    source, target = await fresh("sqlite"), await fresh("postgres")
    await source.sessions.create(NewSession(id="nul", agent="a", version="1", title="a\0b"), [])
    await source.sessions.create(NewSession(id="fine", agent="a", version="1"), [])
    await write(source, "fine", ["a\0b"])
    done = await copy(source, target)
    assert (done.copied, await ids(target)) == (1, ["fine"])
    (problem,) = done.problems
    assert (problem.session, "NUL" in problem.detail) == ("nul", True)
    assert await checksum(source, "fine") == await checksum(target, "fine")


async def test_sessions_that_go_while_they_are_copied(houses: tuple[Store, Store]) -> None:
    source, target = houses
    await live(source)
    await source.dispatch.beat(NodeCard(id="busy"), ttl=60)
    gone: list[asyncio.Future[None]] = []

    def delete_the_next(_: object) -> None:
        if not gone:
            gone.append(asyncio.ensure_future(source.sessions.delete("long")))

    done = await copy(source, target, online=True, progress=delete_the_next)
    await asyncio.gather(*gone)
    assert done.problems == []
    assert await ids(target) in (["rich", "silent"], ["rich", "silent", "long"])
    assert await ids(source) == ["rich", "silent"]
