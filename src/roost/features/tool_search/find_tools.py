"""The tool `find_tools`, and the port by which it searches."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec

from roost.agent.session import Session
from roost.agent.tool_offers import ToolEntry, ToolOffers, ToolSource
from roost.features.tool_search.events import ToolsFound
from roost.tools.base import Tool, ToolContext
from roost.tools.catalog_search import CatalogSearch
from roost.tools.function import tool
from roost.tools.text_limits import clean

_LINE = 200
_TITLES = 1200
"""Most characters of what the description of `find_tools` says about the sources."""


class ToolFinder:
    """Search the tools of a session's sources."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def find(self, query: str, limit: int) -> Sequence[ToolEntry]:
        """Return the tools that fit best. They are offered from the next step on, which is committed first."""
        entries = self._session.own(ToolOffers).entries
        found = self._session.own(_Index).of_session().best(query, limit)
        if found:
            self._session.log.note(ToolsFound(at=time.time(), names=tuple(found)))
            await self._session.log.flush_shielded()
        return [entries[name] for name in found]


class _Index:
    """The index of the present entries, made at the first search."""

    def __init__(self, session: Session) -> None:
        self._offers = session.own(ToolOffers)
        self._revision, self._search = -1, CatalogSearch(())

    def of_session(self) -> CatalogSearch:
        if self._revision != self._offers.revision:
            self._revision = self._offers.revision
            entries = self._offers.entries.values()
            self._search = CatalogSearch((entry.name, entry.about) for entry in entries)
        return self._search


def find_tools_for(sources: Iterable[ToolSource]) -> Tool:
    """Return the tool `find_tools`, whose description names the sources."""
    lines = [f"- {one.name}: {line_of(one.title)} ({len(one.entries)} tools)" for one in sources]
    text = "\n".join(lines)[:_TITLES]
    return msgspec.structs.replace(find_tools, description=f"{find_tools.description}\nThere are tools of:\n{text}")


def line_of(text: str) -> str:
    """Return the first line of a text, without control characters, and short."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    shown = " ".join("".join(c if c.isprintable() else " " for c in clean(first)).split())
    return shown if len(shown) <= _LINE else f"{shown[: _LINE - 1]}…"


@tool(replay="safe", safety="read_only", inside=True, files=False, early=False)
async def find_tools(
    context: ToolContext,
    query: Annotated[str, msgspec.Meta(min_length=1, max_length=500, description="what the tool should do, in words")],
    limit: Annotated[int, msgspec.Meta(ge=1, le=16, description="most tools to return")] = 6,
) -> str:
    """Search for tools that you do not see yet. Those that it finds can be called from your next step on."""
    found = await context.port(ToolFinder).find(query, limit)
    if not found:
        return "No tool fits these words. Try other words, such as the name of the thing and a verb."
    return "\n".join(f"{one.name}: {line_of(one.about)}" for one in found)
