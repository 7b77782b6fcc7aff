"""The version of the package."""

from __future__ import annotations

VERSION = "0.1.0"
"""As in pyproject.toml. To ask the installed package's metadata for it would cost a start 6 ms."""


def version() -> str:
    return VERSION
