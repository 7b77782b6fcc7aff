"""The memory: add, get, update, remove, retrieve; proposals and undo."""

from __future__ import annotations

from roost.api.memory import FactPage, MemoryApi, SpaceEntry, SpaceList, Undone
from roost.log.facts import Category, Fact, Purged
from roost.memory.dedup import Learned, fact_id
from roost.memory.fact_history import FactStory
from roost.memory.search import Found
from roost.runtime import Runtime


class MemoryService(MemoryApi):
    def __init__(self, runtime: Runtime) -> None:
        self._memories = runtime.memories

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
        id = None if request_key is None else fact_id("key", space, request_key)
        return await self._memories.add(space, text, category=category, key=key, confidence=confidence, id=id)

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
        found = await self._memories.list(
            _patterns(space),
            category=category,
            key=key,
            at=at,
            ended=ended,
            proposed=proposed,
            before=before,
            limit=limit,
        )
        return FactPage(facts=found, next=found[-1].id if len(found) == limit else None)

    async def get(self, fact: str) -> FactStory:
        return await self._memories.story(fact)

    async def update(
        self, fact: str, text: str, *, category: Category | None = None, confidence: float | None = None
    ) -> Fact:
        return await self._memories.update(fact, text, category=category, confidence=confidence)

    async def remove(self, fact: str) -> Fact:
        return await self._memories.remove(fact)

    async def accept(self, fact: str, *, text: str | None = None) -> Fact:
        return await self._memories.accept(fact, text=text)

    async def reject(self, fact: str) -> Fact:
        return await self._memories.reject(fact)

    async def retrieve(self, query: str, *, space: str = "*", limit: int = 10) -> Found:
        return await self._memories.retrieve(query, _patterns(space), limit=limit)

    async def spaces(self, *, space: str = "*") -> SpaceList:
        found = await self._memories.spaces(_patterns(space))
        return SpaceList(spaces=[SpaceEntry(**one._asdict()) for one in found])

    async def undo(self, session: str, since: int, until: int | None = None) -> Undone:
        return Undone(changed=await self._memories.undo(session, since, until))

    async def purge(self, facts: list[str] = [], *, space: str = "*") -> Purged:  # noqa: B006 - never changed
        return await self._memories.purge(facts, _patterns(space))


def _patterns(text: str) -> list[str]:
    return [one for part in text.split(",") if (one := part.strip())]
