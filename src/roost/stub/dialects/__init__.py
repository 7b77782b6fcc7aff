"""The protocols that the stub provider speaks. That of a wire is the module here with the wire's name."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from roost.models.wires import WIRES
from roost.stub.dialects.base import Asked, Dialect, Ends, Framed, Listed, Priced, Routed

__all__ = [
    "EMBEDDINGS",
    "Asked",
    "Dialect",
    "Ends",
    "Framed",
    "Listed",
    "Priced",
    "Routed",
    "dialects",
    "dialects_of",
    "lacks_of",
]

EMBEDDINGS: tuple[str, ...] = ("embed_openai", "embed_google", "embed_cohere")
"""Modules of embeddings protocols; their paths come first, as they are narrower."""


def dialects() -> list[Dialect]:
    """Return every protocol, with those of servers that speak one in their own way."""
    from roost.stub.dialects.openai_servers import SERVERS

    return [*(dialect for name in (*EMBEDDINGS, *WIRES) for dialect in dialects_of(name)), *SERVERS]


def dialects_of(name: str) -> tuple[Dialect, ...]:
    """Return a wire's protocol: the `DIALECT` of its module, and in `MORE` those of the wire's other interfaces. Empty
    where the stub does not speak it."""
    module = _module_of(name)
    return () if module is None else (module.DIALECT, *getattr(module, "MORE", ()))


def lacks_of(name: str) -> dict[str, str]:
    """Return the `LACKS` of a wire's module: what its protocol does not have, with the reason (see
    `roost.testing.matrix.Subject`)."""
    return getattr(_module_of(name), "LACKS", {})


def _module_of(name: str) -> Any:
    if importlib.util.find_spec(f"{__name__}.{name}") is None:
        return None
    return importlib.import_module(f"{__name__}.{name}")
