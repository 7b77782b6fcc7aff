"""The command line."""

from __future__ import annotations

from typing import NoReturn

_FIRST = 100_000
"""Objects that are made before the garbage collector first looks through them. Modules make 70,000, which stay: as
Python has it, it looks through them again and again, for a sixth of what a start costs."""


def main() -> NoReturn:
    """The entry point of the `roost` executable."""
    import sys

    _put_off()
    try:
        from roost.cli.main import run

        code = run()
    except KeyboardInterrupt:  # while the modules are read
        code = 130
    sys.exit(code)


def _put_off() -> None:
    """The first collection; those that follow come as Python has it."""
    import gc

    usual = gc.get_threshold()

    def seen(phase: str, info: dict[str, int]) -> None:
        gc.callbacks.remove(seen)
        if gc.get_threshold()[0] == _FIRST:  # else somebody has set another since
            gc.set_threshold(*usual)

    gc.callbacks.append(seen)
    gc.set_threshold(_FIRST)
