"""The contract of a transport to an MCP server, and a bound on what a server may send."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from roost.features.mcp.messages import Json, ServerFailed

Receive: TypeAlias = Callable[[Json, int | None], None]
"""Takes a message of the server. The number: the request on whose response stream it came, where that is known."""
_BURST = 64 * 1024 * 1024
_PER_SECOND = 4 * 1024 * 1024
_LEAST = 512
"""Bytes that a message counts at least: the work for a short one is more than its length."""


class Wire(Protocol):
    """A transport. Only the owner task of the server calls `open`, `run` and `close`; any task may call `send`."""

    async def open(self, receive: Receive) -> None:
        """Prepare to send. Raises `ServerFailed`."""
        ...

    async def run(self) -> None:
        """Receive messages until the server is gone. Raises `ServerFailed`."""
        ...

    async def send(self, message: Json, headers: Mapping[str, str]) -> None:
        """Send a message. A transport that gives each request a response returns when the response has been received.
        Cancelling gives the response up. Raises `ServerFailed`, `NeedsLogin`, and `ServerError` for a refusal by HTTP
        alone."""
        ...

    async def close(self) -> None:
        """Release everything; ends the program of a server that has one. Idempotent."""
        ...


class Flood:
    """Bound what one server makes this node read: a burst, and then a rate."""

    def __init__(self) -> None:
        self._left, self._at = float(_BURST), time.monotonic()

    def count(self, size: int) -> None:
        """Count a message or a piece of one. Raises `ServerFailed`."""
        now = time.monotonic()
        self._left = min(_BURST, self._left + (now - self._at) * _PER_SECOND) - max(size, _LEAST)
        self._at = now
        if self._left < 0:
            raise ServerFailed("it sent more than a server may send")
