"""What a rollback needs of the node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from roost.agent.state import State


class Past(NamedTuple):
    """The past of one session. state_at: returns its state right after an event of its committed log. lend: pins the
    snapshots that its forks need before some are removed; returns False if that is impossible now."""

    state_at: Callable[[int], Awaitable[State]]
    lend: Callable[[], Awaitable[bool]]
