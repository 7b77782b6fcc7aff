"""Results of inspecting a store."""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """An inconsistency. session: None when it concerns no session in particular."""

    kind: str
    detail: str
    session: str | None = None
    fix: str | None = None


class Layout(NamedTuple):
    """Numbers of the table layout. found: the present one, 0 in an empty store. known: the newest that this version
    knows. steps: the migrations from the one to the other."""

    found: int
    known: int
    steps: tuple[str, ...]
