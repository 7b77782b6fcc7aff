"""Compilers by family name, and families by model name. A family is a compiler in the file of its maker, and one line
here."""

from __future__ import annotations

import importlib
import re

from roost.errors import ConfigError
from roost.models.prompt import Compiler

_HERE = "roost.models.compile."
FAMILIES: dict[str, str] = {
    "default": f"{_HERE}default:COMPILER",
    "glm": f"{_HERE}glm:GLM",
    "glm_5": f"{_HERE}glm:GLM_5",
    "glm_52": f"{_HERE}glm:GLM_52",
    "glm_5v_turbo": f"{_HERE}glm:GLM_5V_TURBO",
    "anthropic": f"{_HERE}anthropic:COMPILER",
    "deepseek": f"{_HERE}deepseek:PLAIN",
    "deepseek_v4": f"{_HERE}deepseek:PRO",
    "deepseek_v4_pro": f"{_HERE}deepseek:PRO",
    "deepseek_v4_flash": f"{_HERE}deepseek:FLASH",
    "minimax_m3": f"{_HERE}minimax_m3:COMPILER",
}
"""The module and the attribute of each family's compiler."""

MODELS: tuple[tuple[str, str], ...] = (
    (r"glm-?[\d.p]+v", "glm_5v_turbo"),
    (r"glm-?5[.p-]?[2-9](?!\d)", "glm_52"),
    (r"glm-?5", "glm_5"),
    (r"glm", "glm"),
    (r"claude", "anthropic"),
    (r"deepseek-?v[4-9].*flash", "deepseek_v4_flash"),
    (r"deepseek-?v[4-9]", "deepseek_v4_pro"),
    (r"deepseek", "deepseek"),
    (r"minimax-?m[3-9]", "minimax_m3"),
)
"""Patterns of model names (lower case, `-` for `_`) and their families; the first match counts."""


def compiler(name: str = "default") -> Compiler:
    """Return the compiler of a family. Raises `ConfigError` for an unknown family."""
    place = FAMILIES.get(name)
    if place is None:
        raise ConfigError(f"no compiler {name!r}: use one of {', '.join(FAMILIES)}")
    module, _, attribute = place.partition(":")
    made: Compiler = getattr(importlib.import_module(module), attribute)
    return made


def family_of(model: str) -> str:
    """Return the family of a model with this name, at any provider; `default` if unknown."""
    name = model.lower().replace("_", "-")
    return next((family for pattern, family in MODELS if re.search(pattern, name)), "default")
