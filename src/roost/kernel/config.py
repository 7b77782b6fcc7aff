"""Settings of a kernel."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec


def _wall() -> float:
    """Return the wall time. Looked up at each call, since the crash harness moves the clock of a running process."""
    return time.time()


class KernelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a kernel. All times are in seconds; None means never.

    linger: how long a session stays in memory after its last work.
    lease: how long a node that cannot be asked is believed alive.
    scan: how often to poll for work without a notification.
    session_timeout: a session without activity for this long is stopped.
    retention: a stopped session is deleted after this long.
    cleanup_every: how often to look for these.
    recover_every: how often to complete settlements and deletions that a crash interrupted.
    only: if given, the only sessions to run, without limit; after adding to it call `Node.scan`.
    clock: the wall clock of timers and schedules.
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
