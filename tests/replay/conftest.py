"""Replays on every store."""

from tests.kernel.conftest import store as store
