"""The port by which a session reads uploaded files, and publishes files of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class UploadedFiles(Protocol):
    """The uploaded files of the store."""

    async def content(self, upload: str, *, most: int) -> bytes:
        """Return a whole file. Raises `NotFound`, `TooLarge` above `most` bytes, `Conflict` when it is at another home,
        `ObjectsFailed`, `StoreFailed`."""
        ...

    async def publish(
        self,
        name: str,
        data: bytes,
        *,
        owner: str,
        keys: Mapping[str, str],
        note: Mapping[str, Any],
        key: str,
        seconds: float | None = None,
    ) -> str:
        """Keep a file durably, once for a `key`, and return its id. seconds: time until it expires. Raises
        `ObjectsFailed`, `StoreFailed`."""
        ...
