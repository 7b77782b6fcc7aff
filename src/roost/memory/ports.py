"""What an agent's tools can do with its memory."""

from __future__ import annotations

from typing import Protocol

from roost.log.facts import Category, Fact
from roost.memory.dedup import Learned
from roost.memory.search import Found


class OwnMemory(Protocol):
    """Of one call. What it changes takes effect when the call has ended well, in the commit of its outcome. Scopes are
    `turn`, `session`, `agent`, `user`, or a whole space that the agent has a right to. All raise `Invalid` and
    `NotFound` in words for the model, and `StoreFailed`."""

    async def remember(
        self, text: str, scope: str | None, category: Category, key: str | None, confidence: float
    ) -> Learned:
        """Without a scope the user's, or the agent's where there is no user."""
        ...

    async def update(self, id: str, text: str, confidence: float | None) -> Learned: ...

    async def forget(self, id: str) -> Fact: ...

    async def recall(self, query: str, scope: str | None, category: Category | None, limit: int) -> Found: ...
