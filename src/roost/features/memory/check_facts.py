"""Check a store's facts against their versions and the logs. Daemons may run meanwhile: each space is compared as of
its version when it was read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import get_args

import msgspec

from roost.errors import NotFound
from roost.features.memory.events import MemoryChanged
from roost.kernel.node_feature import LogCheck, StoreCheck
from roost.log import events as ev
from roost.log.fact_rows import StoredFact, fact_of, session_of
from roost.log.facts import Category, Fact, FactQuery, NewFact, Space
from roost.log.protocols import Record
from roost.log.session_info import SessionInfo
from roost.log.store import Store
from roost.stores.findings import Fault

_FIX = "restore it from a backup; or take it out with `roost memory remove` and add it again"
_ROWS = 1000
_IDS = 200
_MOST = 10_000
"""Most ids in one query for rows: an id has one row, and one more for each time it was restored."""
_TELLING = (MemoryChanged, ev.SessionRolledBack)


class FactsCheck(StoreCheck):
    """Check every row of every space, and collect the events that created or ended facts, according to the facts."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._by: dict[str, dict[int, tuple[str, float]]] = {}
        """By session and position: a fact and the time."""

    async def rows(self) -> AsyncIterator[Fault]:
        store = self.store
        for space in await store.facts.spaces():
            counted = _Counted(space)
            after = 0
            while page := await store.portable.fact_rows(space.name, after=after, limit=_ROWS):
                after = page[-1].version
                for row in page:
                    self._add(row)
                    counted.add(row)
            if counted.faults and await _there(store, space):
                for fault in counted.faults:
                    yield fault
            elif (wrong := counted.end()) and await _there(store, space):
                yield wrong

    def log(self, info: SessionInfo) -> LogCheck:
        named = self._by.get(info.id, {})  # without the events of a deleted session of the same id
        return _FactsOfLog(self.store, info, {seq: id for seq, (id, at) in named.items() if at >= info.created_at})

    def _add(self, row: StoredFact) -> None:
        for session, seq, at in (
            (row.session, row.seq, row.created),
            (row.ended_session, row.ended_seq, row.ended or 0.0),
        ):
            if session is not None and seq is not None:
                self._by.setdefault(session, {})[seq] = (row.id, at)


async def _there(store: Store, space: Space) -> bool:
    """Return whether the space still exists, neither deleted nor replaced meanwhile."""
    return any(one.name == space.name and one.version >= space.version for one in await store.facts.spaces(space.name))


class _Counted:
    """Check one space at its version: each version is one row added or ended."""

    def __init__(self, space: Space) -> None:
        self.faults: list[Fault] = []
        self._space = space
        self._versions = 0
        self._current = 0

    def add(self, row: StoredFact) -> None:
        self.faults += [
            Fault("fact", f"the fact {row.id} of {self._space.name}: {wrong}", row.session, _FIX)
            for wrong in _wrong(self._space.name, row)
        ]
        now = self._space.version
        if row.version > now:
            return
        gone = row.ended_version is not None and row.ended_version <= now
        self._versions += 1 + gone
        self._current += not gone and not row.proposed

    def end(self) -> Fault | None:
        name, version, facts = self._space
        if self._versions != version:
            return Fault("fact", f"{name} is at version {version}, its facts tell of {self._versions}", fix=_FIX)
        if self._current != facts:
            return Fault("fact", f"{name} counts {facts} facts, there are {self._current}", fix=_FIX)
        return None


def _wrong(space: str, row: StoredFact) -> Iterator[str]:
    try:
        columns = (row.id, row.key, row.category, row.text, row.about, row.proposed)
        fact_of(space, (*columns, row.created, row.ended, row.version, row.ended_version))
    except (msgspec.MsgspecError, TypeError) as error:
        yield f"it cannot be read: {error}"
    if row.category not in get_args(Category):
        yield f"there is no category {row.category!r}"
    if (row.ended is None) != (row.ended_version is None):
        yield "it is said to have gone, and not when"
    if row.ended_version is not None and row.ended_version <= row.version:
        yield f"it went with version {row.ended_version}, before it came with {row.version}"
    if row.changed != (row.ended_version or row.version):
        yield f"it changed last with version {row.ended_version or row.version}, and not with {row.changed}"


class _FactsOfLog(LogCheck):
    """Compare one session's log with the facts. Events before a fork or an import are the source's, and are skipped.

    named: the positions of events that created or ended facts, each with a fact, according to the facts."""

    def __init__(self, store: Store, info: SessionInfo, named: dict[int, str]) -> None:
        self._store, self._info, self._named = store, info, named
        self._came: dict[str, tuple[int, float, NewFact]] = {}

    def add(self, record: Record) -> Iterator[Fault]:
        event = record.event
        match event:
            case MemoryChanged(facts=facts):
                kept = (fact for fact in facts if not fact.space.startswith("turn:"))
                self._came |= {fact.id: (record.seq, event.at, fact) for fact in kept}
            case ev.SessionForked() | ev.SessionImported():
                self._came.clear()
            case _:
                pass
        if (id := self._named.pop(record.seq, None)) is not None and not isinstance(event, _TELLING):
            yield self._fault(f"the fact {id} says that event {record.seq} changed it, which says nothing of it")

    async def end(self) -> AsyncIterator[Fault]:
        store = self._store
        for seq, id in self._named.items():
            yield self._fault(f"the fact {id} says that event {seq} changed it, the log ends before it")
        came = list(self._came.items())
        for first in range(0, len(came), _IDS):
            part = came[first : first + _IDS]
            try:
                there = await _found(store, [fact for _, (*_, fact) in part])
            except msgspec.MsgspecError:  # an unreadable row was reported with its space
                continue
            for id, (seq, at, fact) in part:
                rows = there.get(id, [])
                if not rows and await _went_along(store, fact.space, at):
                    continue
                if not rows:
                    yield self._fault(f"the fact {id}, which came with event {seq}, is not in {fact.space}")
                elif not any(_same(row, fact) for row in rows):
                    yield self._fault(f"the fact {id} is not what event {seq} says")

    def _fault(self, detail: str) -> Fault:
        return Fault("fact", detail, self._info.id, _FIX)


async def _found(store: Store, facts: list[NewFact]) -> dict[str, list[Fact]]:
    spaces = tuple({fact.space for fact in facts})
    ids = tuple(fact.id for fact in facts)
    there: dict[str, list[Fact]] = {}
    for row in await store.facts.find(FactQuery(spaces=spaces, ids=ids, ended=True, proposed=None, limit=_MOST)):
        there.setdefault(row.id, []).append(row)
    return there


async def _went_along(store: Store, space: str, at: float) -> bool:
    """Return whether the space belonged to a session that was deleted since."""
    if (of := session_of(space)) is None:
        return False
    try:
        return (await store.sessions.get(of)).created_at > at
    except NotFound:
        return True


def _same(row: Fact, fact: NewFact) -> bool:
    """Compare a row with its event. A purged fact has neither text nor key."""
    if row.ended is not None and not row.text:
        return (row.space, row.category) == (fact.space, fact.category)
    return (row.space, row.text, row.category, row.key) == (fact.space, fact.text, fact.category, fact.key)
