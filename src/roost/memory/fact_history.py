"""Show the history of a fact: what it superseded and what superseded it."""

from __future__ import annotations

import msgspec

from roost.log.fact_rows import StoredFact, fact_of
from roost.log.facts import Fact, FactQuery
from roost.log.store import Store

_SHOWN = 100
"""Most superseded facts that are shown, the newest."""


class FactStory(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """A fact with its history. superseded: present versions of the facts in `supersedes`; for a proposal, those that it
    would supersede. superseded_by: its successor, which may have ended too. ended_source: session and log position that
    ended it, in the form of `source`; None if a person did."""

    superseded: tuple[Fact, ...] = ()
    superseded_by: Fact | None = None
    ended_source: str | None = None


async def story(store: Store, id: str) -> FactStory:
    """Return a fact with its history. Raises `NotFound`."""
    fact = await store.facts.get(id)
    former: tuple[Fact, ...] = ()
    if fact.supersedes:
        query = FactQuery(spaces=(fact.space,), ids=fact.supersedes, ended=True, proposed=None, limit=_SHOWN)
        newest = {one.id: one for one in reversed(await store.facts.find(query))}  # one that came back has several rows
        former = tuple(newest[one] for one in fact.supersedes if one in newest)
    told = FactStory(**msgspec.structs.asdict(fact), superseded=former)
    if fact.ended_version is None:
        return told
    row = await _came_after(store, fact.space, fact.version - 1)
    if row is None or row.id != fact.id:  # its space was deleted meanwhile
        return told
    source = None if row.ended_session is None else f"{row.ended_session}:{row.ended_seq}"
    next = await _came_after(store, fact.space, fact.ended_version)
    by = None if next is None else _fact(fact.space, next)
    if next is None or by is None or not (fact.id in by.supersedes or _by_key(next, row)):
        return msgspec.structs.replace(told, ended_source=source)
    return msgspec.structs.replace(told, superseded_by=by, ended_source=source)


async def _came_after(store: Store, space: str, version: int) -> StoredFact | None:
    """Return the first fact after this version. Superseded facts end in the version right before their successor."""
    return next(iter(await store.portable.fact_rows(space, after=version, limit=1)), None)


def _by_key(row: StoredFact, former: StoredFact) -> bool:
    """Whether `row` took the former's key through the log event that ended the former."""
    same = (row.session, row.seq) == (former.ended_session, former.ended_seq)
    return row.session is not None and same and row.key is not None and row.key == former.key


def _fact(space: str, row: StoredFact) -> Fact:
    columns = (row.id, row.key, row.category, row.text, row.about, row.proposed)
    return fact_of(space, (*columns, row.created, row.ended, row.version, row.ended_version))
