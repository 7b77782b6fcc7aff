"""The memory as tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from roost.doors.mcp.catalog import Offer, Tool, ToolResult
from roost.doors.mcp.exchange import Exchange
from roost.doors.mcp.session_tools import told
from roost.doors.mcp.typed_tool import Arguments, TypedTool
from roost.log.facts import Category
from roost.server.app_state import Api


class SearchArguments(Arguments):
    query: Annotated[str, Meta(min_length=1, max_length=4096)]
    space: Annotated[
        str, Meta(max_length=4096, description="Where: `agent:NAME`, `user:NAME`, `shared:NAME`, or globs with commas.")
    ] = "*"
    limit: Annotated[int, Meta(ge=1, le=100)] = 10


class RememberArguments(Arguments):
    text: Annotated[str, Meta(min_length=1, max_length=4096, description="One sentence.")]
    space: Annotated[str, Meta(max_length=140, description="Where: `agent:NAME`, `user:NAME` or `shared:NAME`.")]
    category: Category = "fact"
    key: (
        Annotated[str, Meta(max_length=200, description="A name of the fact: a later one with this name replaces it.")]
        | None
    ) = None


class MemoryTools(Offer):
    """Search and add facts, with the rights of the daemon's owner."""

    def __init__(self, api: Api) -> None:
        self._memory = api.runtime.memory
        self._tools: tuple[Tool, ...] = (
            TypedTool("memory_search", "Search what agents remember.", SearchArguments, self._search, reads=True),
            TypedTool(
                "memory_remember",
                "Add a fact to the memory. One with the same key or nearly the same text is replaced.",
                RememberArguments,
                self._remember,
                repeatable=True,
            ),
        )

    async def tools(self) -> Sequence[Tool]:
        return self._tools

    async def _search(self, given: SearchArguments, exchange: Exchange) -> ToolResult:
        found = await self._memory.retrieve(given.query, space=given.space, limit=given.limit)
        facts = [{"id": one.fact.id, "space": one.fact.space, "text": one.fact.text} for one in found.facts]
        return told({"facts": facts})

    async def _remember(self, given: RememberArguments, exchange: Exchange) -> ToolResult:
        learned = await self._memory.add(
            given.space, given.text, category=given.category, key=given.key, request_key=exchange.key
        )
        return told({"id": learned.fact.id, "space": learned.fact.space, "done": learned.op})
