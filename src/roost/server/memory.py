"""Endpoints for the memory: add, get, update, remove, retrieve; proposals and undo."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from roost.log.facts import Category, Fact, Purged, Space
from roost.memory.dedup import Learned, fact_id
from roost.memory.fact_history import FactStory
from roost.memory.search import Found
from roost.server.responses import Reply, json
from roost.server.row_handler import Call, Endpoint, Nothing

_Text = Annotated[str, Meta(min_length=1, max_length=4096)]
_Space = Annotated[str, Meta(min_length=1, max_length=140)]
_Spaces = Annotated[str, Meta(min_length=1, max_length=4096)]
_Key = Annotated[str, Meta(min_length=1, max_length=200)]
_Sure = Annotated[float, Meta(ge=0, le=1)]
_Version = Annotated[int, Meta(ge=0, le=2**53)]
_Limit = Annotated[int, Meta(ge=1, le=1000)]


class _Shape(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class NewFactBody(_Shape):
    """`space`: `session:ID`, `agent:NAME`, `user:NAME` or `shared:NAME`. Supersedes a current fact with the same `key`
    or nearly the same text."""

    space: _Space
    text: _Text
    category: Category = "fact"
    key: _Key | None = None
    confidence: _Sure = 1.0


class FactBody(_Shape):
    """Absent fields keep their value."""

    text: _Text
    category: Category | None = None
    confidence: _Sure | None = None


class AcceptBody(_Shape):
    """`text`: replaces the proposed one."""

    text: _Text | None = None


class UndoBody(_Shape):
    """Undoes the session's changes to the memory after event `since`, up to and including `until`."""

    session: Annotated[str, Meta(min_length=1, max_length=128)]
    since: _Version
    until: _Version | None = None


class PurgeBody(_Shape):
    """`facts`: ids, which are removed first. Without any, erases all ended facts in `space`: names or globs with
    commas."""

    facts: Annotated[list[Annotated[str, Meta(max_length=128)]], Meta(max_length=1000)] = []
    space: _Spaces = "*"


class FactsQuery(_Shape):
    """`space`: names or globs, separated by commas. `key`: only the fact with this key. `at`: as of a version of one
    space. `ended`: include ended facts. `proposed`: list the proposals that wait for a person instead. `before`: the
    last id of the former page."""

    space: _Spaces = "*"
    category: Category | None = None
    key: _Key | None = None
    at: _Version | None = None
    ended: bool = False
    proposed: bool = False
    before: Annotated[str, Meta(max_length=128)] | None = None
    limit: _Limit = 100


class SearchQuery(_Shape):
    query: Annotated[str, Meta(min_length=1, max_length=4096)]
    space: _Spaces = "*"
    limit: _Limit = 10


class SpacesQuery(_Shape):
    space: _Spaces = "*"


class FactPage(_Shape):
    """`next`: the `before` of the next page."""

    facts: list[Fact]
    next: str | None


class SpaceEntry(_Shape):
    """`version`: grows with every change. `facts`: current ones."""

    name: str
    version: int
    facts: int


class SpaceList(_Shape):
    spaces: list[SpaceEntry]


class Undone(_Shape):
    """`changed`: how many facts were added or ended."""

    changed: int


def _patterns(text: str) -> list[str]:
    return [one for part in text.split(",") if (one := part.strip())]


async def add(call: Call[NewFactBody, Nothing]) -> Reply:
    body = call.body
    learned = await call.api.runtime.memories.add(
        body.space,
        body.text,
        category=body.category,
        key=body.key,
        confidence=body.confidence,
        id=None if call.key is None else fact_id("key", body.space, call.key),
    )
    return json(200 if learned.op == "known" else 201, learned)


async def find(call: Call[Nothing, FactsQuery]) -> Reply:
    query = call.query
    found = await call.api.runtime.memories.list(
        _patterns(query.space),
        category=query.category,
        key=query.key,
        at=query.at,
        ended=query.ended,
        proposed=query.proposed,
        before=query.before,
        limit=query.limit,
    )
    return json(200, FactPage(facts=found, next=found[-1].id if len(found) == query.limit else None))


async def get(call: Call[Nothing, Nothing]) -> Reply:
    return json(200, await call.api.runtime.memories.story(call.params["fact"]))


