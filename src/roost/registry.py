"""The features and the doors of this program, and how the core and the server find them.

A feature is a folder `roost/features/NAME/`. The core imports none: it asks `load` for the parts that it needs, when it
first needs them. A door is a folder `roost/doors/NAME/`: a protocol that other products speak."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, TypeVar

import msgspec

K = TypeVar("K", bound=msgspec.Struct)

FEATURES = (
    "client_tools",
    "editor",
    "system_calls",
    "coding_agents",
    "frameworks",
    "intents",
    "stalls",
    "hooks",
    "approvals",
    "rules",
    "jobs",
    "terminals",
    "sandboxes",
    "snapshots",
    "delegation",
    "schedules",
    "checkpoints",
    "uploads",
    "files",
    "compaction",
    "memory",
    "packages",
    "skills",
    "environment",
    "planning",
    "outcomes",
    "upgrades",
    "definitions",
    "accounts",
    "console",
    "budgets",
    "exchange",
    "openapi",
    "remote_agents",
    "credentials",
    "memory_stores",
    "mcp",
    "bots",
    "tool_search",
    "replay",
)
"""All features, in the order in which each seam of the loop asks them. `tests/agent/test_features.py` lists the pairs
whose order matters, and why."""


DOORS = (
    "managed",
    "gemini",
    "anthropic",
    "openai_agents",
    "openai",
    "agui",
    "a2a",
    "mcp",
    "termo",
    "agentruntime",
    "websocket",
    "console",
    "coding_agents",
    "bots",
    "shares",
)
"""All doors, in the order in which the server asks whose protocol a request speaks."""


@cache
def load(part: str) -> tuple[ModuleType, ...]:
    """Import the module `part` of every feature that has one, in the order of `FEATURES`."""
    names = (f"roost.features.{feature}.{part}" for feature in FEATURES)
    return tuple(import_module(name) for name in names if find_spec(name) is not None)


def tools() -> dict[str, str]:
    """Return the names of all tools of features, each with the module that has it. A feature names its tools in `TOOLS`
    of its `__init__.py`, so that no tool is imported before it is used. Raises `TypeError` if two have the same."""
    found: dict[str, str] = {}
    for package in (import_module(f"roost.features.{feature}") for feature in FEATURES):
        for name in getattr(package, "TOOLS", ()):
            if name in found:
                raise TypeError(f"two features have the tool {name!r}: {found[name]} and {package.__name__}.tools")
            found[name] = f"{package.__name__}.tools"
    return found


def kinds(name: str, core: Iterable[type[K]]) -> dict[type[K], str]:
    """Return the structs of `core`, and those that features list as `name` in `events.py`, each with its persisted
    name (`tag`). Raises `TypeError` if two have the same."""
    own = (kind for module in load("events") for kind in getattr(module, name, ()))
    found: dict[str, type[K]] = {}
    for kind in (*core, *own):
        tag = str(kind.__struct_config__.tag)
        if (other := found.setdefault(tag, kind)) is not kind:
            both = " and ".join(f"{one.__module__}.{one.__qualname__}" for one in (other, kind))
            raise TypeError(f"two have the tag {tag!r}: {both}. A tag is persisted: choose another")
    return {kind: tag for tag, kind in found.items()}


@cache
def door_duties() -> tuple[ModuleType, ...]:
    """Import the module `duties` of every door that has one: `work(api)` there runs as long as the server does."""
    names = (f"roost.doors.{door}.duties" for door in DOORS)
    return tuple(import_module(name) for name in names if find_spec(name) is not None)


@cache
def doors() -> tuple[Any, ...]:
    """Import the module `door` of all doors and return their instances of `roost.server.door.Door`, in order."""
    return tuple(import_module(f"roost.doors.{name}.door").DOOR for name in DOORS)
