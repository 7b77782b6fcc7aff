"""The port through which an agent's tools reach other agents."""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """An agent as others see it."""

    name: str
    description: str
