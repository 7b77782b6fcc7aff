"""What became of a fact, and of those in whose place it came."""

from __future__ import annotations

import msgspec

from roost.log.fact_rows import StoredFact, fact_of
from roost.log.facts import Fact, FactQuery
from roost.log.store_protocol import Store

_SHOWN = 100
"""Facts that one superseded, the newest."""


class FactStory(Fact, frozen=True, kw_only=True, omit_defaults=True):
    """`superseded`: those that it `supersedes`, as they are now; of a proposal, those that it would. `superseded_by`:
    what took its place, which may be gone itself. `ended_source`: the session and the place in its log that ended it,
    as of `source`; None where a person did."""

    superseded: tuple[Fact, ...] = ()
    superseded_by: Fact | None = None
    ended_source: str | None = None


async def story(store: Store, id: str) -> FactStory:
    """Raises `NotFound`."""
    fact = await store.fact(id)
    former: tuple[Fact, ...] = ()
    if fact.supersedes:
        query = FactQuery(spaces=(fact.space,), ids=fact.supersedes, ended=True, proposed=None, limit=_SHOWN)
        newest = {one.id: one for one in reversed(await store.facts(query))}  # one that came back has several rows
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
    """The first that came after this version. What a fact supersedes ends right before it comes."""
    return next(iter(await store.fact_rows(space, after=version, limit=1)), None)


def _by_key(row: StoredFact, former: StoredFact) -> bool:
    """Whether it got the former's key by the event of a log that ended the former."""
    same = (row.session, row.seq) == (former.ended_session, former.ended_seq)
    return row.session is not None and same and row.key is not None and row.key == former.key


def _fact(space: str, row: StoredFact) -> Fact:
    columns = (row.id, row.key, row.category, row.text, row.about, row.proposed)
    return fact_of(space, (*columns, row.created, row.ended, row.version, row.ended_version))
