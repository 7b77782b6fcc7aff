"""The command line."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """The entry point of the `roost` executable."""
    import sys

    from roost.cli.main import run

    sys.exit(run())
