"""The model that continues a stalled turn."""

from __future__ import annotations

from typing import NamedTuple

from roost.models.request import Model


class StrongerModel(NamedTuple):
    """The model that the agent names for a turn that makes no progress."""

    model: Model
