"""Wires by name. A wire is one folder, which holds its class as `WIRE`, and one line here."""

from __future__ import annotations

import importlib

import msgspec

from roost.errors import ConfigError
from roost.models.wire import Options, Wire

WIRES: tuple[str, ...] = (
    "openai_chat",
    "anthropic",
    "openai_responses",
    "gemini",
    "glm",
    "minimax",
)
"""The folders of this package that hold a wire. The first is that of an account which names none."""
DEFAULT_WIRE = WIRES[0]


def wire(name: str, options: Options | None = None) -> Wire:
    """Make the wire with this name. Raises `ConfigError` for an unknown name or option."""
    if name not in WIRES:
        raise ConfigError(f"no wire {name!r}: use one of {', '.join(WIRES)}")
    kind = importlib.import_module(f"{__name__}.{name}").WIRE
    try:
        made: Wire = kind(msgspec.convert(options or {}, kind.options))
    except ValueError as error:
        raise ConfigError(f"the options of the wire {name!r} are not valid: {error}") from error
    return made
