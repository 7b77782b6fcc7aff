"""What a look at a store from outside finds."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that should not be. `session` is None when it is of no session in particular."""

    kind: str
    detail: str
    session: str | None = None
    fix: str | None = None


class Layout(NamedTuple):
    """The number of the tables' layout: the one that was `found`, 0 where there is nothing yet, and the newest that is
    `known`. `steps`: what leads from the one to the other."""

    found: int
    known: int
    steps: tuple[str, ...]
