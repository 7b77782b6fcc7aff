"""The command line."""

from __future__ import annotations

from typing import NoReturn

_YOUNG = 50_000
"""Objects that are made before the garbage collector looks through them. Modules make 70,000, which stay: with Python's
own threshold it looks through them again and again, for a sixth of what a start costs."""


def main() -> NoReturn:
    """The entry point of the `roost` executable."""
    import gc
    import sys

    gc.set_threshold(_YOUNG)
    try:
        from roost.cli.main import run

        code = run()
    except KeyboardInterrupt:  # while the modules are read
        code = 130
    sys.exit(code)
