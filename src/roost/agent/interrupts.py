"""What interrupts the running step of a session: an input, the turn's time limit, or a shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from roost.agent.inbox import Inbox
from roost.agent.turn_clock import Clock
from roost.log.inputs import InterruptCause
from roost.log.protocols import InboxItem
from roost.scope import Scope

T = TypeVar("T")


class Interrupted(Exception):
    """The running step was cut off. cause: the input, time limit or shutdown that cut it."""

    def __init__(self, cause: InterruptCause) -> None:
        super().__init__(cause)
        self.cause: InterruptCause = cause


class Interrupts:
    """Interrupt the running step when an input asks for it.

    check_lease: called before each step; no step begins without the lease. stopped: set once the session shuts down.
    `clock` is that of the open turn. `cut` and `hear` may be called by any callback of the event loop."""

    clock: Clock

    def __init__(self, inbox: Inbox, check_lease: Callable[[], None], stopped: asyncio.Event) -> None:
        self._inbox, self._check_lease, self._stopped = inbox, check_lease, stopped
        self._scope: Scope | None = None
        self._steerable = self._yields = False
        self.detached = False
        """True while work outside a turn runs: it has its own deadline, and a rollback does not interrupt it."""

    @property
    def stopping(self) -> bool:
        return self._stopped.is_set()

    def hear(self, item: InboxItem) -> None:
        """Interrupt the running step if a new input demands it."""
        if self._cuts(item.input.interrupts):
            self.cut()

    def cause(self, *, steer: bool = False, message: bool = False) -> InterruptCause | None:
        """Return what interrupts the running or next step, if anything. steer: steering messages count. message: every
        message counts."""
        if self._stopped.is_set():
            return "shutdown"
        if not self._inbox:
            return None
        causes = [item.input.interrupts for item in self._inbox]
        for cause in ("stop", "cancel", "pause"):
            if cause in causes:
                return cause
        if "rollback" in causes and not self.detached:
            return "rollback"
        if steer and "steer" in causes:
            return "steer"
        return "message" if message and not {"steer", "message"}.isdisjoint(causes) else None

    async def interruptible(self, work: Callable[[], Awaitable[T]], *, steer: bool, message: bool = False) -> T:
        """Await `work()` until an interrupting input or the turn's time limit cuts it off. steer: steering messages cut
        too. message: every message cuts. Raises `Interrupted`."""
        self._check_lease()
        cause = self.cause(steer=steer, message=message)
        if cause is not None:
            raise Interrupted(cause)
        if not self.detached and self.clock.late:
            raise Interrupted("deadline")
        scope = Scope()
        self._scope, self._steerable, self._yields = scope, steer, message
        try:
            return await work()
        except asyncio.CancelledError:
            if not scope.leave():
                raise
            raise Interrupted(self.cause(steer=steer, message=message) or "deadline") from None
        finally:
            scope.leave()
            self._scope, self._steerable, self._yields = None, False, False

    def _cuts(self, cause: InterruptCause | None) -> bool:
        match cause:
            case None:
                return False
            case "steer":
                return self._steerable or self._yields
            case "message":
                return self._yields
            case "rollback":
                return not self.detached
            case _:
                return True

    def cut(self) -> None:
        """Cut off the running step, if one can be."""
        if self._scope is not None:
            self._scope.cut()
