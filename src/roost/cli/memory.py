"""The agents' memory, through a daemon or in this process."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from roost.log.facts import Category, Fact, Purged, Space
from roost.memory.dedup import Learned
from roost.memory.fact_history import FactStory
from roost.memory.search import Found

if TYPE_CHECKING:
    from roost.kernel.memory import Memories


class NodeMemory(Protocol):
    """Blocking version of `roost.kernel.memory.Memories`."""

    def add(
        self, space: str, text: str, *, category: Category = "fact", key: str | None = None, confidence: float = 1.0
    ) -> Learned: ...

    def story(self, id: str) -> FactStory: ...

    def list(
        self,
        spaces: Sequence[str] = ("*",),
        *,
        category: Category | None = None,
        key: str | None = None,
        at: int | None = None,
        ended: bool = False,
        proposed: bool = False,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Fact]: ...

    def update(self, id: str, text: str) -> Fact: ...

    def remove(self, id: str) -> Fact: ...

    def retrieve(self, query: str, spaces: Sequence[str] = ("*",), *, limit: int = 10) -> Found: ...

    def spaces(self, patterns: Sequence[str] = ("*",)) -> list[Space]: ...

    def accept(self, id: str, *, text: str | None = None) -> Fact: ...

    def reject(self, id: str) -> Fact: ...

    def purge(self, ids: Sequence[str] = (), spaces: Sequence[str] = ("*",)) -> Purged: ...

    def undo(self, session: str, since: int, until: int | None = None) -> int: ...


class EmbeddedMemory:
    """`do`: runs a coroutine on the runtime's loop."""

    def __init__(self, memories: Memories, do: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._memories, self._do = memories, do

    def add(
        self, space: str, text: str, *, category: Category = "fact", key: str | None = None, confidence: float = 1.0
    ) -> Learned:
        return self._do(self._memories.add(space, text, category=category, key=key, confidence=confidence))

    def story(self, id: str) -> FactStory:
        return self._do(self._memories.story(id))

    def list(
        self,
        spaces: Sequence[str] = ("*",),
        *,
        category: Category | None = None,
        key: str | None = None,
        at: int | None = None,
        ended: bool = False,
        proposed: bool = False,
        before: str | None = None,
        limit: int = 100,
    ) -> list[Fact]:
        return self._do(
            self._memories.list(
                spaces,
                category=category,
                key=key,
                at=at,
                ended=ended,
                proposed=proposed,
                before=before,
                limit=limit,
            )
        )

    def update(self, id: str, text: str) -> Fact:
        return self._do(self._memories.update(id, text))

    def remove(self, id: str) -> Fact:
        return self._do(self._memories.remove(id))

    def retrieve(self, query: str, spaces: Sequence[str] = ("*",), *, limit: int = 10) -> Found:
        return self._do(self._memories.retrieve(query, spaces, limit=limit))

    def spaces(self, patterns: Sequence[str] = ("*",)) -> list[Space]:
        return self._do(self._memories.spaces(patterns))

    def accept(self, id: str, *, text: str | None = None) -> Fact:
        return self._do(self._memories.accept(id, text=text))

    def reject(self, id: str) -> Fact:
        return self._do(self._memories.reject(id))

    def purge(self, ids: Sequence[str] = (), spaces: Sequence[str] = ("*",)) -> Purged:
        return self._do(self._memories.purge(ids, spaces))

    def undo(self, session: str, since: int, until: int | None = None) -> int:
        return self._do(self._memories.undo(session, since, until))
