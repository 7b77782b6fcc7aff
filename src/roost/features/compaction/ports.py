"""The model for summaries, and ports for tools: read the session's log, and change its pins."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

from roost.agent.session import Session
from roost.features.compaction.events import ContextPinned
from roost.features.compaction.state import CompactionState
from roost.log.protocols import Record
from roost.models.request import Model
from roost.tools.base import ToolContext


class Summarizer(NamedTuple):
    """The model that the agent names for summaries."""

    model: Model


class OwnLog:
    """Read the session's own log. head: position of its last record."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def head(self) -> int:
        return self._session.log.head

    async def read(self, after: int, limit: int) -> list[Record]:
        """Return records as `Logs.read` does."""
        return await self._session.means.read(self._session.id, after=after, limit=limit)


class OwnPins:
    """The session's pins: texts kept word for word, by key."""

    def __init__(self, session: Session, context: ToolContext) -> None:
        self._session, self._context = session, context

    def all(self) -> Mapping[str, str]:
        return self._session.state.part(CompactionState).pins

    async def set(self, key: str, text: str | None) -> None:
        """Set a pin, or remove it with None. Returns when it is committed."""
        self._context.confirm()
        self._session.log.note(ContextPinned(at=time.time(), key=key, text=text))
        await self._session.log.flush_shielded()
