"""What an agent may read and write, as its definition says."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from roost.memory.spaces import fits

Recall: TypeAlias = Literal["auto", "tool"]
LONGEST = 366 * 86_400.0
"""Seconds that a session may be left alone before it is asked."""


class Consolidate(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """After every `turns` turns the agent's model is asked for what is worth keeping of them, and of fewer when the
    session was left alone for `idle` seconds. `review`: a person accepts each fact before it counts. `into`: the scope
    that they go to."""

    turns: Annotated[int, msgspec.Meta(ge=1)] = 20
    idle: Annotated[float, msgspec.Meta(gt=0.0, le=LONGEST)] | None = None
    review: bool = False
    into: Literal["session", "agent", "user"] = "user"

    def __post_init__(self) -> None:
        if self.turns < 1 or (self.idle is not None and not 0 < self.idle <= LONGEST):
            raise ValueError(f"it needs turns >= 1 and 0 < idle <= {LONGEST:g}, not {self.turns} and {self.idle}")


class Memory(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """`read` and `write` are globs of spaces beyond the agent's own (`shared:team-*`). `recall` "auto": at the start
    of every turn up to `limit` facts that fit what was said are put beside it; "tool": only the agent's own calls ask.
    `least`: the fit (`roost.memory.ranking`), about a likeness of English texts from 0 to 1, below which a fact is not
    recalled by itself."""

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
