"""`transformers serve` with a limit of memory for each device, for which it has no option. A program of its own: it
runs without the rest of Roost, and gets the limits as JSON in ROOST_MAX_MEMORY."""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
from typing import Any


def limits(text: str) -> dict[int | str, str]:
    """Return the limits by device; numbers of accelerators become integers."""
    table: dict[str, str] = json.loads(text)
    return {int(device) if device.isdigit() else device: most for device, most in table.items()}


def main() -> None:
    library: Any = importlib.import_module("transformers")
    if text := os.environ.get("ROOST_MAX_MEMORY"):
        base: Any = library.PreTrainedModel
        load: Any = base.from_pretrained.__func__
        most = limits(text)

        @functools.wraps(load)
        def limited(cls: Any, *args: Any, **options: Any) -> Any:
            return load(cls, *args, **{"max_memory": most, **options})

        base.from_pretrained = classmethod(limited)
    sys.argv[0] = "transformers"
    importlib.import_module("transformers.cli.transformers").main()


if __name__ == "__main__":
    main()
