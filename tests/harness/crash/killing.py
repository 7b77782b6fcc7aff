"""A store that dies at a chosen commit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal, NoReturn, TypeAlias, TypeVar

import msgspec

from roost.errors import StoreFailed
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
from roost.log.store_protocol import Store

T = TypeVar("T")
When: TypeAlias = Literal["before", "after"]
How: TypeAlias = Literal["kill", "fail"]


class _Tag(msgspec.Struct):
    type: str


_tag: msgspec.json.Decoder[_Tag] = msgspec.json.Decoder(_Tag)


class KillingJournal:
    """Wraps any store. Counts the commits and strikes right before or right after commit number `at` reaches the disk;
    `at` None only counts. With `session` only those of that session count, and of what comes from it: its children, its
    forks, what their calls reserve and settle. With `only` those count that have it in their name: a kind of event, or
    one of the methods here.

    `how`: `kill` sends SIGKILL to this process; `fail` makes every method from then on raise `StoreFailed` with the
    code `store_closed`, as if the process were gone: the runtime around it is to be abandoned. `on_strike` is called
    with the name of the commit just before.

    A `restore` counts as one commit and each of its pages as another, for which `after` is `before`. Beats are not
    counted, nor are a `claim` or `fire` that find nothing. One that finds something cannot be known before it has
    committed, so `before` strikes at the next commit instead: for the disk that is the same instant.
    """

    def __init__(
        self,
        inner: Store,
        *,
        at: int | None = None,
        when: When = "after",
        session: str | None = None,
        only: str = "",
        how: How = "kill",
        on_strike: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.count = 0
        self.names: list[str] = []
        self.dead = False
        self._inner = inner
        self._at: int | None = at
        self._when: When = when
        self._sessions = {session} - {None}
        self._only = only
        self._how: How = how
        self._on_strike = on_strike

    def strike(self, at: int | None, when: When = "after") -> None:
        """At the commit `at` from now, or not at all."""
        self._at, self._when = None if at is None else self.count + at, when

    async def create(self, session: NewSession, events: Sequence[Event], *, key: str | None = None) -> SessionInfo:
        if session.parent in self._sessions:
            self._sessions.add(session.id)
        return await self._commit(session.id, "create", lambda: self._inner.create(session, events, key=key))

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
        def fork() -> Awaitable[SessionInfo]:
            return self._inner.fork(source, at, session, snapshot, events, key=key, state=state, phase=phase)

        if source in self._sessions:
            self._sessions.add(session.id)
        return await self._commit(session.id, "fork", fork)

    async def append(self, append: Append) -> int:
        return await self._commit(append.session, _name(append), lambda: self._inner.append(append))

    async def accept(self, session: str, item: Input, *, key: str | None = None, sent: Input | None = None) -> Accepted:
        name = f"accept {item.__struct_config__.tag}"
        return await self._commit(session, name, lambda: self._inner.accept(session, item, key=key, sent=sent))

    async def leave(self, node: str) -> None:
        await self._commit(None, "leave", lambda: self._inner.leave(node))

    async def delete(self, session: str, *, epoch: int | None = None) -> None:
        await self._commit(session, "delete", lambda: self._inner.delete(session, epoch=epoch))

    async def purge(self) -> None:
        await self._alive(lambda: self._inner.purge())

    async def claim(self, node: str, *, session: str | None = None, limit: int = 64) -> list[Claim]:
        claims = await self._alive(lambda: self._inner.claim(node, session=session, limit=limit))
        if any(self._counts(claim.info.id, "claim") for claim in claims):
            self._found("claim")
        return claims

    async def fire(self, now: float, *, limit: int = 1000) -> float | None:
        fired: list[str] = []
        stop = self._inner.watch(lambda change: fired.append(change.session) if change.inbox else None)
        try:
            due = await self._alive(lambda: self._inner.fire(now, limit=limit))
        finally:
            stop()
        if any(self._counts(session, "fire") for session in fired):
            self._found("fire")
        return due

    async def beat(self, card: NodeCard, *, ttl: float) -> None:
        await self._alive(lambda: self._inner.beat(card, ttl=ttl))

    async def read(self, session: str, *, after: int = 0, limit: int = 1000) -> list[Record]:
        return await self._alive(lambda: self._inner.read(session, after=after, limit=limit))

    async def pending(self, session: str) -> list[InboxItem]:
        return await self._alive(lambda: self._inner.pending(session))

    async def get(self, session: str) -> SessionInfo:
        return await self._alive(lambda: self._inner.get(session))

    async def find(self, query: SessionQuery) -> list[SessionInfo]:
        return await self._alive(lambda: self._inner.find(query))

    async def snapshot(self, session: str, *, at: int | None = None) -> Snapshot | None:
        return await self._alive(lambda: self._inner.snapshot(session, at=at))

    async def checkpoints(self, session: str) -> list[Checkpoint]:
        return await self._alive(lambda: self._inner.checkpoints(session))

    async def with_timers(
        self, prefix: str, *, fired: str | None = None, after: str = "", limit: int = 1000
    ) -> list[str]:
        return await self._alive(lambda: self._inner.with_timers(prefix, fired=fired, after=after, limit=limit))

    def tail(self, session: str, *, after: int = 0) -> AsyncIterator[Record]:
        return self._inner.tail(session, after=after)

    def watch(self, listener: Callable[[Change], None], *, session: str | None = None) -> Callable[[], None]:
        def while_alive(change: Change) -> None:
            if not self.dead:
                listener(change)

        return self._inner.watch(while_alive, session=session)

    async def nodes(self) -> list[NodeInfo]:
        return await self._alive(lambda: self._inner.nodes())

    async def backlog(self) -> Backlog:
        return await self._alive(lambda: self._inner.backlog())

    async def ready(self, *, limit: int = 1000) -> list[str]:
        return await self._alive(lambda: self._inner.ready(limit=limit))

    def on_work(self, wake: Callable[[], None]) -> None:
        self._inner.on_work(wake)

    async def setting(self, name: str, value: str | None = None, *, replace: bool = False) -> str | None:
        if value is None:
            return await self._alive(lambda: self._inner.setting(name))
        return await self._commit(None, "setting", lambda: self._inner.setting(name, value, replace=replace))

    async def hold(self, name: str, node: str) -> int | None:
        return await self._commit(None, "hold", lambda: self._inner.hold(name, node))

    async def drop(self, name: str, node: str) -> None:
        await self._commit(None, "drop", lambda: self._inner.drop(name, node))

    async def reserve(self, id: str, charges: Sequence[Charge], note: CallNote | None = None) -> str | None:
        whose = self._whose(charge.budget for charge in charges)
        return await self._commit(whose, "reserve", lambda: self._inner.reserve(id, charges, note))

    async def progress(self, costs: Mapping[str, int], provider_ids: Mapping[str, str] | None = None) -> None:
        await self._commit(None, "progress", lambda: self._inner.progress(costs, provider_ids))

    async def lose(self, id: str, cost: int, note: CallNote, *, told: bool) -> bool:
        whose = note.session if note.session in self._sessions else None
        return await self._commit(whose, "lose", lambda: self._inner.lose(id, cost, note, told=told))

    async def correct(self, id: str, cost: int, by: SettledBy, *, again: bool = True) -> LostCall | None:
        return await self._commit(None, "correct", lambda: self._inner.correct(id, cost, by, again=again))

    async def prune_lost(self, before: float) -> int:
        return await self._commit(None, "prune_lost", lambda: self._inner.prune_lost(before))

    async def tell(self, ids: Sequence[str]) -> None:
        await self._commit(None, "tell", lambda: self._inner.tell(ids))

    async def lost(self, prefix: str, *, started: tuple[float, float] | None = None) -> list[LostCall]:
        return await self._alive(lambda: self._inner.lost(prefix, started=started))

    async def open_calls(self, prefix: str) -> list[OpenCall]:
        return await self._alive(lambda: self._inner.open_calls(prefix))

    async def settle(self, id: str, amounts: Mapping[str, int]) -> None:
        await self._commit(self._whose(amounts), "settle", lambda: self._inner.settle(id, amounts))

    async def balance(self, budget: str) -> Balance:
        return await self._alive(lambda: self._inner.balance(budget))

    async def balances(self, prefix: str) -> dict[str, Balance]:
        return await self._alive(lambda: self._inner.balances(prefix))

    async def reserved(self, prefix: str) -> dict[str, dict[str, int]]:
        return await self._alive(lambda: self._inner.reserved(prefix))

    async def forget(self, budget: str) -> None:
        await self._commit(None, "forget", lambda: self._inner.forget(budget))

    async def take(self, bucket: str, amount: float, *, rate: float, burst: float) -> float:
        return await self._commit(None, "take", lambda: self._inner.take(bucket, amount, rate=rate, burst=burst))

    async def change_facts(self, changes: Sequence[FactChange], *, by: str) -> int:
        return await self._commit(None, "change_facts", lambda: self._inner.change_facts(changes, by=by))

    async def purge_facts(self, spaces: Sequence[str], *, ids: Sequence[str] | None = None) -> Purged:
        return await self._commit(None, "purge_facts", lambda: self._inner.purge_facts(spaces, ids=ids))

    async def fact(self, id: str) -> Fact:
        return await self._alive(lambda: self._inner.fact(id))

    async def facts(self, query: FactQuery) -> list[Fact]:
        return await self._alive(lambda: self._inner.facts(query))

    async def search_facts(self, spaces: Sequence[str], query: str, *, limit: int = 20) -> list[Hit]:
        return await self._alive(lambda: self._inner.search_facts(spaces, query, limit=limit))

    async def spaces(self, prefix: str = "") -> list[Space]:
        return await self._alive(lambda: self._inner.spaces(prefix))

    async def fact_changes(self, space: str, *, after: int, limit: int = 1000) -> list[Fact]:
        return await self._alive(lambda: self._inner.fact_changes(space, after=after, limit=limit))

    async def fact_rows(self, space: str, *, after: int = 0, limit: int = 1000) -> list[StoredFact]:
        return await self._alive(lambda: self._inner.fact_rows(space, after=after, limit=limit))

    async def restore_space(self, space: Space, pages: AsyncIterator[list[StoredFact]]) -> None:
        await self._commit(None, "restore_space", lambda: self._inner.restore_space(space, pages))

    def sessions(self) -> AsyncIterator[str]:
        return self._inner.sessions()

    async def dump(self, session: str) -> SessionDump:
        return await self._alive(lambda: self._inner.dump(session))

    async def restore(self, dump: SessionDump, events: AsyncIterator[list[Record]]) -> None:
        pages = self._pages(dump.info.id, events)
        await self._commit(dump.info.id, "restore", lambda: self._inner.restore(dump, pages))

    async def _pages(self, session: str, pages: AsyncIterator[list[Record]]) -> AsyncIterator[list[Record]]:
        async for page in pages:
            if self._counts(session, "restore page"):
                self._found("restore page", now=True)
            yield page

    async def dump_shared(self) -> SharedDump:
        return await self._alive(lambda: self._inner.dump_shared())

    async def restore_shared(self, dump: SharedDump) -> None:
        await self._commit(None, "restore_shared", lambda: self._inner.restore_shared(dump))

    async def close(self) -> None:
        await self._inner.close()

    async def _commit(self, session: str | None, name: str, work: Callable[[], Awaitable[T]]) -> T:
        self._refuse_if_dead()
        if not self._counts(session, name):
            return await self._alive(work)
        self.count += 1
        self.names.append(name)
        mine = self._at is not None and self.count == self._at
        if mine and self._when == "before":
            self._strike(f"before {name}")
        result = await self._alive(work)
        if mine:
            self._strike(f"after {name}")
        return result

    def _counts(self, session: str | None, name: str) -> bool:
        return self._only in name and (not self._sessions or session in self._sessions)

    def _whose(self, budgets: Iterable[str]) -> str | None:
        """The session that spends, one of those that count where one does."""
        found = {name for kind, _, name in (budget.partition(":") for budget in budgets) if kind in ("session", "tree")}
        return next(iter(found & self._sessions), None)

    def _found(self, name: str, *, now: bool = False) -> None:
        """What did something has committed; with `now` what comes next has not."""
        self.count += 1
        self.names.append(name)
        if self._at is not None and self.count == self._at:
            if now or self._when == "after":
                self._strike(f"{self._when} {name}")
            self._at += 1

    async def _alive(self, work: Callable[[], Awaitable[T]]) -> T:
        self._refuse_if_dead()
        result = await work()
        self._refuse_if_dead()
        return result

    def _refuse_if_dead(self) -> None:
        if self.dead:
            raise StoreFailed("this journal was struck: open the store anew", code="store_closed")

    def _strike(self, name: str) -> NoReturn:
        self._on_strike(name)
        self.dead = True
        if self._how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        raise StoreFailed(f"struck {name}", code="store_closed")


def _name(append: Append) -> str:
    names = [_tag.decode(body).type for body in append.bodies]
    if append.timers or append.clear_timers:
        names.append("timers")
    if append.release:
        names.append("release")
    return "append " + "+".join(names)
