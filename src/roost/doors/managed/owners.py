"""Whose records a request reads and writes."""

from __future__ import annotations

from roost.authority import current


def account() -> str | None:
    """Return the account of the request; None where it acts for the home, which sees the records of all."""
    who = current()
    return who.account if who.confined else None
