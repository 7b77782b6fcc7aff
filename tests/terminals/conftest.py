"""Terminals are tested on every store."""

from tests.kernel.conftest import store

__all__ = ["store"]
