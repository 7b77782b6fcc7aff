"""What a protocol for embeddings is, and those that there are. One is one file and one line here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec

from roost.errors import ConfigError
from roost.local.embed.base import Use
from roost.log.content import ErrorData
from roost.models.wire import Endpoint, HttpCall

Row: TypeAlias = bytes | list[float]
"""A vector as it came: little-endian 32-bit floats, or numbers."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Of one call: how many texts, how many tokens in all of them, how many in one. `size` is the count of numbers in
    a vector of the model, None where that is not known."""

    texts: int
    tokens: int
    window: int
    size: int | None = None


class Answered(msgspec.Struct, frozen=True):
    """The vectors in the order of the texts, and the provider's count of tokens where it gives one."""

    rows: Sequence[Row]
    tokens: int | None = None


class EmbedWire(Protocol):
    """One protocol. Holds no state of a call; may be used concurrently.

    `call` asks for the vectors of `texts`, none of which is blank, with `size` numbers where one is given. `read` may
    take a while for a large body: call it in a thread; it raises `ValueError` for a body that is not of the protocol.
    `refused` says what an answer that is not 2xx means; `where` names the model.
    """

    @property
    def name(self) -> str: ...

    def limits(self, model: str) -> Limits: ...

    def call(self, texts: Sequence[str], use: Use, model: str, size: int | None, endpoint: Endpoint) -> HttpCall: ...

    def read(self, body: bytes) -> Answered: ...

    def refused(self, status: int, headers: Mapping[str, str], body: bytes, *, where: str) -> ErrorData: ...


WIRES: dict[str, str] = {
    "openai": "roost.local.embed.openai",
    "google": "roost.local.embed.google",
    "cohere": "roost.local.embed.cohere",
}
"""The module that holds the `WIRE`."""


def embed_wire(name: str) -> EmbedWire:
    """Raises `ConfigError` where none has this name."""
    if (module := WIRES.get(name)) is None:
        raise ConfigError(f"no protocol for embeddings is called {name!r}: use one of {', '.join(WIRES)}")
    made: EmbedWire = importlib.import_module(module).WIRE
    return made


def size_of(model: str, sizes: Mapping[str, int]) -> int | None:
    """By the longest beginning of the model's name that is listed."""
    found = max((name for name in sizes if model.startswith(name)), key=len, default=None)
    return None if found is None else sizes[found]
