"""A session of the OpenAI Agents SDK whose items are kept in the session's log.

The log gets the items when a run has ended, and gives them to the next run. A run that begins once more after a crash
has the items of its beginning: with those of the attempt that was cut off, its requests would be others."""

from __future__ import annotations

import json
from typing import Any


class LoggedSession:
    """Implements `agents.memory.Session`. items: the conversation, as JSON."""

    session_settings: Any = None

    def __init__(self, items: list[Any], session_id: str = "session") -> None:
        self.items: list[Any] = list(items)
        self.session_id = session_id

    async def get_items(self, limit: int | None = None, **_: Any) -> list[Any]:
        if limit is None:
            limit = getattr(self.session_settings, "limit", None)
        found = self.items if limit is None else self.items[max(0, len(self.items) - limit) :] if limit > 0 else []
        return json.loads(json.dumps(found))

    async def add_items(self, items: list[Any], **_: Any) -> None:
        self.items += json.loads(json.dumps(items, default=str))

    async def pop_item(self, **_: Any) -> Any:
        return self.items.pop() if self.items else None

    async def clear_session(self, **_: Any) -> None:
        self.items.clear()
