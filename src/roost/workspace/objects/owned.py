"""Mark an object store with its owner: only the owner's log can tell which objects are garbage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from roost.errors import Conflict
from roost.workspace.object_store import ObjectInfo, Objects

_OWNERS = "owners/"


class Owned:
    """Implements `Objects` over another store. Before its first write it stores a mark that the objects belong to
    `owner`, the lasting name of a database; None writes no mark."""

    def __init__(self, objects: Objects, owner: str | None) -> None:
        self._objects = objects
        self._mark = None if owner is None else _OWNERS + owner.lower().replace("_", "-")
        self._marked = self._mark is None

    def put(self, key: str, data: bytes) -> None:
        if not self._marked and self._mark is not None:
            self._objects.put(self._mark, b"Its logs name what is needed here.\n")
            self._marked = True
        self._objects.put(key, data)

    def get(self, key: str) -> bytes:
        return self._objects.get(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._objects.list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        self._objects.delete(keys)

    def close(self) -> None:
        self._objects.close()

    def check(self) -> None:
        """Check that all objects were written for `owner`. Raises `Conflict`."""
        owners = {found.key for found in self._objects.list(_OWNERS)}
        if self._mark is not None and self._mark not in owners and (owners or any(self._objects.list("blobs/"))):
            raise Conflict(
                "no node of this database ever saved files in this snapshot store: nothing is removed. Name the"
                " database whose sessions have their files there, and --snapshots as its nodes do",
                code="snapshots_shared",
            )
        if strange := sorted(owners - {self._mark}):
            raise Conflict(
                f"other databases keep files in this snapshot store ({', '.join(strange)}): nothing is removed. Give"
                " each database a store of its own; if one of these is gone for good, remove that object",
                code="snapshots_shared",
            )
