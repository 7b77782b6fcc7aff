"""The version of the package."""

from __future__ import annotations

VERSION = "0.1.0"
"""As in pyproject.toml. Reading the installed package's metadata would cost 6 ms at start."""


def version() -> str:
    return VERSION
