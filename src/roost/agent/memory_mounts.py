"""Memory stores that an agent's sessions use: the part of its definition that the feature `memory_stores` reads."""

from __future__ import annotations

from typing import Literal, TypeAlias

from roost.validated import Validated

Access: TypeAlias = Literal["read_write", "read_only"]


class MountedStore(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """A memory store that clients keep over the Managed Agents API."""

    store: str
    """Its id."""
    name: str
    """What the agent calls it."""
    access: Access = "read_write"
    """`read_only`: the agent changes nothing in it."""
