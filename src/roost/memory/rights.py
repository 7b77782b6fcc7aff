"""Settings of an agent's memory, and its rights to read and write spaces."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from roost.authority import space_account
from roost.memory.spaces import fits
from roost.validated import Validated, listed, option

Recall: TypeAlias = Literal["auto", "tool"]
LONGEST = 366 * 86_400.0
"""Longest idle time before consolidation, in seconds."""


class Consolidate(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Ask the agent's model which facts of the conversation are worth keeping."""

    turns: Annotated[int, msgspec.Meta(ge=1)] = 20
    """After this many turns."""
    idle: Annotated[float, msgspec.Meta(gt=0.0, le=LONGEST)] | None = None
    """After fewer turns once the session was idle for this many seconds."""
    review: bool = False
    """A person must accept each fact."""
    into: Literal["session", "agent", "user"] = "user"
    """The space that gets the facts."""


class Memory(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """What an agent may remember, and what is recalled."""

    read: tuple[str, ...] = option(default=(), converter=listed)
    """Globs of spaces that it may read beyond its own, such as `shared:team-*`."""
    write: tuple[str, ...] = option(default=(), converter=listed)
    """Globs of spaces that it may write beyond its own."""
    recall: Recall = "auto"
    """`auto`: the start of each turn recalls facts that fit the message; `tool`: only the agent's calls do."""
    limit: int = 5
    """Facts of one recall."""
    least: float = 0.35
    """The fit below which a fact is not recalled automatically, from 0 to 1 (`roost.memory.ranking`)."""
    consolidate: Consolidate | None = None
    """When Roost asks the model which facts to keep."""


class Rights(msgspec.Struct, frozen=True):
    """Memory rights of one session. own: its spaces, the nearest first. account: the one that it belongs to. By globs
    it sees its own spaces and what the home shares: neither another account's, nor those of the home's users."""

    own: tuple[str, ...]
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    account: str | None = None

    def may_read(self, space: str) -> bool:
        return space in self.own or (self._open(space) and (fits(space, self.read) or fits(space, self.write)))

    def may_write(self, space: str) -> bool:
        return space in self.own or (self._open(space) and fits(space, self.write))

    def _open(self, space: str) -> bool:
        owner = space_account(space)
        return self.account is None or owner == self.account or (owner is None and space.startswith("shared:"))
