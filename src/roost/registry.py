"""The features of this program, and how the core finds them.

A feature is a folder `roost/features/NAME/`. The core imports none: it asks `load` for the parts that it needs, when it
first needs them."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

FEATURES = (
    "intents",
    "stalls",
    "hooks",
    "jobs",
    "snapshots",
    "delegation",
    "schedules",
    "checkpoints",
    "compaction",
    "memory",
    "environment",
    "planning",
    "upgrades",
    "budgets",
)
"""All features, in the order in which each seam of the loop asks them. `tests/agent/test_features.py` lists the pairs
whose order matters, and why."""


@cache
def load(part: str) -> tuple[ModuleType, ...]:
    """Import the module `part` of every feature that has one, in the order of `FEATURES`."""
    names = (f"roost.features.{feature}.{part}" for feature in FEATURES)
    return tuple(import_module(name) for name in names if find_spec(name) is not None)
