"""Match paths to endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class _Place(Generic[T]):
    """A node of the path tree."""

    def __init__(self) -> None:
        self.named: dict[str, _Place[T]] = {}
        self.any: tuple[str, _Place[T]] | None = None
        self.rest: tuple[str, T] | None = None
        self.end: T | None = None


class Routes(Generic[T]):
    """Match a path against a table. In a table path `{name}` matches one non-empty part, and a final `{name:path}`
    matches the rest, slashes included. A literal part takes precedence over a named one, and both over the rest."""

    def __init__(self, table: Mapping[str, T]) -> None:
        self._top = _Place[T]()
        for path, target in table.items():
            self._add(path.split("/")[1:], target)

    def find(self, path: str) -> tuple[T | None, dict[str, str]]:
        """Return the entry at a path, or None, and the named parts of the path."""
        place, params, at = self._top, dict[str, str](), 1
        rest: tuple[T | None, dict[str, str]] = None, {}
        for part in path.split("/")[1:]:
            if place.rest is not None:
                rest = place.rest[1], {**params, place.rest[0]: path[at:]}
            at += len(part) + 1
            if (known := place.named.get(part)) is not None:
                place = known
            elif place.any is not None and part:
                params[place.any[0]] = part
                place = place.any[1]
            else:
                return rest
        return rest if place.end is None else (place.end, params)

    def _add(self, parts: list[str], target: T) -> None:
        place = self._top
        for part in parts:
            if part.endswith(":path}"):
                place.rest = part[1:-6], target
                return
            if part.startswith("{"):
                if place.any is None:
                    place.any = part[1:-1], _Place[T]()
                place = place.any[1]
            else:
                place = place.named.setdefault(part, _Place[T]())
        place.end = target
