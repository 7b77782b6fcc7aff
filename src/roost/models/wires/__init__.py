"""Wires by name. A wire is one file or folder and one line here."""

from __future__ import annotations

import importlib

from roost.errors import ConfigError
from roost.models.wire import Options, Wire

WIRES: dict[str, str] = {
    "openai_chat": "roost.models.wires.openai_chat",
    "anthropic": "roost.models.wires.anthropic",
    "openai_responses": "roost.models.wires.openai_responses",
    "gemini": "roost.models.wires.gemini",
    "glm": "roost.models.wires.glm",
    "minimax": "roost.models.wires.minimax",
}
"""The module whose `make(options)` makes the wire."""


def wire(name: str, options: Options | None = None) -> Wire:
    """Make the wire with this name. Raises `ConfigError` for an unknown name or option."""
    module = WIRES.get(name)
    if module is None:
        raise ConfigError(f"no wire {name!r}: use one of {', '.join(WIRES)}")
    try:
        made: Wire = importlib.import_module(module).make(options or {})
    except ValueError as error:
        raise ConfigError(f"the options of the wire {name!r} are not valid: {error}") from error
    return made