async def update(call: Call[FactBody, Nothing]) -> Reply:
    body, memories = call.body, call.api.runtime.memories
    return json(
        200,
        await memories.update(call.params["fact"], body.text, category=body.category, confidence=body.confidence),
    )


async def remove(call: Call[Nothing, Nothing]) -> Reply:
    return json(200, await call.api.runtime.memories.remove(call.params["fact"]))


async def retrieve(call: Call[Nothing, SearchQuery]) -> Reply:
    query = call.query
    return json(200, await call.api.runtime.memories.retrieve(query.query, _patterns(query.space), limit=query.limit))


async def spaces(call: Call[Nothing, SpacesQuery]) -> Reply:
    found: list[Space] = await call.api.runtime.memories.spaces(_patterns(call.query.space))
    return json(200, SpaceList(spaces=[SpaceEntry(**space._asdict()) for space in found]))


async def accept(call: Call[AcceptBody, Nothing]) -> Reply:
    return json(200, await call.api.runtime.memories.accept(call.params["fact"], text=call.body.text))


async def reject(call: Call[Nothing, Nothing]) -> Reply:
    return json(200, await call.api.runtime.memories.reject(call.params["fact"]))


async def undo(call: Call[UndoBody, Nothing]) -> Reply:
    body = call.body
    return json(200, Undone(changed=await call.api.runtime.memories.undo(body.session, body.since, body.until)))


async def purge(call: Call[PurgeBody, Nothing]) -> Reply:
    return json(200, await call.api.runtime.memories.purge(call.body.facts, _patterns(call.body.space)))


_FACT = "/memory/facts/{fact}"

ENDPOINTS = [
    Endpoint(
        method="POST",
        path="/memory/facts",
        summary="Keep a fact",
        handler=add,
        body=NewFactBody,
        query=Nothing,
        answers={201: Learned, 200: Learned},
        errors=(413,),
        keyed=True,
    ),
    Endpoint(
        method="GET",
        path="/memory/facts",
        summary="Facts, newest first",
        handler=find,
        body=Nothing,
        query=FactsQuery,
        answers={200: FactPage},
    ),
    Endpoint(
        method="GET",
        path=_FACT,
        summary="A fact, also one that is gone, with what it superseded and what superseded it",
        handler=get,
        body=Nothing,
        query=Nothing,
        answers={200: FactStory},
        errors=(404,),
    ),
    Endpoint(
        method="PUT",
        path=_FACT,
        summary="Put another fact in the place of this one",
        handler=update,
        body=FactBody,
        query=Nothing,
        answers={200: Fact},
        errors=(404, 409),
    ),
    Endpoint(
        method="DELETE",
        path=_FACT,
        summary="Take a fact out of the memory; it stays readable as one that is gone",
        handler=remove,
        body=Nothing,
        query=Nothing,
        answers={200: Fact},
        errors=(404,),
    ),
    Endpoint(
        method="POST",
        path=f"{_FACT}/accept",
        summary="Let a proposed fact count",
        handler=accept,
        body=AcceptBody,
        bodiless=True,
        query=Nothing,
        answers={200: Fact},
        errors=(404, 409),
    ),
    Endpoint(
        method="POST",
        path=f"{_FACT}/reject",
        summary="Drop a proposed fact",
        handler=reject,
        body=Nothing,
        query=Nothing,
        answers={200: Fact},
        errors=(404, 409),
    ),
    Endpoint(
        method="GET",
        path="/memory/search",
        summary="The facts that fit a query best, by words and by meaning",
        handler=retrieve,
        body=Nothing,
        query=SearchQuery,
        answers={200: Found},
    ),
    Endpoint(
        method="GET",
        path="/memory/spaces",
        summary="The spaces that facts are in",
        handler=spaces,
        body=Nothing,
        query=SpacesQuery,
        answers={200: SpaceList},
    ),
    Endpoint(
        method="POST",
        path="/memory/undo",
        summary="Undo what a session did to the memory",
        handler=undo,
        body=UndoBody,
        query=Nothing,
        answers={200: Undone},
        errors=(404,),
    ),
    Endpoint(
        method="POST",
        path="/memory/purge",
        summary="Erase facts that are gone, in rows, indexes and free space",
        handler=purge,
        body=PurgeBody,
        query=Nothing,
        answers={200: Purged},
        errors=(404,),
    ),
]
