"""The protocol of object stores, which keep snapshots where every node can read them."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from roost.errors import NotFound, StoreFailed


class ObjectsFailed(StoreFailed):
    """The object store does not answer, or refuses. The request may be repeated."""

    code, status = "objects_failed", 503


FULL = "the disk is full"


def full(why: str) -> ObjectsFailed:
    """Make the error of a full disk. Its message begins with `FULL`, to be recognized in a log."""
    return ObjectsFailed(f"{FULL}: {why}; free some space, then try again", code="disk_full", status=507)


def is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


class ObjectMissing(NotFound):
    code = "object_missing"


class ObjectInfo(NamedTuple):
    """`size` in bytes as stored; `modified` in seconds since 1970 by the store's clock."""

    key: str
    size: int
    modified: float


class Objects(Protocol):
    """A flat, shared, durable map from keys to bytes. Keys are `/`-separated names of `[a-z0-9-]`.

    Its methods block, for seconds when the store is slow, and never for ever; any thread may call them. They raise
    `ObjectsFailed`. `roost.testing.objects` is the conformance suite.
    """

    def put(self, key: str, data: bytes) -> None:
        """Store an object, durably and atomically: a crash leaves no half of it. Keys name their content, so an
        existing object may be left as it is."""
        ...

    def get(self, key: str) -> bytes:
        """Return an object. Raises `ObjectMissing`."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield every object whose key begins with `prefix`, which is empty or ends in `/`, in any order. Objects that
        are written meanwhile may be missing. Memory does not grow with the number of objects."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects. Missing ones are ignored."""
        ...

    def close(self) -> None: ...
