"""How a kernel behaves."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec


def _wall() -> float:
    """Looked up at each call: the crash harness winds the clock of a running process."""
    return time.time()


class KernelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds everywhere.

    `linger`: how long a session stays in memory after its last work. `lease`: how long a node that cannot be asked is
    believed alive. `scan`: how often to look for work that nobody announced. `session_timeout`: a session without
    activity for this long is stopped; `retention`: a stopped one is deleted after this long. None is never.
    `cleanup_every`: how often to look for these; `recover_every`: for money and deletions that a crash left open.

    `only`: the sessions to work on, however many, if not all; after adding to it call `Kernel.scan`. `clock`: the wall
    clock by which timers and schedules come due.
    """

    linger: float = 1.0
    lease: float = 10.0
    scan: float = 2.0
    max_live: int = 4096
    session_timeout: float | None = None
    retention: float | None = None
    cleanup_every: float = 60.0
    recover_every: float = 60.0
    only: set[str] | None = None
    clock: Callable[[], float] = _wall
