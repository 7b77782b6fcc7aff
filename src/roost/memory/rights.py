"""Settings of an agent's memory, and its rights to read and write spaces."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from roost.memory.spaces import fits
from roost.validated import Validated, listed, option

Recall: TypeAlias = Literal["auto", "tool"]
LONGEST = 366 * 86_400.0
"""Longest idle time before consolidation, in seconds."""


class Consolidate(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Ask the agent's model after every `turns` turns which facts are worth keeping, and after fewer once the session
    was idle for `idle` seconds. review: a person must accept each fact. into: scope of the facts."""

    turns: Annotated[int, msgspec.Meta(ge=1)] = 20
    idle: Annotated[float, msgspec.Meta(gt=0.0, le=LONGEST)] | None = None
    review: bool = False
    into: Literal["session", "agent", "user"] = "user"


class Memory(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Memory of an agent. read, write: globs of spaces beyond its own (`shared:team-*`). recall: "auto" adds up to
    `limit` facts that fit the message to the start of every turn; "tool" leaves recall to the agent's calls. least:
    minimal fit (`roost.memory.ranking`) of a fact recalled automatically, comparable to a likeness of English texts
    from 0 to 1."""

    read: tuple[str, ...] = option(default=(), converter=listed)
    write: tuple[str, ...] = option(default=(), converter=listed)
    recall: Recall = "auto"
    limit: int = 5
    least: float = 0.35
    consolidate: Consolidate | None = None


class Rights(msgspec.Struct, frozen=True):
    """Memory rights of one session. own: its spaces, the nearest first."""

    own: tuple[str, ...]
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()

    def may_read(self, space: str) -> bool:
        return space in self.own or fits(space, self.read) or fits(space, self.write)

    def may_write(self, space: str) -> bool:
        return space in self.own or fits(space, self.write)
