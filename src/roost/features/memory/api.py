"""The memory: add, get, update, remove, retrieve; proposals and undo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from msgspec import Meta

from roost.api.shapes import Answer
from roost.log.facts import Category, Fact, Purged
from roost.operation import DELETE, GET, POST, PUT

if TYPE_CHECKING:
    from roost.memory.dedup import Learned
    from roost.memory.fact_history import FactStory
    from roost.memory.search import Found

LATER = {
    "Learned": "roost.memory.dedup",
    "FactStory": "roost.memory.fact_history",
    "Found": "roost.memory.search",
}
_Text = Annotated[str, Meta(min_length=1, max_length=4096)]
_Space = Annotated[str, Meta(min_length=1, max_length=140)]
_Spaces = Annotated[str, Meta(min_length=1, max_length=4096)]
_Key = Annotated[str, Meta(min_length=1, max_length=200)]
_Sure = Annotated[float, Meta(ge=0, le=1)]
_Version = Annotated[int, Meta(ge=0, le=2**53)]
_Limit = Annotated[int, Meta(ge=1, le=1000)]
_Facts = Annotated[list[Annotated[str, Meta(max_length=128)]], Meta(max_length=1000)]
_FACT = "/memory/facts/{fact}"


class FactPage(Answer):
    """`next`: the `before` of the next page."""

    facts: list[Fact]
    next: str | None


class SpaceEntry(Answer):
    """`version`: grows with every change. `facts`: current ones."""

    name: str
    version: int
    facts: int


class SpaceList(Answer):
    spaces: list[SpaceEntry]


class Undone(Answer):
    """`changed`: how many facts were added or ended."""

    changed: int


def _learned(learned: Learned, given: Mapping[str, Any]) -> int:
    return 200 if learned.op == "known" else 201


class MemoryApi(Protocol):
    @POST(
        "/memory/facts",
        (201, 200),
        status=_learned,
        body="NewFactBody",
        errors=(413,),
        keyed="request_key",
        right="use",
    )
    async def add(
        self,
        space: _Space,
        text: _Text,
        *,
        category: Category = "fact",
        key: _Key | None = None,
        confidence: _Sure = 1.0,
        request_key: str | None = None,
    ) -> Learned:
        """Keep a fact.

        `space`: `session:ID`, `agent:NAME`, `user:NAME` or `shared:NAME`. Supersedes a current fact with the same `key`
        or nearly the same text.
        """
        ...

    @GET("/memory/facts", right="read")
    async def list(
        self,
        *,
        space: _Spaces = "*",
        category: Category | None = None,
        key: _Key | None = None,
        at: _Version | None = None,
        ended: bool = False,
        proposed: bool = False,
        before: Annotated[str, Meta(max_length=128)] | None = None,
        limit: _Limit = 100,
    ) -> FactPage:
        """Facts, newest first.

        `space`: names or globs, separated by commas. `key`: only the fact with this key. `at`: as of a version of one
        space. `ended`: include ended facts. `proposed`: list the proposals that wait for a person instead. `before`:
        the last id of the former page.
        """
        ...

    @GET(_FACT, errors=(404,), right="read")
    async def get(self, fact: str) -> FactStory:
        """A fact, also one that is gone, with what it superseded and what superseded it."""
        ...

    @PUT(_FACT, body="FactBody", errors=(404, 409), right="use")
    async def update(
        self, fact: str, text: _Text, *, category: Category | None = None, confidence: _Sure | None = None
    ) -> Fact:
        """Put another fact in the place of this one.

        Absent fields keep their value.
        """
        ...

    @DELETE(_FACT, errors=(404,), right="use")
    async def remove(self, fact: str) -> Fact:
        """Take a fact out of the memory; it stays readable as one that is gone."""
        ...

    @POST(f"{_FACT}/accept", body="AcceptBody", bodiless=True, errors=(404, 409), right="use")
    async def accept(self, fact: str, *, text: _Text | None = None) -> Fact:
        """Let a proposed fact count.

        `text`: replaces the proposed one.
        """
        ...

    @POST(f"{_FACT}/reject", errors=(404, 409), right="use")
    async def reject(self, fact: str) -> Fact:
        """Drop a proposed fact."""
        ...

    @GET("/memory/search", right="read")
    async def retrieve(
        self, query: Annotated[str, Meta(min_length=1, max_length=4096)], *, space: _Spaces = "*", limit: _Limit = 10
    ) -> Found:
        """The facts that fit a query best, by words and by meaning."""
        ...

    @GET("/memory/spaces", right="read")
    async def spaces(self, *, space: _Spaces = "*") -> SpaceList:
        """The spaces that facts are in."""
        ...

    @POST("/memory/undo", body="UndoBody", errors=(404,), repeatable=True, right="use")
    async def undo(
        self,
        session: Annotated[str, Meta(min_length=1, max_length=128)],
        since: _Version,
        until: _Version | None = None,
    ) -> Undone:
        """Undo what a session did to the memory.

        Undoes the session's changes to the memory after event `since`, up to and including `until`.
        """
        ...

    @POST("/memory/purge", body="PurgeBody", errors=(404,), repeatable=True, right="operate")
    async def purge(self, facts: _Facts = [], *, space: _Spaces = "*") -> Purged:  # noqa: B006 - never changed
        """Erase facts that are gone, in rows, indexes and free space.

        `facts`: ids, which are removed first. Without any, erases all ended facts in `space`: names or globs with
        commas.
        """
        ...
