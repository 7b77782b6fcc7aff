"""The command line."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """The entry point of the `roost` executable."""
    import sys

    try:
        from roost.cli.main import run

        code = run()
    except KeyboardInterrupt:  # while the modules are read
        code = 130
    sys.exit(code)
