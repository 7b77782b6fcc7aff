"""The port through which a session settles its costs."""

from __future__ import annotations

from typing import Protocol

from roost.log.content import Usage


class Ledger(Protocol):
    """The part of the ledger that a session in memory needs."""

    async def recover(self, session: str) -> Usage | None:
        """Settle the model calls that a crash cut off, at their reserved amounts. Returns the sum, or None if there
        were none."""
        ...

    async def balance(self, budget: str) -> int:
        """Return the amount spent on a budget, in nano-dollars; 0 for an unknown one."""
        ...

    async def forget(self, *budgets: str) -> None:
        """Delete budgets that are no longer used."""
        ...
