"""The memory port of an agent's tools."""

from __future__ import annotations

from typing import Protocol

from roost.log.facts import Category, Fact
from roost.memory.dedup import Learned
from roost.memory.search import Found


class OwnMemory(Protocol):
    """Memory of one call. Changes take effect if the call succeeds, in the commit of its outcome. Scopes are `turn`,
    `session`, `agent`, `user`, or a full space name that the agent has a right to. All methods raise `Invalid` and
    `NotFound` with messages for the model, and `StoreFailed`."""

    async def remember(
        self, text: str, scope: str | None, category: Category, key: str | None, confidence: float
    ) -> Learned:
        """Store a fact. Without a scope it goes to the user's space, or to the agent's if there is no user."""
        ...

    async def update(self, id: str, text: str, confidence: float | None) -> Learned: ...

    async def forget(self, id: str) -> Fact: ...

    async def recall(self, query: str, scope: str | None, category: Category | None, limit: int) -> Found: ...
