"""A store that dies at a chosen commit."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Literal, NoReturn, TypeAlias, TypeVar

import msgspec

from roost.errors import StoreFailed
from roost.log.protocols import Append, Change, Claim, Record
from roost.log.store import Store

T = TypeVar("T")
When: TypeAlias = Literal["before", "after"]
How: TypeAlias = Literal["kill", "fail"]
_READS = frozenset(
    "sessions.get sessions.find sessions.with_timers sessions.purge logs.read logs.snapshot logs.checkpoints"
    " inboxes.pending dispatch.beat dispatch.nodes dispatch.backlog dispatch.ready ledger.lost ledger.open_calls"
    " ledger.balance ledger.balances ledger.reserved facts.get facts.find facts.search facts.spaces facts.history"
    " documents.get documents.find portable.fact_rows portable.documents portable.dump portable.dump_shared".split()
)
"""Methods that are not counted."""
_COMMITS = frozenset(
    "sessions.create sessions.fork sessions.delete inboxes.accept dispatch.leave coordination.setting"
    " coordination.hold coordination.drop coordination.take ledger.reserve ledger.progress ledger.settle ledger.lose"
    " ledger.correct ledger.tell ledger.prune_lost ledger.forget facts.change facts.purge documents.write"
    " portable.restore_space portable.restore_shared portable.restore_documents".split()
)
_PLAIN = frozenset("dispatch.on_work dispatch.close portable.sessions documents.watch".split())
"""Passed on as they are, also by a store that is dead."""


class _Tag(msgspec.Struct):
    type: str


_tag: msgspec.json.Decoder[_Tag] = msgspec.json.Decoder(_Tag)


class KillingStore(Store):
    """Wraps any store. Counts the commits and strikes right before or right after commit number `at` reaches the disk;
    `at` None only counts. With `session` only those of that session count, and of what comes from it: its children, its
    forks, what their calls reserve and settle. With `only` those count that have it in their name: a kind of event, or
    a method like `create` or `change_facts`.

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
        parts: dict[str, Any] = {field.name: getattr(inner, field.name) for field in dataclasses.fields(inner)}
        database = parts.pop("database")
        wrapped: dict[str, Any] = {name: _Part(self, name, part) for name, part in parts.items()}
        super().__init__(**wrapped, database=database)
        self.count = 0
        self.names: list[str] = []
        self.dead = False
        self.inner = inner
        self._at: int | None = at
        self._when: When = when
        self._sessions = {session} - {None}
        self._only = only
        self._how: How = how
        self._on_strike = on_strike

    def strike(self, at: int | None, when: When = "after") -> None:
        """At the commit `at` from now, or not at all."""
        self._at, self._when = None if at is None else self.count + at, when

    async def call(self, method: str, work: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Call a method of the store inside."""
        call = functools.partial(work, *args, **options)
        if method in _READS or (method == "coordination.setting" and len(args) == 1):
            return await self.alive(call)
        assert method in _COMMITS, f"say whether {method} commits"
        return await self._commit(self._session(method, args), _named(method, args), call)

    async def append(self, append: Append) -> int:
        return await self._commit(append.session, _name(append), lambda: self.inner.logs.append(append))

    async def claim(self, node: str, **options: Any) -> list[Claim]:
        claims = await self.alive(lambda: self.inner.dispatch.claim(node, **options))
        if any(self._counts(claim.info.id, "claim") for claim in claims):
            self._found("claim")
        return claims

    async def fire(self, now: float, **options: Any) -> float | None:
        fired: list[str] = []
        stop = self.inner.changes.watch(lambda change: fired.append(change.session) if change.inbox else None)
        try:
            due = await self.alive(lambda: self.inner.dispatch.fire(now, **options))
        finally:
            stop()
        if any(self._counts(session, "fire") for session in fired):
            self._found("fire")
        return due

    def watch(self, listener: Callable[[Change], None], *, session: str | None = None) -> Callable[[], None]:
        def while_alive(change: Change) -> None:
            if not self.dead:
                listener(change)

        return self.inner.changes.watch(while_alive, session=session)

    async def restore(self, dump: Any, events: AsyncIterator[list[Record]]) -> None:
        pages = self._pages(dump.info.id, events)
        await self._commit(dump.info.id, "restore", lambda: self.inner.portable.restore(dump, pages))

    async def _pages(self, session: str, pages: AsyncIterator[list[Record]]) -> AsyncIterator[list[Record]]:
        async for page in pages:
            if self._counts(session, "restore page"):
                self._found("restore page", now=True)
            yield page

    def _session(self, method: str, args: tuple[Any, ...]) -> str | None:
        """The session that a commit is of, if it is of one."""
        match method, args:
            case "sessions.create", (made, *_):
                if made.parent in self._sessions:
                    self._sessions.add(made.id)
                return made.id
            case "sessions.fork", (source, _, made, *_):
                if source in self._sessions:
                    self._sessions.add(made.id)
                return made.id
            case (("sessions.delete" | "inboxes.accept"), (session, *_)):
                return session
            case "ledger.reserve", (_, charges, *_):
                return self._whose(charge.budget for charge in charges)
            case "ledger.settle", (_, amounts, *_):
                return self._whose(amounts)
            case "ledger.lose", (_, _, note, *_):
                return note.session if note.session in self._sessions else None
            case _:
                return None

    async def _commit(self, session: str | None, name: str, work: Callable[[], Awaitable[T]]) -> T:
        self._refuse_if_dead()
        if not self._counts(session, name):
            return await self.alive(work)
        self.count += 1
        self.names.append(name)
        mine = self._at is not None and self.count == self._at
        if mine and self._when == "before":
            self._strike(f"before {name}")
        result = await self.alive(work)
        if mine and self._at is not None:  # else `strike(None)` came while it committed
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

    async def alive(self, work: Callable[[], Awaitable[T]]) -> T:
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


class _Part:
    """Stands before one object of a store. `logs.append`, `dispatch.claim` and the like are methods of the
    `KillingStore`."""

    def __init__(self, store: KillingStore, name: str, inner: object) -> None:
        self._store, self._name, self._inner = store, name, inner

    def __getattr__(self, method: str) -> Any:
        full = f"{self._name}.{method}"
        if full in _OWN:
            return getattr(self._store, method)
        work = getattr(self._inner, method)
        return work if full in _PLAIN else functools.partial(self._store.call, full, work)


_OWN = frozenset("logs.append dispatch.claim dispatch.fire changes.watch portable.restore".split())


def _named(method: str, args: tuple[Any, ...]) -> str:
    """The name of a commit."""
    part, _, name = method.partition(".")
    if method == "inboxes.accept":
        return f"accept {args[1].__struct_config__.tag}"
    return f"{name}_{part}" if part in ("facts", "documents") else name


def _name(append: Append) -> str:
    names = [_tag.decode(body).type for body in append.bodies]
    if append.timers or append.clear_timers:
        names.append("timers")
    if append.release:
        names.append("release")
    return "append " + "+".join(names)
