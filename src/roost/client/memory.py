"""The client's methods for the memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from roost.ids import new_id
from roost.log.facts import Category, Fact, Purged, Space

if TYPE_CHECKING:
    from roost.memory.dedup import Learned
    from roost.memory.fact_history import FactStory
    from roost.memory.search import Found

T = TypeVar("T")


class _Facts(msgspec.Struct):
    facts: list[Fact]


class _Space(msgspec.Struct):
    name: str
    version: int
    facts: int


class _Spaces(msgspec.Struct):
    spaces: list[_Space]


class _Undone(msgspec.Struct):
    changed: int


class MemoryClient:
    """The memory's methods. `call` sends a request, `decode` reads the response. Blocking; raises what they raise."""

    def __init__(
        self, call: Callable[..., tuple[int, bytes]], decode: Callable[[tuple[int, bytes], type[Any]], Any]
    ) -> None:
        self._call, self._decode = call, decode

    def add(
        self, space: str, text: str, *, category: Category = "fact", key: str | None = None, confidence: float = 1.0
    ) -> Learned:
        body = {"space": space, "text": text, "category": category, "key": key, "confidence": confidence}
        from roost.memory.dedup import Learned

        return self._ask("POST", "/memory/facts", Learned, body=body, key=new_id("key"))

    def story(self, id: str) -> FactStory:
        """Return a fact with those that it superseded and those that superseded it."""
        from roost.memory.fact_history import FactStory

        return self._ask("GET", _fact(id), FactStory)

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
        query = {"space": ",".join(spaces), "category": category, "key": key, "at": at, "before": before}
        more = {"limit": limit, "ended": str(ended).lower(), "proposed": str(proposed).lower()}
        return self._ask("GET", "/memory/facts", _Facts, query={**query, **more}).facts

    def update(self, id: str, text: str) -> Fact:
        return self._ask("PUT", _fact(id), Fact, body={"text": text})

    def remove(self, id: str) -> Fact:
        return self._ask("DELETE", _fact(id), Fact)

    def retrieve(self, query: str, spaces: Sequence[str] = ("*",), *, limit: int = 10) -> Found:
        asked = {"query": query, "space": ",".join(spaces), "limit": limit}
        from roost.memory.search import Found

        return self._ask("GET", "/memory/search", Found, query=asked)

    def spaces(self, patterns: Sequence[str] = ("*",)) -> list[Space]:
        found = self._ask("GET", "/memory/spaces", _Spaces, query={"space": ",".join(patterns)}).spaces
        return [Space(one.name, one.version, one.facts) for one in found]

    def accept(self, id: str, *, text: str | None = None) -> Fact:
        return self._ask("POST", f"{_fact(id)}/accept", Fact, body={"text": text})

    def reject(self, id: str) -> Fact:
        return self._ask("POST", f"{_fact(id)}/reject", Fact)

    def undo(self, session: str, since: int, until: int | None = None) -> int:
        body = {"session": session, "since": since, "until": until}
        return self._ask("POST", "/memory/undo", _Undone, body=body, again=True).changed

    def purge(self, ids: Sequence[str] = (), spaces: Sequence[str] = ("*",)) -> Purged:
        body = {"facts": list(ids), "space": ",".join(spaces)}
        return self._ask("POST", "/memory/purge", Purged, body=body, again=True)

    def _ask(self, method: str, path: str, kind: type[T], **given: Any) -> T:
        return self._decode(self._call(method, path, **given), kind)


def _fact(id: str) -> str:
    return f"/memory/facts/{quote(id, safe=':')}"
