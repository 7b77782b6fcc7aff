"""Wires by name. A wire is one folder, which holds its class as `WIRE`, and one line here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

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
    kind = _class_of(name)
    try:
        made: Wire = kind(msgspec.convert(options or {}, kind.options))
    except ValueError as error:
        raise ConfigError(f"the options of the wire {name!r} are not valid: {error}") from error
    return made


def _class_of(name: str) -> Any:
    here = Path(__file__).parent
    if name not in WIRES:
        folder = name.isidentifier() and (here / name / "__init__.py").is_file()
        fix = f"; its folder exists: add {name!r} to WIRES in {__file__}" if folder else ""
        raise ConfigError(f"no wire {name!r}: use one of {', '.join(WIRES)}{fix}")
    if not (here / name / "__init__.py").is_file():
        raise ConfigError(f"WIRES in {__file__} names {name!r}, but {here / name} holds no wire: correct the line")
    module = importlib.import_module(f"{__name__}.{name}")
    if not hasattr(module, "WIRE"):
        raise ConfigError(f"the wire {name!r} has no class: end {here / name / '__init__.py'} with `WIRE = CLASS`")
    return module.WIRE
