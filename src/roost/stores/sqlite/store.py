"""`SqliteJournal`: the embedded store."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from roost.errors import Invalid, StoreCorrupt
from roost.locks import Locks
from roost.log.dispatch import Backlog, NodeCard, NodeInfo
from roost.log.events import Event, Phase, SessionState
from roost.log.fact_rows import StoredFact
from roost.log.facts import Fact, FactChange, FactQuery, Hit, Purged, Space
from roost.log.inputs import Input, input_digest
from roost.log.portable import SessionDump, SharedDump
from roost.log.protocols import (
    Accepted,
    Append,
    Change,
    Checkpoint,
    Claim,
    InboxItem,
    NewSession,
    Record,
    SessionInfo,
    SessionQuery,
    Snapshot,
)
from roost.log.shared import Balance, CallNote, Charge, LostCall, OpenCall, SettledBy
from roost.log.store_protocol import Durability
from roost.log.tail import follow
from roost.stores.sqlite import deletion, dispatch, fact_store, forks, portable, rows, session_logs, shared
from roost.stores.sqlite.database import SqliteDatabase

log = logging.getLogger("roost.journal")


class SqliteJournal:
    """One database file, implementing `Store`. Open it with `await SqliteJournal.open(path)`.

    Several processes may open the same file; changes of another process are noticed within 0.2 s.
    """

    def __init__(self, path: Path, durability: Durability, on_full: Callable[[], bool]) -> None:
        self._file = SqliteDatabase(path, durability, on_full)
        self._nodes = Locks(path.with_name(path.name + ".nodes"))
        self._unreadable: set[tuple[int, str, float]] = set()

    @classmethod
    async def open(
        cls, path: str | Path, *, durability: Durability = "full", on_full: Callable[[], bool] = lambda: False
    ) -> SqliteJournal:
        """Open or create the file. on_full: as in `open_store`. Raises `StoreFailed`."""
        journal = cls(Path(path), durability, on_full)
        try:
            await journal._file.open()
        except BaseException:
            await journal.close()
            raise
        return journal

    # Journal

    async def create(self, session: NewSession, events: Sequence[Event], *, key: str | None = None) -> SessionInfo:
        return await self._file.write(lambda c, out: session_logs.create(c, out, session, events, key))

    async def fork(
        self,
        source: str,
        at: int,
        session: NewSession,
        snapshot: Snapshot,
        events: Sequence[Event],
        *,
        key: str | None = None,
        state: SessionState = "created",
        phase: Phase = "idle",
    ) -> SessionInfo:
        return await self._file.write(
            lambda c, out: forks.fork(c, out, source, at, session, snapshot, events, key, state, phase)
        )

    async def append(self, append: Append) -> int:
        return await self._file.write(lambda c, out: session_logs.append(c, out, append))

    async def accept(self, session: str, item: Input, *, key: str | None = None, sent: Input | None = None) -> Accepted:
        digest = None if key is None else input_digest(sent or item)
        return await self._file.write(lambda c, out: session_logs.accept(c, out, session, item, key, digest))

    async def delete(self, session: str, *, epoch: int | None = None) -> None:
        dead = self._is_dead
        s = await self._file.write(lambda c, out: dispatch.delete(c, out, session, epoch, dead))
        self._file.purge_later(s)

    async def purge(self) -> None:
        while found := await self._file.read(deletion.garbage):
            for s in found:
                await self._file.purge(s)

    async def read(self, session: str, *, after: int = 0, limit: int = 1000) -> list[Record]:
        return await self._file.read(lambda c: rows.page(c, session, after, limit))

    async def pending(self, session: str) -> list[InboxItem]:
        return await self._file.read(lambda c: rows.inbox(c, rows.number(c, session)))

    async def snapshot(self, session: str, *, at: int | None = None) -> Snapshot | None:
        return await self._file.read(lambda c: rows.snapshot(c, rows.number(c, session), at))

    async def checkpoints(self, session: str) -> list[Checkpoint]:
        return await self._file.read(lambda c: rows.checkpoints(c, rows.number(c, session)))

    async def with_timers(
        self, prefix: str, *, fired: str | None = None, after: str = "", limit: int = 1000
    ) -> list[str]:
        return await self._file.read(lambda c: rows.with_timers(c, prefix, fired, after, limit))

    async def get(self, session: str) -> SessionInfo:
        return await self._file.read(lambda c: rows.one(c, "id", session))

    async def find(self, query: SessionQuery) -> list[SessionInfo]:
        sql, values = rows.find(query)
        return await self._file.read(lambda c: [rows.info(row) for row in c.execute(sql, values)])

    def tail(self, session: str, *, after: int = 0) -> AsyncIterator[Record]:
        return follow(self, session, after)

    def watch(self, listener: Callable[[Change], None], *, session: str | None = None) -> Callable[[], None]:
        return self._file.watchers.add(listener, session)

    async def close(self) -> None:
        """Commit queued writes, then release everything. Safe to call twice."""
        await self._file.close()
        self._nodes.close()

    # Dispatcher

    async def beat(self, card: NodeCard, *, ttl: float) -> None:
        self._nodes.hold(card.id)
        until = time.monotonic() + ttl
        await self._file.write(lambda c, out: dispatch.beat(c, card, until))

    async def claim(self, node: str, *, session: str | None = None, limit: int = 64) -> list[Claim]:
        try:
            return await self._claim(node, session, limit)
        except (StoreCorrupt, msgspec.MsgspecError) as error:
            return await self._claim_apart(node, [session] if session else None, limit, error)

    async def leave(self, node: str) -> None:
        await self._file.write(lambda c, out: dispatch.leave(c, node))
        self._nodes.drop(node)

    async def fire(self, now: float, *, limit: int = 1000) -> float | None:
        return await self._file.write(lambda c, out: dispatch.fire(c, out, now, limit, self._unreadable))

    async def nodes(self) -> list[NodeInfo]:
        return await self._file.read(lambda c: dispatch.nodes(c, self._is_dead))

    async def backlog(self) -> Backlog:
        dead = self._is_dead
        return await self._file.write(lambda c, out: dispatch.backlog(c, dead))

    async def ready(self, *, limit: int = 1000) -> list[str]:
        dead = self._is_dead
        return await self._file.write(lambda c, out: dispatch.ready(c, limit, dead))

    def on_work(self, wake: Callable[[], None]) -> None:
        """Do nothing: the changes of this journal report all work."""

    async def _claim(self, node: str, session: str | None, limit: int) -> list[Claim]:
        dead = self._is_dead
        return await self._file.write(lambda c, out: dispatch.claim(c, out, node, session, limit, dead))

    async def _claim_apart(
        self, node: str, sessions: list[str] | None, limit: int, error: StoreCorrupt | msgspec.MsgspecError
    ) -> list[Claim]:
        """Claim sessions one by one, so that damage in one session's rows does not stop the others. Each has its own
        commit: after a damaged page, SQLite lets a transaction write nothing more."""
        if sessions is None:
            dead = self._is_dead
            sessions = await self._file.write(lambda c, out: dispatch.suitable(c, node, limit, dead))
        if not sessions:
            raise error
        claims: list[Claim] = []
        for session in sessions:
            try:
                claims += await self._claim(node, session, 1)
            except (StoreCorrupt, msgspec.MsgspecError) as damage:
                log.error("session %s is damaged and set aside: %s", session, damage)
                await self._file.write(lambda c, out, s=session: dispatch.set_aside(c, s))
        return claims

    def _is_dead(self, node: str, alive_until: float) -> bool:
        """Whether a node is dead. alive_until: on this machine's monotonic clock, so that steps of the wall clock do
        not matter."""
        return self._nodes.is_free(node) or alive_until < time.monotonic()

    # Shared

    async def setting(self, name: str, value: str | None = None, *, replace: bool = False) -> str | None:
        if value is None:
            return await self._file.read(lambda c: shared.setting(c, name))
        if replace:
            return await self._file.write(lambda c, out: shared.replace(c, name, value))
        return await self._file.write(lambda c, out: shared.set_once(c, name, value))

    async def hold(self, name: str, node: str) -> int | None:
        dead = self._is_dead
        return await self._file.write(lambda c, out: shared.hold(c, name, node, dead))

    async def drop(self, name: str, node: str) -> None:
        await self._file.write(lambda c, out: shared.drop(c, name, node))

    async def reserve(self, id: str, charges: Sequence[Charge], note: CallNote | None = None) -> str | None:
        return await self._file.write(lambda c, out: shared.reserve(c, id, charges, note))

    async def progress(self, costs: Mapping[str, int], provider_ids: Mapping[str, str] | None = None) -> None:
        await self._file.write(lambda c, out: shared.progress(c, costs, provider_ids or {}))

    async def settle(self, id: str, amounts: Mapping[str, int]) -> None:
        await self._file.write(lambda c, out: shared.settle(c, id, amounts))

    async def lose(self, id: str, cost: int, note: CallNote, *, told: bool) -> bool:
        return await self._file.write(lambda c, out: shared.lose(c, id, cost, note, told))

    async def correct(self, id: str, cost: int, by: SettledBy, *, again: bool = True) -> LostCall | None:
        return await self._file.write(lambda c, out: shared.correct(c, id, cost, by, again=again))

    async def tell(self, ids: Sequence[str]) -> None:
        await self._file.write(lambda c, out: shared.tell(c, ids))

    async def lost(self, prefix: str, *, started: tuple[float, float] | None = None) -> list[LostCall]:
        return await self._file.read(lambda c: shared.lost(c, prefix, started))

    async def prune_lost(self, before: float) -> int:
        return await self._file.write(lambda c, out: shared.prune_lost(c, before))

    async def open_calls(self, prefix: str) -> list[OpenCall]:
        return await self._file.read(lambda c: shared.open_calls(c, prefix, self._nodes.is_free))

    async def balance(self, budget: str) -> Balance:
        return await self._file.read(lambda c: shared.balance(c, budget))

    async def balances(self, prefix: str) -> dict[str, Balance]:
        return await self._file.read(lambda c: shared.balances(c, prefix))

    async def reserved(self, prefix: str) -> dict[str, dict[str, int]]:
        return await self._file.read(lambda c: shared.reserved(c, prefix))

    async def forget(self, budget: str) -> None:
        await self._file.write(lambda c, out: shared.forget(c, budget))

    async def take(self, bucket: str, amount: float, *, rate: float, burst: float) -> float:
        return await self._file.write(lambda c, out: shared.take(c, bucket, amount, rate, burst))

    # Facts

    async def change_facts(self, changes: Sequence[FactChange], *, by: str) -> int:
        return await self._file.write(lambda c, out: fact_store.change(c, changes, by))

    async def purge_facts(self, spaces: Sequence[str], *, ids: Sequence[str] | None = None) -> Purged:
        facts, logs = await self._file.write(lambda c, out: fact_store.purge(c, spaces, ids))
        left = await self._file.scrub(fact_store.compact)
        return Purged(facts=facts, logs=tuple(sorted(logs)), left=left)

    async def fact(self, id: str) -> Fact:
        return await self._file.read(lambda c: fact_store.fact(c, id))

    async def facts(self, query: FactQuery) -> list[Fact]:
        return await self._file.read(lambda c: fact_store.find(c, query))

    async def search_facts(self, spaces: Sequence[str], query: str, *, limit: int = 20) -> list[Hit]:
        return await self._file.read(lambda c: fact_store.search(c, spaces, query, limit))

    async def spaces(self, prefix: str = "") -> list[Space]:
        return await self._file.read(lambda c: fact_store.spaces(c, prefix))

    async def fact_changes(self, space: str, *, after: int, limit: int = 1000) -> list[Fact]:
        return await self._file.read(lambda c: fact_store.changes(c, space, after, limit))

    # Portable

    async def sessions(self) -> AsyncIterator[str]:
        after = 0
        while page := await self._file.read(lambda c, after=after: portable.page(c, after)):
            for after, session in page:  # noqa: B007
                yield session

    async def dump(self, session: str) -> SessionDump:
        return await self._file.read(lambda c: portable.dump(c, session))

    async def restore(self, dump: SessionDump, events: AsyncIterator[list[Record]]) -> None:
        s, former = await self._file.write(lambda c, out: portable.begin(c, dump))
        if former is not None:
            self._file.purge_later(former)
        head = 0
        async for records in events:
            if [record.seq for record in records] != list(range(head + 1, head + len(records) + 1)):
                raise Invalid(f"the log of {dump.info.id!r} has a gap after event {head}")
            head += len(records)
            if records:
                await self._file.write(lambda c, out, r=records: portable.add(c, out, s, dump.info.id, r))
        if head != dump.info.head:
            raise Invalid(f"the log of {dump.info.id!r} ends at event {head}, its row says {dump.info.head}")
        await self._file.write(lambda c, out: portable.finish(c, out, s, dump))

    async def dump_shared(self) -> SharedDump:
        return await self._file.read(shared.dump)

    async def restore_shared(self, dump: SharedDump) -> None:
        await self._file.write(lambda c, out: shared.restore(c, dump))

    async def fact_rows(self, space: str, *, after: int = 0, limit: int = 1000) -> list[StoredFact]:
        return await self._file.read(lambda c: fact_store.stored(c, space, after, limit))

    async def restore_space(self, space: Space, pages: AsyncIterator[list[StoredFact]]) -> None:
        await self._file.write(lambda c, out: fact_store.begin_space(c, space.name))
        async for page in pages:
            await self._file.write(lambda c, out, page=page: fact_store.add_rows(c, space.name, page))
        await self._file.write(lambda c, out: fact_store.finish_space(c, space))
