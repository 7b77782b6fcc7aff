"""Compilers by the name of their family. A family is one file and one line here."""

from __future__ import annotations

import importlib

from roost.errors import ConfigError
from roost.llm.prompt import Compiler

FAMILIES: dict[str, str] = {
    "default": "roost.llm.compile.default",
}
"""The module that holds the family's `COMPILER`."""


def compiler(name: str = "default") -> Compiler:
    """Raises `ConfigError` where no family has this name."""
    module = FAMILIES.get(name)
    if module is None:
        raise ConfigError(f"no compiler {name!r}: use one of {', '.join(FAMILIES)}")
    made: Compiler = importlib.import_module(module).COMPILER
    return made
