"""Objects that one part of the program gives to another, by their type."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

P = TypeVar("P")


class Ports(msgspec.Struct, kw_only=True):
    """The ports that features give at a seam `equip`. ports: each under the type by which it is asked for."""

    ports: dict[type, Any] = {}

    def give(self, port: P, kind: type[P] | None = None) -> None:
        """Add a port, under its own type or under the protocol `kind` that it implements."""
        self.ports[kind or type(port)] = port

    def find(self, kind: type[P]) -> P | None:
        """Return the port of a type, or None if no feature gives one."""
        return self.ports.get(kind)

    def given(self, kind: type[P]) -> P | None:
        """Return the port of a type if it has been given already."""
        return self.ports.get(kind)
