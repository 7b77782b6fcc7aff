"""What an agent may read and write, as its definition says."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from roost.memory.spaces import fits

Recall: TypeAlias = Literal["auto", "tool"]


class Consolidate(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """After every `turns` turns the agent's model is asked for what is worth keeping of them. `review`: a person
    accepts each fact before it counts. `into`: the scope that they go to."""

    turns: int = 20
    review: bool = False
    into: Literal["session", "agent", "user"] = "user"


class Memory(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """`read` and `write` are globs of spaces beyond the agent's own (`shared:team-*`). `recall` "auto": at the start
    of every turn up to `limit` facts that fit what was said are put beside it; "tool": only the agent's own calls ask.
    `least`: the likeness of meaning, from 0 to 1, below which a fact without a word in common is not recalled by
    itself."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    recall: Recall = "auto"
    limit: int = 5
    least: float = 0.35
    consolidate: Consolidate | None = None


class Rights(msgspec.Struct, frozen=True):
    """Of one session. `own`: its spaces, the nearest first."""

    own: tuple[str, ...]
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()

    def may_read(self, space: str) -> bool:
        return space in self.own or fits(space, self.read) or fits(space, self.write)

    def may_write(self, space: str) -> bool:
        return space in self.own or fits(space, self.write)
