"""The protocols that the stub provider speaks. That of a wire is the module here with the wire's name."""

from __future__ import annotations

import importlib
import importlib.util

from roost.models.wires import WIRES
from roost.stub.dialects.base import Asked, Dialect, Listed, Priced, Routed

__all__ = ["EMBEDDINGS", "Asked", "Dialect", "Listed", "Priced", "Routed", "dialects", "dialects_of"]

EMBEDDINGS: tuple[str, ...] = ("embed_openai", "embed_google", "embed_cohere")
"""Modules of embeddings protocols; their paths come first, as they are narrower."""


def dialects() -> list[Dialect]:
    """Return every protocol, with those of servers that speak one in their own way."""
    from roost.stub.dialects.openai_servers import SERVERS

    return [*(dialect for name in (*EMBEDDINGS, *WIRES) for dialect in dialects_of(name)), *SERVERS]


def dialects_of(name: str) -> tuple[Dialect, ...]:
    """Return a wire's protocol: the `DIALECT` of its module, and in `MORE` those of the wire's other interfaces. Empty
    where the stub does not speak it."""
    if importlib.util.find_spec(f"{__name__}.{name}") is None:
        return ()
    module = importlib.import_module(f"{__name__}.{name}")
    return (module.DIALECT, *getattr(module, "MORE", ()))
