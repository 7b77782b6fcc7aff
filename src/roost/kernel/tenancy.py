"""What a request sees of the store: with the authority of an account, only what is the account's.

Services and doors use this view (`Node.tenants`), the kernel the store itself. What belongs to another account answers
as what does not exist. For the home's authority each call is passed on as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from roost.authority import Authority, current, key_of, known_sessions, may_own, space_account
from roost.errors import Conflict, Forbidden, NotFound
from roost.log.events import Event
from roost.log.facts import EndFact, Fact, FactChange, FactQuery, Facts, Hit, Purged, PutFact, Space
from roost.log.inputs import Input
from roost.log.protocols import (
    Accepted,
    Change,
    Changes,
    Checkpoint,
    Inboxes,
    InboxItem,
    Logs,
    NewSession,
    Record,
    SessionIndex,
    SessionQuery,
    Snapshot,
)
from roost.log.session_info import Phase, SessionInfo, SessionState
from roost.log.store import Store


def tenants_view(store: Store) -> Store:
    """Return the store as requests see it."""
    sessions = _Sessions(store.sessions)
    parts: dict[str, Any] = {field.name: getattr(store, field.name) for field in dataclasses.fields(store)}
    parts |= {
        "sessions": sessions,
        "logs": _Logs(store.logs, sessions),
        "inboxes": _Inboxes(store.inboxes, sessions),
        "facts": _Facts(store.facts, sessions),
        "changes": _Changes(store.changes),
    }
    return Store(**parts)  # not the store's own class: a wrapper of a store may be made otherwise


class _Sessions(SessionIndex):
    def __init__(self, inner: SessionIndex) -> None:
        self._inner = inner

    async def create(self, session: NewSession, events: Sequence[Event], *, key: str | None = None) -> SessionInfo:
        if (who := current()).confined:
            session, key = await self._admit(who, session, key)
        return _own(await self._inner.create(session, events, key=key))

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
        if (who := current()).confined:
            await self.demand(source, who)
            session, key = await self._admit(who, session, key)
        made = await self._inner.fork(source, at, session, snapshot, events, key=key, state=state, phase=phase)
        return _own(made)

    async def _admit(self, who: Authority, session: NewSession, key: str | None) -> tuple[NewSession, str | None]:
        """Check a new session of an account. Returns it with the account's limit, and its key, which is the account's
        own."""
        who.demand("use")
        if not who.may_use(session.agent):
            raise Forbidden(f"this token may not use the agent {session.agent!r}")
        if not who.owns(session.id, session.labels, session.agent):
            raise AssertionError(f"session {session.id!r} of account {who.account!r} was not made as its own")
        if session.parent is not None:
            await self.demand(session.parent, who)
        own = None if key is None else key_of(who.account or "", key)
        return msgspec.structs.replace(session, most=who.limits.sessions), own

    async def get(self, session: str) -> SessionInfo:
        info = await self._inner.get(session)
        who = current()
        if not who.owns(session, info.labels, info.agent):
            raise missing(session)
        return info

    async def find(self, query: SessionQuery) -> list[SessionInfo]:
        if not (who := current()).confined:
            return await self._inner.find(query)
        if query.before is not None and not may_own(query.before, who.account):
            return []
        found: list[SessionInfo] = []
        query = msgspec.structs.replace(query, account=who.account)
        while True:
            page = await self._inner.find(query)
            found += [info for info in page if who.owns(info.id, info.labels, info.agent)]
            if len(page) < query.limit or len(found) >= query.limit:
                return found[: query.limit]
            query = msgspec.structs.replace(query, before=page[-1].id)

    async def with_timers(
        self, prefix: str, *, fired: str | None = None, after: str = "", limit: int = 1000
    ) -> list[str]:
        if not (who := current()).confined:
            return await self._inner.with_timers(prefix, fired=fired, after=after, limit=limit)
        after, found = max(after, f"{who.account}."), list[str]()
        while True:
            ids = await self._inner.with_timers(prefix, fired=fired, after=after, limit=limit)
            ours = tuple(id for id in ids if may_own(id, who.account))
            if ours:
                seen = {info.id for info in await self.find(SessionQuery(ids=ours, limit=len(ours)))}
                found += [id for id in ours if id in seen]
            if len(ours) < limit or len(found) >= limit:  # in order of id: behind the account's come others'
                return found[:limit]
            after = ids[-1]

    async def delete(self, session: str, *, epoch: int | None = None) -> None:
        await self.demand(session, right="use")
        await self._inner.delete(session, epoch=epoch)

    async def purge(self) -> None:
        await self._inner.purge()

    async def demand(self, session: str, who: Authority | None = None, *, right: str = "read") -> None:
        """Check that the request may see a session. Raises `NotFound`, and `Forbidden` without the right."""
        who = who or current()
        if not who.confined:
            return
        who.demand("use" if right == "use" else "read")
        known = known_sessions()
        if session in known:
            return
        if not may_own(session, who.account):
            raise missing(session)
        await self.get(session)
        known.add(session)


class _Logs(Logs):
    def __init__(self, inner: Logs, sessions: _Sessions) -> None:
        self._inner, self._sessions = inner, sessions
        self.append = inner.append  # only the kernel writes logs, and it writes to the store itself

    async def read(self, session: str, *, after: int = 0, limit: int = 1000) -> list[Record]:
        await self._sessions.demand(session)
        return await self._inner.read(session, after=after, limit=limit)

    async def snapshot(self, session: str, *, at: int | None = None) -> Snapshot | None:
        await self._sessions.demand(session)
        return await self._inner.snapshot(session, at=at)

    async def checkpoints(self, session: str) -> list[Checkpoint]:
        await self._sessions.demand(session)
        return await self._inner.checkpoints(session)


class _Inboxes(Inboxes):
    def __init__(self, inner: Inboxes, sessions: _Sessions) -> None:
        self._inner, self._sessions = inner, sessions

    async def accept(self, session: str, item: Input, *, key: str | None = None, sent: Input | None = None) -> Accepted:
        await self._sessions.demand(session, right="use")
        return await self._inner.accept(session, item, key=key, sent=sent)

    async def pending(self, session: str) -> list[InboxItem]:
        await self._sessions.demand(session)
        return await self._inner.pending(session)


class _Changes(Changes):
    """Report commits of the account's own sessions, which their ids tell."""

    def __init__(self, inner: Changes) -> None:
        self._inner = inner

    def watch(self, listener: Callable[[Change], None], *, session: str | None = None) -> Callable[[], None]:
        if not (who := current()).confined:
            return self._inner.watch(listener, session=session)
        if session is not None and not may_own(session, who.account):
            raise missing(session)

        def ours(change: Change) -> None:
            if not change.session or may_own(change.session, who.account):
                listener(change)

        return self._inner.watch(ours, session=session)


