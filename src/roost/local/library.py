"""llama.cpp, imported where it is used, and how it fails."""

from __future__ import annotations

import importlib
import os
from typing import Any

from roost.errors import RoostError


class EngineFailed(RoostError):
    """The engine cannot run the model. `code` says why."""

    code, status = "engine_failed", 503


def engine_library() -> Any:
    """Import llama.cpp. Raises `EngineFailed`.

    Its threads spin by default while they wait for each other: on a machine with other work they then burn the time
    that the one they wait for needs, and the model is many times slower. OpenMP reads the setting when it is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        raise missing(error) from error


def missing(reason: object) -> EngineFailed:
    return EngineFailed(
        f"the local model needs xllamacpp, which cannot be used here ({reason}): 'pip install xllamacpp', or "
        "set a provider's key to use a hosted model",
        code="engine_missing",
    )
