"""The protocols for embeddings. A protocol is one file and one line here."""

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
    """Limits of one call: texts, tokens of all texts, and tokens of one text (`window`). `size`: numbers in a vector of
    the model; None if unknown."""

    texts: int
    tokens: int
    window: int
    size: int | None = None


class Answered(msgspec.Struct, frozen=True):
    """The vectors in the order of the texts, and the provider's count of tokens, if it gives one."""

    rows: Sequence[Row]
    tokens: int | None = None


class EmbedWire(Protocol):
    """One protocol. Holds no state of a call; may be used concurrently. `call`: requests the vectors of `texts`, none
    of which is blank; `size` requests that many numbers. `read`: raises `ValueError` for a body of another protocol;
    slow for a large body, so call it in a thread. `refused`: converts an answer that is not 2xx to an error; `where`
    names the model."""

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
    """Return the protocol with this name. Raises `ConfigError` for an unknown one."""
    if (module := WIRES.get(name)) is None:
        raise ConfigError(f"no protocol for embeddings is called {name!r}: use one of {', '.join(WIRES)}")
    made: EmbedWire = importlib.import_module(module).WIRE
    return made


def known_size(model: str, sizes: Mapping[str, int]) -> int | None:
    """Return the size for the longest listed prefix of the model's name."""
    prefix = max((name for name in sizes if model.startswith(name)), key=len, default=None)
    return None if prefix is None else sizes[prefix]
