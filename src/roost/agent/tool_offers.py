"""Tools that features add to those of a session's agent.

A feature either offers tools, which the model sees at once, or lists entries: many tools of one source, such as the
operations of an API or the tools of a server. The feature `tool_search` offers listed tools: all of them while they are
few, else those that the model has searched for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from roost.agent.feature import consider
from roost.agent.session import Session
from roost.tools.base import Tool, Toolbox


class ToolEntry(NamedTuple):
    """A tool that a source has. about: what it does, its first line short; a search reads it. make: builds the tool
    when it is offered."""

    name: str
    about: str
    make: Callable[[], Tool]


class ToolSource(NamedTuple):
    """A source of tools. title: what the model reads about it, one line."""

    name: str
    title: str
    entries: Sequence[ToolEntry]


class ToolOffers:
    """The tools of a session: its agent's, then those that features offer, in the order in which they first did. The
    first of a name wins. Kept by `session.own(ToolOffers)`, while the session is awake.

    entries: of all sources, by name. revision: counts the changes of `entries`."""

    def __init__(self, session: Session) -> None:
        self._session, self._own = session, session.means.tools
        self._offered: dict[str, Toolbox] = {}
        self._sources: dict[str, Sequence[ToolSource]] = {}
        self.entries: Mapping[str, ToolEntry] = {}
        self.revision = 0

    @property
    def own(self) -> Toolbox:
        """The tools of the agent."""
        return self._own

    @property
    def sources(self) -> Iterator[ToolSource]:
        """The sources of all features."""
        return (source for sources in self._sources.values() for source in sources)

    def offer(self, feature: str, tools: Toolbox) -> None:
        """Replace the tools that a feature offers. The model sees them in the next step."""
        if not tools and not self._offered.get(feature):
            return
        self._offered[feature] = tools
        found = dict(self._own)
        for offered in self._offered.values():
            found |= {name: tool for name, tool in offered.items() if name not in found}
        self._session.means.tools = found if len(found) > len(self._own) else self._own

    def list(self, feature: str, sources: Sequence[ToolSource]) -> None:
        """Replace the sources of a feature."""
        if not sources and not self._sources.get(feature):
            return
        self._sources[feature] = sources
        found: dict[str, ToolEntry] = {}
        for source in self.sources:
            for entry in source.entries:
                found.setdefault(entry.name, entry)
        self.entries = found
        self.revision += 1
        consider(self._session)
