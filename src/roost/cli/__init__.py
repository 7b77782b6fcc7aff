"""The command line."""

from __future__ import annotations

from typing import NoReturn

_FIRST = 100_000
"""Allocations before the first garbage collection. Imports make 70,000 objects that stay: with Python's own threshold
the collector examines them again and again, for a sixth of the time of a start."""


def main() -> NoReturn:
    """The entry point of the `roost` executable."""
    import gc
    import sys

    _put_off()
    try:
        from roost.cli.main import run

        code = run()
    except KeyboardInterrupt:  # during imports
        code = 130
    gc.freeze()  # else the interpreter's end examines all that the imports made, for a tenth of a short command
    sys.exit(code)


def _put_off() -> None:
    """Delay the first collection; later ones use Python's own threshold."""
    import gc

    usual = gc.get_threshold()

    def seen(phase: str, info: dict[str, int]) -> None:
        gc.callbacks.remove(seen)
        if gc.get_threshold()[0] == _FIRST:  # else other code has set a threshold since
            gc.set_threshold(*usual)

    gc.callbacks.append(seen)
    gc.set_threshold(_FIRST)
