"""What a client may follow over one connection besides the events of a session: channels of features.

A feature's `channels.py` names them as `CHANNELS`: by the operation that opens one, such as `terminals.attach`. A door
that keeps connections open offers them, as the WebSocket does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

from roost import registry

S = TypeVar("S")


class ChannelMessage(NamedTuple):
    """Something for the client. head: JSON. data: bytes that follow it; None: `head` is the whole message."""

    head: dict[str, Any]
    data: bytes | None = None


class Channel(NamedTuple):
    """An open channel. body: the answer to the client that opened it. messages: ends when the channel does; raises
    `RoostError`. close: called by the owner when it is done, also if it has read no message."""

    body: dict[str, Any]
    messages: AsyncGenerator[ChannelMessage]
    close: Callable[[], None]


Service: TypeAlias = Callable[[type[Any]], Any]
"""Return the service of a feature, by its class."""
Open: TypeAlias = Callable[[Service, Mapping[str, Any]], Awaitable[Channel]]
"""Open a channel for the acting client, with its arguments. Raises `RoostError`, `msgspec.ValidationError`."""


def channels() -> dict[str, Open]:
    """Return all channels, by the operation that opens one."""
    return {name: open for module in registry.load("channels") for name, open in module.CHANNELS.items()}
