"""How the embedded model is run: numbers that a machine's owner may turn."""

from __future__ import annotations

import os

import msgspec

from roost.errors import ConfigError


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`deadline`: seconds that one call may generate, waiting and loading not counted. `idle`: seconds without a call
    after which the weights leave memory. `queue`: calls that may wait."""

    threads: int
    context: int = 8192
    deadline: float = 300.0
    idle: float = 600.0
    queue: int = 64


def from_environment(**given: float | None) -> Settings:
    """`ROOST_MODEL_THREADS`, `ROOST_MODEL_CONTEXT`, `ROOST_MODEL_DEADLINE` and `ROOST_MODEL_IDLE` (seconds), under
    what is `given`. Raises `ConfigError`."""
    values: dict[str, float] = {"threads": max(1, (os.cpu_count() or 2) - 1)}
    for field in ("threads", "context", "deadline", "idle"):
        variable = f"ROOST_MODEL_{field.upper()}"
        if text := os.environ.get(variable):
            try:
                values[field] = float(text)
            except ValueError:
                raise ConfigError(f"{variable}={text!r} is not a number") from None
    values |= {field: value for field, value in given.items() if value is not None}
    if min(values.values()) <= 0:
        raise ConfigError("the settings of the local model must be above zero")
    return msgspec.convert({"threads": 1} | values, Settings, strict=False)
