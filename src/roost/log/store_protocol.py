"""The store: everything that Roost needs from a database."""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

from roost.log.dispatch import Dispatcher
from roost.log.facts import Facts
from roost.log.portable import Portable
from roost.log.protocols import Journal
from roost.log.shared import Shared

Durability: TypeAlias = Literal["full", "relaxed"]
"""`full`: every commit is synced to the disk. `relaxed`: a power loss may lose the last moments; a crash loses
nothing."""


class Store(Journal, Dispatcher, Shared, Facts, Portable, Protocol):
    """One database. `SqliteJournal` and `PostgresJournal` are the implementations."""
