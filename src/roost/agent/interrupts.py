"""What interrupts the running step of a session: an input, the turn's time limit, or a shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from roost.agent.inbox import Inbox
from roost.agent.log_buffer import LogBuffer
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

    held: whether the node holds the lease; no step begins without it. woken: set when there may be work. stopped: set
    once the session shuts down. `clock` is that of the open turn. Any callback of the event loop may call `offer`,
    `shut_down`, `fence` and `cut`."""

    clock: Clock

    def __init__(
        self,
        inbox: Inbox,
        log: LogBuffer,
        held: Callable[[], bool],
        *,
        woken: asyncio.Event,
        stopped: asyncio.Event,
    ) -> None:
        self._inbox, self._log, self._held, self._woken, self._stopped = inbox, log, held, woken, stopped
        self._scope: Scope | None = None
        self._steerable = self._yields = False
        self.detached = False
        """True while work outside a turn runs: it has its own deadline, and a rollback does not interrupt it."""

    @property
    def stopping(self) -> bool:
        return self._stopped.is_set()

    def offer(self, items: Sequence[InboxItem]) -> None:
        """Add committed inputs to the inbox and interrupt the running step if one of them demands it."""
        for item in items:
            if self._inbox.offer(item) and self._cuts(item.input.interrupts):
                self.cut()
        self._woken.set()

    def shut_down(self, *, cut: bool) -> None:
        """Stop after the running step. cut: interrupt it instead, and leave it open as a crash would."""
        self._stopped.set()
        if cut:
            self.cut()
        self._woken.set()

    def fence(self) -> None:
        """Interrupt the running step and refuse all further writes: another node owns the session, or may own it."""
        self._log.fence()
        self.shut_down(cut=True)

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
        if not self._held():
            self.fence()
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
