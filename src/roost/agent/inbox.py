"""The inbox of a session in memory."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Sequence

from roost.log.protocols import InboxItem

_REMEMBERED = 4096
"""Ids of the newest inputs that are remembered to detect duplicates: far more than an inbox holds."""


class Inbox:
    """Committed inputs that nothing has consumed yet: `items`, oldest first."""

    def __init__(self, items: Sequence[InboxItem]) -> None:
        self.items = list(items)
        self._known = dict.fromkeys(item.id for item in items)
        self._newest = max(self._known, default=0)

    def __iter__(self) -> Iterator[InboxItem]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def follow(self, items: Sequence[InboxItem]) -> bool:
        """Whether no input is missing before `items`. Inputs committed by another node arrive late; taking these first
        would reverse the order in which their senders got their replies."""
        newest = self._newest
        for item in items:
            if item.id > newest + 1:
                return False
            newest = max(newest, item.id)
        return True

    def offer(self, item: InboxItem) -> bool:
        """Add a committed input. Returns False if it is known: those of another process arrive later than ours."""
        if item.id in self._known:
            return False
        self._known[item.id] = None
        self._newest = max(self._newest, item.id)
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        insort(self.items, item, key=lambda one: one.id)
        return True

    def take(self, item: int) -> None:
        """Remove an input: the next commit consumes it."""
        self.items = [one for one in self.items if one.id != item]