class _Facts(Facts):
    def __init__(self, inner: Facts, sessions: _Sessions) -> None:
        self._inner, self._sessions = inner, sessions

    async def change(self, changes: Sequence[FactChange], *, by: str) -> int:
        if (who := current()).confined:
            who.demand("use")
            for one in changes:
                await self._check(who, one)
        return await self._inner.change(changes, by=by)

    async def _check(self, who: Authority, change: FactChange) -> None:
        if isinstance(change, PutFact):
            if not await self._owns(who, change.fact.space):
                raise _not_yours(who, change.fact.space)
        elif isinstance(change, EndFact):
            await self.get(change.id)
        else:
            await self._sessions.demand(change.session or "", who)

    async def purge(self, spaces: Sequence[str], *, ids: Sequence[str] | None = None) -> Purged:
        if (who := current()).confined:
            who.demand("use")
            for id in ids or ():
                await self.get(id)
        return await self._inner.purge(await self.owned(spaces), ids=ids)

    async def get(self, id: str) -> Fact:
        fact = await self._inner.get(id)
        if (who := current()).confined and not await self._owns(who, fact.space):
            raise NotFound(f"there is no fact {id!r}")
        return fact

    async def find(self, query: FactQuery) -> list[Fact]:
        spaces = await self.owned(query.spaces)
        if len(spaces) == len(query.spaces):
            return await self._inner.find(query)
        return await self._inner.find(msgspec.structs.replace(query, spaces=tuple(spaces))) if spaces else []

    async def search(self, spaces: Sequence[str], query: str, *, limit: int = 20) -> list[Hit]:
        ours = await self.owned(spaces)
        return await self._inner.search(ours, query, limit=limit) if ours or not spaces else []

    async def spaces(self, prefix: str = "") -> list[Space]:
        found = await self._inner.spaces(prefix)
        ours = set(await self.owned([space.name for space in found]))
        return [space for space in found if space.name in ours]

    async def history(self, space: str, *, after: int, limit: int = 1000) -> list[Fact]:
        return await self._inner.history(space, after=after, limit=limit) if await self.owned([space]) else []

    async def owned(self, spaces: Sequence[str]) -> Sequence[str]:
        if not (who := current()).confined:
            return spaces
        return [space for space in spaces if await self._owns(who, space)]

    async def _owns(self, who: Authority, space: str) -> bool:
        if space_account(space) != who.account or not who.may("read"):
            return False
        kind, _, name = space.partition(":")
        if kind == "agent":
            return who.may_use(name.rpartition("@")[0])
        if kind != "session":
            return True
        try:
            await self._sessions.demand(name, who)
        except NotFound:
            return False
        return True


def _own(made: SessionInfo) -> SessionInfo:
    """Return a session that a request made, or that an earlier one with its key made."""
    if not current().owns(made.id, made.labels, made.agent):
        raise Conflict("the key made a session that this token may not use", code="idempotency_mismatch")
    return made


async def owned_spaces(store: Store, spaces: Sequence[str]) -> Sequence[str]:
    """Return those of the spaces whose facts a request may see. store: its view."""
    return await store.facts.owned(spaces) if isinstance(store.facts, _Facts) else spaces


def missing(session: str) -> NotFound:
    """Return the error for a session that does not exist, as stores raise it."""
    return NotFound(f"there is no session {session!r}")


def _not_yours(who: Authority, space: str) -> Forbidden:
    own = f"user:@{who.account}, user:@{who.account}/NAME, shared:@{who.account}/NAME, agent:NAME@{who.account}"
    return Forbidden(f"{space!r} is no space of account {who.account!r}; its own are {own}, and session:ID of its own")
