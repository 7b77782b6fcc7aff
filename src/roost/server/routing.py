"""From a path to what answers there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class _Place(Generic[T]):
    """Where a walk along a path may stand."""

    def __init__(self) -> None:
        self.named: dict[str, _Place[T]] = {}
        self.any: tuple[str, _Place[T]] | None = None
        self.rest: tuple[str, T] | None = None
        self.end: T | None = None


class Routes(Generic[T]):
    """In a path of the table `{name}` stands for one part, which is not empty, and a last `{name:path}` for all that
    follows, slashes included. A part that is written out goes before one that is named."""

    def __init__(self, table: Mapping[str, T]) -> None:
        self._top = _Place[T]()
        for path, target in table.items():
            self._add(path.split("/")[1:], target)

    def find(self, path: str) -> tuple[T | None, dict[str, str]]:
        """What is at the path, None for nothing, and the parts of the path by their names."""
        place, params, at = self._top, dict[str, str](), 1
        for part in path.split("/")[1:]:
            if place.rest is not None:
                params[place.rest[0]] = path[at:]
                return place.rest[1], params
            at += len(part) + 1
            if (known := place.named.get(part)) is not None:
                place = known
            elif place.any is not None and part:
                params[place.any[0]] = part
                place = place.any[1]
            else:
                return None, {}
        return place.end, params

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
