"""The memory on a running node, for people and programs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec

from roost.authority import current
from roost.errors import Conflict, Forbidden, Invalid, NotFound
from roost.features.memory.api import FactPage, MemoryApi, SpaceEntry, SpaceList, Undone
from roost.features.memory.duties import MemoryDuties
from roost.ids import new_id
from roost.kernel.service_host import ServiceHost
from roost.kernel.tenancy import owned_spaces
from roost.log.fact_rows import LATE
from roost.log.facts import (
    Category,
    EndFact,
    Fact,
    FactChange,
    FactQuery,
    MemoryRevert,
    NewFact,
    Purged,
    PutFact,
    Space,
)
from roost.memory.dedup import Learned, check_key, check_text, fact_id, learn, supersede
from roost.memory.fact_history import FactStory, story
from roost.memory.search import Found, Search
from roost.memory.spaces import beginning_of, check_space, fits, is_wild

PERSON = "person"
LIMIT = 1000
"""Most facts in one result."""


class Memory(MemoryApi):
    """Memory operations of the owner. Agents use their tools and rights instead (`roost.features.memory.recall`).
    `space`: names or globs, separated by commas."""

    def __init__(self, host: ServiceHost) -> None:
        self._host, self._store = host, host.store
        self.search = host.node.feature(MemoryDuties).search

    async def add(
        self,
        space: str,
        text: str,
        *,
        category: Category = "fact",
        key: str | None = None,
        confidence: float = 1.0,
        request_key: str | None = None,
    ) -> Learned:
        """Add a fact. It supersedes one with the same key or nearly the same text. With a `request_key` seen before
        nothing happens. Raises `Invalid`, `TooLarge`, and `Conflict` when the existing fact has another text."""
        if not await owned_spaces(self._store, [check_space(space)]):
            who = current()
            raise Forbidden(f"{space!r} is no space of account {who.account!r}; one is user:@{who.account}")
        if not 0 <= confidence <= 1:
            raise Invalid(f"a confidence is from 0 to 1, not {confidence}")
        fact = NewFact(
            id=new_id("fct") if request_key is None else fact_id("key", space, request_key),
            space=check_space(space),
            text=check_text(self._host.vault.scrub(text)),
            category=category,
            key=None if key is None else check_key(self._host.vault.scrub(key)),
            confidence=confidence,
        )
        while (learned := await learn(self.search, fact)).op != "known":
            try:
                kept = await self._put(learned.fact)
            except Conflict:  # another writer was first: compare with its fact
                continue
            if kept.id != fact.id:
                return Learned("known", fact, (kept,))
            if (kept.text, kept.category, kept.key) != (fact.text, fact.category, fact.key):
                raise Conflict(f"the key was used for another fact, {kept.id!r}", code="idempotency_mismatch")
            return learned
        return learned

    async def get(self, fact: str) -> FactStory:
        """Return a fact, also an ended one, with those that it superseded and those that superseded it. Raises
        `NotFound`."""
        return await story(self._store, fact)

    async def list(
        self,
        *,
        space: str = "*",
        category: Category | None = None,
        key: str | None = None,
        at: int | None = None,
        ended: bool = False,
        proposed: bool = False,
        before: str | None = None,
        limit: int = 100,
    ) -> FactPage:
        """List facts of the matching spaces, newest first. `at`: as of a version of one space. `proposed`: list the
        proposals that wait for a person instead. Raises `Invalid`."""
        if not 1 <= limit <= LIMIT:
            raise Invalid(f"limit is from 1 to {LIMIT}")
        names = await self.names(space)
        if at is not None and len(names) > 1:
            raise Invalid("a version belongs to one space: name it")
        query = FactQuery(
            spaces=tuple(names),
            category=category,
            key=key,
            at=at,
            ended=ended,
            proposed=proposed,
            before=before,
            limit=limit,
        )
        found = await self._store.facts.find(query) if names else []
        return FactPage(facts=found, next=found[-1].id if len(found) == limit else None)

    async def update(
        self, fact: str, text: str, *, category: Category | None = None, confidence: float | None = None
    ) -> Fact:
        """Replace a fact. Returns the fact with the new text, which may have existed. Raises `NotFound`, `Invalid`, and
        `Conflict` when the former has ended."""
        former = await self._current(fact)
        new = NewFact(
            id=new_id("fct"),
            space=former.space,
            text=check_text(self._host.vault.scrub(text)),
            category=category or former.category,
            key=former.key,
            confidence=former.confidence if confidence is None else confidence,
        )
        return await self._put(supersede(new, [former]).fact)

    async def remove(self, fact: str) -> Fact:
        """End a fact; it stays readable as ended. Raises `NotFound`."""
        await self._store.facts.get(fact)
        await self._store.facts.change([EndFact(fact)], by=PERSON)
        return await self._store.facts.get(fact)

    async def purge(self, facts: Sequence[str] = (), *, space: str = "*") -> Purged:
        """Erase facts for good: those of `facts`, which are ended first, or all ended ones of the matching spaces.
        Session logs are not changed. Raises `NotFound` and `Invalid`."""
        for id in facts:
            await self._store.facts.get(id)
        if facts:
            await self._store.facts.change([EndFact(id) for id in facts], by=PERSON)
        names = await self.names("*" if facts else space)
        texts = await self._ended(names, facts or None)
        told = await self._store.facts.purge(names, ids=[*facts] or None)
        if self.search.index is not None:
            await self.search.index.erase(texts)
        return msgspec.structs.replace(told, left=(*told.left, *await self._left_elsewhere())) if told.facts else told

    async def _left_elsewhere(self) -> Sequence[str]:
        """Name the vector files of other homes, which this node cannot reach."""
        found = {
            one.card.home: one.card
            for one in await self._store.dispatch.nodes()
            if one.card.home not in ("", self._host.node.place.home)
        }
        return [
            f"vectors of these texts at home {home} (node {card.id}{f', {card.url}' if card.url else ''}): stop that"
            " node and remove its HOME/memory/*.vectors; they are made again without the texts"
            for home, card in sorted(found.items())
        ]

    async def _ended(self, names: Sequence[str], ids: Sequence[str] | None) -> Sequence[str]:
        """Return the texts of the ended facts."""
        found: dict[str, None] = {}
        query = FactQuery(
            spaces=tuple(names), ids=None if ids is None else tuple(ids), ended=True, proposed=None, limit=LIMIT
        )
        while names and (page := await self._store.facts.find(query)):
            found |= {fact.text: None for fact in page if fact.ended is not None}
            query = msgspec.structs.replace(query, before=page[-1].id)
        return list(found)

    async def retrieve(self, query: str, *, space: str = "*", limit: int = 10) -> Found:
        """Search for the best matches. Raises `Invalid`."""
        if not 1 <= limit <= LIMIT:
            raise Invalid(f"limit is from 1 to {LIMIT}")
        if not query.strip():
            raise Invalid("the query is empty", code="empty_query")
        names = await self.names(space)
        # Whoever may not spend gets a search by words, which calls no model.
        search = self.search if current().may("use") else Search(self._store.facts, None)
        return await search.find(names, query, limit=limit) if names else Found([], "hybrid")

    async def spaces(self, *, space: str = "*") -> SpaceList:
        """List the matching spaces, by name."""
        found = await self._spaces(_patterns(space))
        return SpaceList(spaces=[SpaceEntry(**one._asdict()) for one in found])

    async def _spaces(self, patterns: Sequence[str]) -> Sequence[Space]:
        found: dict[str, Space] = {}
        for pattern in patterns:
            begins = beginning_of(pattern)
            found |= {one.name: one for one in await self._store.facts.spaces(begins) if fits(one.name, [pattern])}
        return [found[name] for name in sorted(found)]

    async def names(self, space: str) -> Sequence[str]:
        """Return the names of the matching spaces. A name that is no glob need not exist."""
        wild = [pattern for pattern in _patterns(space) if is_wild(pattern)]
        plain = [check_space(pattern) for pattern in _patterns(space) if not is_wild(pattern)]
        plain = await owned_spaces(self._store, plain)
        return [*dict.fromkeys([*plain, *(one.name for one in await self._spaces(wild))])]

    # Proposals

    async def accept(self, fact: str, *, text: str | None = None) -> Fact:
        """Accept a proposed fact, with another `text` if given; the facts that it supersedes end. Returns the fact with
        that text, which may have existed. Raises `NotFound`, `Invalid`, `TooLarge`, and `Conflict` when it was answered
        already, or a newer proposal replaced it."""
        given = None if text is None else check_text(self._host.vault.scrub(text))
        while True:
            proposed = await self._proposed(fact)
            former = FactQuery(spaces=(proposed.space,), ids=proposed.supersedes, limit=LIMIT)
            ends = (fact, *(one.id for one in await self._store.facts.find(former)))
            new = msgspec.convert(msgspec.structs.asdict(proposed), NewFact)
            new = msgspec.structs.replace(
                new, id=new_id("fct"), text=given or proposed.text, supersedes=ends, proposed=False
            )
            with contextlib.suppress(Conflict):  # a superseded fact ended meanwhile: retry without it
                return await self._put(new)

    async def reject(self, fact: str) -> Fact:
        """Reject a proposed fact. Raises `NotFound`, and `Conflict` as `accept`."""
        await self._proposed(fact)
        if not await self._store.facts.change([EndFact(fact)], by=PERSON):
            raise _answered(fact)
        return await self._store.facts.get(fact)

    async def undo(self, session: str, since: int, until: int | None = None) -> Undone:
        """Undo a session's changes to the memory after event `since`, up to and including `until`. Returns how many
        facts were added or ended. Works for a deleted session while it has such facts. Raises `Invalid`, and `NotFound`
        when neither session nor facts exist."""
        if since < 0 or (until is not None and until <= since):
            raise Invalid("undo takes the events after `since`, up to `until`")
        change: FactChange = MemoryRevert(since, until, session)
        if (changed := await self._store.facts.change([change], by=PERSON)) == 0:
            await self._store.sessions.get(session)
        return Undone(changed=changed)

    async def settled(self) -> None:
        """Wait until every fact searched for has its vector."""
        await asyncio.shield(self._settle())

    async def _settle(self) -> None:
        if self.search.index is not None:
            await self.search.index.settled()

    async def _put(self, fact: NewFact) -> Fact:
        """Store a fact, and return the fact with its text. Raises `Conflict` when a superseded fact ended meanwhile, as
        did all facts with this text."""
        await self._store.facts.change([PutFact(fact)], by=PERSON)
        try:
            return await self._store.facts.get(fact.id)
        except NotFound:
            query = FactQuery(spaces=(fact.space,), category=fact.category, key=fact.key, text=fact.text, limit=1)
            for told in await self._store.facts.find(query):
                return told
            raise Conflict(LATE, code="fact_ended") from None

    async def _current(self, id: str) -> Fact:
        fact = await self._store.facts.get(id)
        if fact.ended is not None:
            raise Conflict(f"the fact {id!r} is gone", code="fact_ended")
        return fact

    async def _proposed(self, id: str) -> Fact:
        fact = await self._store.facts.get(id)
        if not fact.proposed:
            raise NotFound(f"{id!r} is no proposal")
        if fact.ended is not None:
            raise _answered(id)
        return fact


def _answered(id: str) -> Conflict:
    return Conflict(f"the proposal {id!r} was answered already, or a newer one has its place", code="fact_ended")


def _patterns(text: str) -> Sequence[str]:
    return [one for part in text.split(",") if (one := part.strip())]


SERVICE = Memory
