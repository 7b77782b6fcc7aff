"""`PostgresJournal`: the store for several nodes."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

from roost.errors import StoreFailed
from roost.log.commit_watchers import Watchers
from roost.log.dispatch import Backlog, NodeCard, NodeInfo
from roost.log.events import Event, Phase, SessionState
from roost.log.fact_rows import StoredFact
from roost.log.facts import Fact, FactChange, FactQuery, Hit, Purged, Space
from roost.log.inputs import Input
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
from roost.stores.postgres import dispatch, fact_store, forks, inboxes, partitions, portable, queries, rows, shared
from roost.stores.postgres.append_effects import Delivered
from roost.stores.postgres.database import Address, Pool, shut
from roost.stores.postgres.errors import FAILURES, failure
from roost.stores.postgres.migrate import MIGRATIONS, Migration, migrate
from roost.stores.postgres.node_connection import NodeConnection
from roost.stores.postgres.notify import ANYTHING, INBOX, LOG, WORK
from roost.stores.postgres.poll_fallback import PollFallback
from roost.stores.postgres.writer import GroupWriter

log = logging.getLogger("roost.journal")
_CONNECTIONS = 4
_WRITERS = 2


class PostgresJournal:
    """One database, or a schema in it. Open it with `await PostgresJournal.open(url)`.

    Uses up to seven connections: one that lasts as long as its nodes, two that append, four for the rest. When the
    database does not answer, every method raises `StoreUnreachable` after at most six seconds.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        token = secrets.token_hex(8)
        self._watchers = Watchers()
        self._pool = Pool(address, _CONNECTIONS, name=f"roost-{token}")
        self._appends = Pool(address, _WRITERS, name=f"roost-append-{token}")
        self._live = NodeConnection(address, token, self._watchers.publish)
        self._notices = self._live.notices
        self._patrol = PollFallback(self._pool, self._watchers, self._live)
        self._writer = GroupWriter(self._appends, _WRITERS, self._appended)
        self._claims = dispatch.Claims(self._pool, self._claimed, self._buried)
        self._timers = dispatch.Timers(self._pool, self._fired)
        self._wakes: list[Callable[[], None]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._room_until = 0
        self._making_room = False
        self._closed = False

    @classmethod
    async def open(
        cls, url: str, *, durability: Durability = "full", migrations: Sequence[Migration] = MIGRATIONS
    ) -> PostgresJournal:
        """Bring the tables up to date, then connect. `?schema=` in the address names the schema to use. Raises
        `StoreFailed`, and `ConfigError` for a bad address."""
        journal = cls(Address.parse(url, durability))
        try:
            await journal._start(migrations)
        except BaseException as error:
            await journal.close()
            if isinstance(error, FAILURES):
                raise failure(error) from error
            raise
        return journal

    # Journal

    async def create(self, session: NewSession, events: Sequence[Event], *, key: str | None = None) -> SessionInfo:
        return await self._made(*await inboxes.create(self._pool, session, events, key))

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
        made = await forks.fork(self._pool, source, at, session, snapshot, events, key, state, phase)
        return await self._made(*made)

    async def _made(self, s: int | None, made: SessionInfo | str, bodies: list[bytes]) -> SessionInfo:
        if s is None:
            return await self.get(str(made))
        assert isinstance(made, SessionInfo)
        if s > self._room_until and not self._making_room:
            self._making_room = True
            self._later(self._make_room())
        change = Change(made.id, rows.records(made.head - len(bodies), bodies))
        self._publish(change, WORK if made.phase == "working" else LOG)
        return made

    async def append(self, append: Append) -> int:
        return await self._writer.submit(append)

    async def read(self, session: str, *, after: int = 0, limit: int = 1000) -> list[Record]:
        return await queries.read(self._pool, session, after, limit)

    def tail(self, session: str, *, after: int = 0) -> AsyncIterator[Record]:
        return follow(self, session, after)

    async def accept(self, session: str, item: Input, *, key: str | None = None, sent: Input | None = None) -> Accepted:
        taken = await inboxes.accept(self._pool, session, item, key, sent or item)
        if taken.item is not None:
            self._accepted(Change(session, inbox=(taken.item,)), taken.owner)
        return Accepted(taken.id, taken.item is None, taken.head)

    async def pending(self, session: str) -> list[InboxItem]:
        return await queries.pending(self._pool, session)

    async def get(self, session: str) -> SessionInfo:
        return await queries.get(self._pool, session)

    async def find(self, query: SessionQuery) -> list[SessionInfo]:
        return await queries.find(self._pool, query)

    async def snapshot(self, session: str, *, at: int | None = None) -> Snapshot | None:
        return await forks.snapshot(self._pool, session, at)

    async def checkpoints(self, session: str) -> list[Checkpoint]:
        return await forks.checkpoints(self._pool, session)

    async def with_timers(
        self, prefix: str, *, fired: str | None = None, after: str = "", limit: int = 1000
    ) -> list[str]:
        return await queries.with_timers(self._pool, prefix, fired, after, limit)

    async def delete(self, session: str, *, epoch: int | None = None) -> None:
        s = await inboxes.delete(self._pool, session, epoch)
        self._writer.numbers.pop(session, None)
        self._publish(Change(session, None), LOG)
        self._later(inboxes.purge(self._pool, s))

    async def purge(self) -> None:
        for (s,) in await self._pool.run(lambda link: link.fetch(forks.PURGEABLE)):
            await inboxes.purge(self._pool, s)

    def watch(self, listener: Callable[[Change], None], *, session: str | None = None) -> Callable[[], None]:
        return self._watchers.add(listener, session)

    async def close(self) -> None:
        """Commit queued appends, then release everything. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._patrol.stop()
        await self._writer.close()
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.gather(self._live.close(), self._pool.close(), self._appends.close())
        self._watchers.close()

    # Dispatcher

    async def beat(self, card: NodeCard, *, ttl: float) -> None:
        await self._live.beat(card, ttl)

    async def claim(self, node: str, *, session: str | None = None, limit: int = 64) -> list[Claim]:
        return await self._claims.claim(node, session, limit)

    async def leave(self, node: str) -> None:
        await self._pool.run(lambda link: link.execute("SELECT leave_1($1)", node))
        await self._live.forget(node)
        self._notices.add(ANYTHING.session, WORK)

    async def fire(self, now: float, *, limit: int = 1000) -> float | None:
        return await self._timers.fire(now, limit)

    async def nodes(self) -> list[NodeInfo]:
        return await dispatch.nodes(self._pool, self._live)

    async def backlog(self) -> Backlog:
        return await dispatch.backlog(self._pool, self._buried)

    async def ready(self, *, limit: int = 1000) -> list[str]:
        return await dispatch.ready(self._pool, limit)

    def on_work(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    # Shared

    async def setting(self, name: str, value: str | None = None, *, replace: bool = False) -> str | None:
        return await shared.setting(self._pool, name, value, replace)

    async def hold(self, name: str, node: str) -> int | None:
        return await shared.hold(self._pool, name, node)

    async def drop(self, name: str, node: str) -> None:
        await shared.drop(self._pool, name, node)

    async def reserve(self, id: str, charges: Sequence[Charge], note: CallNote | None = None) -> str | None:
        return await shared.reserve(self._pool, id, charges, note)

    async def progress(self, costs: Mapping[str, int], provider_ids: Mapping[str, str] | None = None) -> None:
        await shared.progress(self._pool, costs, provider_ids or {})

    async def settle(self, id: str, amounts: Mapping[str, int]) -> None:
        await shared.settle(self._pool, id, amounts)

    async def lose(self, id: str, cost: int, note: CallNote, *, told: bool) -> bool:
        return await shared.lose(self._pool, id, cost, note, told)

    async def correct(self, id: str, cost: int, by: SettledBy, *, again: bool = True) -> LostCall | None:
        return await shared.correct(self._pool, id, cost, by, again=again)

    async def tell(self, ids: Sequence[str]) -> None:
        await shared.tell(self._pool, ids)

    async def lost(self, prefix: str, *, started: tuple[float, float] | None = None) -> list[LostCall]:
        return await shared.lost(self._pool, prefix, started)

    async def prune_lost(self, before: float) -> int:
        return await shared.prune_lost(self._pool, before)

    async def open_calls(self, prefix: str) -> list[OpenCall]:
        return await shared.open_calls(self._pool, prefix)

    async def balance(self, budget: str) -> Balance:
        return await shared.balance(self._pool, budget)

    async def balances(self, prefix: str) -> dict[str, Balance]:
        return await shared.balances(self._pool, prefix)

    async def reserved(self, prefix: str) -> dict[str, dict[str, int]]:
        return await shared.reserved(self._pool, prefix)

    async def forget(self, budget: str) -> None:
        await shared.forget(self._pool, budget)

    async def take(self, bucket: str, amount: float, *, rate: float, burst: float) -> float:
        return await shared.take(self._pool, bucket, amount, rate, burst)

    # Facts

    async def change_facts(self, changes: Sequence[FactChange], *, by: str) -> int:
        return await fact_store.change(self._pool, changes, by)

    async def purge_facts(self, spaces: Sequence[str], *, ids: Sequence[str] | None = None) -> Purged:
        return await fact_store.purge(self._pool, spaces, ids)

    async def fact(self, id: str) -> Fact:
        return await fact_store.fact(self._pool, id)

    async def facts(self, query: FactQuery) -> list[Fact]:
        return await fact_store.find(self._pool, query)

    async def search_facts(self, spaces: Sequence[str], query: str, *, limit: int = 20) -> list[Hit]:
        return await fact_store.search(self._pool, spaces, query, limit)

    async def spaces(self, prefix: str = "") -> list[Space]:
        return await fact_store.spaces(self._pool, prefix)

    async def fact_changes(self, space: str, *, after: int, limit: int = 1000) -> list[Fact]:
        return await fact_store.changes(self._pool, space, after, limit)

    # Portable

    def sessions(self) -> AsyncIterator[str]:
        return portable.sessions(self._pool)

    async def dump(self, session: str) -> SessionDump:
        return await portable.dump(self._pool, session)

    async def restore(self, dump: SessionDump, events: AsyncIterator[list[Record]]) -> None:
        self._room_until = await self._pool.run(partitions.ensure)
        await portable.restore(self._pool, dump, events)
        self._publish(Change(dump.info.id, None, None), WORK)

    async def dump_shared(self) -> SharedDump:
        return await shared.dump(self._pool)

    async def restore_shared(self, dump: SharedDump) -> None:
        await shared.restore(self._pool, dump)

    async def fact_rows(self, space: str, *, after: int = 0, limit: int = 1000) -> list[StoredFact]:
        return await fact_store.stored(self._pool, space, after, limit)

    async def restore_space(self, space: Space, pages: AsyncIterator[list[StoredFact]]) -> None:
        await fact_store.restore(self._pool, space, pages)

    # Inner parts

    async def _start(self, migrations: Sequence[Migration]) -> None:
        link = await self._address.connect("roost-open")
        try:
            await migrate(link, self._address.schema, migrations)
            self._room_until = await partitions.ensure(link)
            garbage = await link.fetch(forks.PURGEABLE)
        finally:
            await shut(link)
        await self._live.start()
        self._patrol.start()
        for (s,) in garbage:
            self._later(inboxes.purge(self._pool, s))
        self._later(self._drop_empty())

    async def _make_room(self) -> None:
        try:
            self._room_until = await self._pool.run(partitions.ensure)
        finally:
            self._making_room = False
        await self._drop_empty()

    async def _drop_empty(self) -> None:
        await self._pool.run(partitions.drop_empty, repeat=False, seconds=partitions.DROP_SECONDS)

    def _appended(self, appends: list[Append], waiting: Collection[str], delivered: Sequence[Delivered]) -> None:
        notices = self._notices
        changes: list[Change] = []
        for append in appends:
            if append.release:
                self._writer.numbers.pop(append.session, None)
            if append.bodies:
                changes.append(Change(append.session, rows.records(append.expected, append.bodies)))
            notices.add(append.session, WORK if append.session in waiting else LOG)
        self._patrol.committed(appends)
        self._watchers.publish(changes)
        for change, owner in delivered:
            self._accepted(change, owner)
        for wake in self._wakes if waiting else ():
            wake()

    def _accepted(self, change: Change, owner: str | None) -> None:
        here = self._live.nodes
        if owner not in here:
            self._notices.add(change.session, INBOX if owner else WORK, unless_taken=owner is None and bool(here))
        self._watchers.publish([change])

    def _fired(self, change: Change, owner: str | None) -> None:
        self._accepted(change, owner)

    def _claimed(self, session: str, s: int) -> None:
        self._writer.know(session, s)
        self._notices.taken(session)

    def _buried(self) -> None:
        self._notices.add(ANYTHING.session, WORK)
        for wake in self._wakes:
            wake()

    def _publish(self, change: Change, kind: int) -> None:
        self._notices.add(change.session, kind)
        self._watchers.publish([change])

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            try:
                await work
            except StoreFailed as error:  # the next start retries it
                log.warning("left for later: %s", error)

        task = asyncio.create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
