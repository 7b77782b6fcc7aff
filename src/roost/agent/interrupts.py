"""What interrupts the running step of a session: an input, the turn's time limit, or a shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from roost.agent.inbox import Inbox
from roost.agent.log_buffer import LogBuffer
from roost.agent.turn_clock import Clock
from roost.log.inputs import ControlInput, Input, InterruptCause
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
    once the session shuts down. turn: returns the input that began the open turn. `clock` is that of the open turn. Any
    callback of the event loop may call `offer`, `shut_down`, `fence` and `cut`."""

    clock: Clock

    def __init__(
        self,
        inbox: Inbox,
        log: LogBuffer,
        held: Callable[[], bool],
        *,
        turn: Callable[[], int | None],
        woken: asyncio.Event,
        stopped: asyncio.Event,
    ) -> None:
        self._inbox, self._log, self._held, self._woken, self._stopped = inbox, log, held, woken, stopped
        self._turn = turn
        self._scope: Scope | None = None
        self._steerable = self._yields = False
        self._yields_to: tuple[type[Input], ...] = ()
        self.detached = False
        """True while work outside a turn runs: neither the turn's time limit nor a rollback interrupts it."""

    @property
    def stopping(self) -> bool:
        return self._stopped.is_set()

    def offer(self, items: Sequence[InboxItem]) -> None:
        """Add committed inputs to the inbox and interrupt the running step if one of them demands it."""
        for item in items:
            if not self._inbox.offer(item):
                continue
            if isinstance(item.input, self._yields_to) or self._cuts(self._cause_of(item.input)):
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

    def cause(
        self, *, steer: bool = False, message: bool = False, kinds: tuple[type[Input], ...] = ()
    ) -> InterruptCause | None:
        """Return what interrupts the running or next step, if anything. steer: steering messages count. message: every
        message counts. kinds: inputs of these kinds count as messages."""
        if self._stopped.is_set():
            return "shutdown"
        if not self._inbox.items:
            return None
        causes = [self._cause_of(item.input) for item in self._inbox.items]
        for cause in ("stop", "cancel", "pause"):
            if cause in causes:
                return cause
        if "rollback" in causes and not self.detached:
            return "rollback"
        if steer and "steer" in causes:
            return "steer"
        if message and not {"steer", "message"}.isdisjoint(causes):
            return "message"
        return "message" if any(isinstance(item.input, kinds) for item in self._inbox.items) else None

    async def interruptible(
        self,
        work: Callable[[], Awaitable[T]],
        *,
        steer: bool,
        message: bool = False,
        kinds: tuple[type[Input], ...] = (),
    ) -> T:
        """Await `work()` until an interrupting input or the turn's time limit cuts it off. steer: steering messages cut
        too. message: every message cuts. kinds: inputs of these kinds cut, such as one that makes the work pointless.
        Raises `Interrupted`."""
        if not self._held():
            self.fence()
        cause = self.cause(steer=steer, message=message, kinds=kinds)
        if cause is not None:
            raise Interrupted(cause)
        if not self.detached and self.clock.late:
            raise Interrupted("deadline")
        scope = Scope()
        self._scope, self._steerable, self._yields, self._yields_to = scope, steer, message, kinds
        try:
            return await work()
        except asyncio.CancelledError:
            if not scope.leave():
                raise
            raise Interrupted(self.cause(steer=steer, message=message, kinds=kinds) or "deadline") from None
        finally:
            scope.leave()
            self._scope, self._steerable, self._yields, self._yields_to = None, False, False, ()

    def _cause_of(self, order: Input) -> InterruptCause | None:
        """Return what an input interrupts the running step as; None for the cancel of another turn."""
        if isinstance(order, ControlInput) and order.input is not None and order.input != self._turn():
            return None
        return order.interrupts

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

    def time_is_up(self) -> None:
        """Cut off the running step, if it is the turn's."""
        if not self.detached:
            self.cut()

    def cut(self) -> None:
        """Cut off the running step, if one can be."""
        if self._scope is not None:
            self._scope.cut()
