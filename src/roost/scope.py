"""Deadlines and cuts for what a task awaits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Generator
from types import CoroutineType, coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Scope:
    """A cheaper `asyncio.timeout` that can also be triggered: after `seconds`, or when `cut` is called, the task that
    created the scope is cancelled, once. The task calls `leave` at the end::

        scope = Scope(5.0)
        try:
            return await work()
        except asyncio.CancelledError:
            if scope.leave():
                ...  # the scope cancelled the task, and no other caller did
            raise
        finally:
            scope.leave()
    """

    __slots__ = ("_before", "_cancelled", "_cutting", "_handle", "_task")

    def __init__(self, seconds: float | None = None) -> None:
        task = asyncio.current_task()
        assert task is not None, "a scope belongs to a task"
        self._task = task
        self._before = task.cancelling()
        self._cutting = self._cancelled = False
        self._handle: asyncio.Handle | None = None
        if seconds is not None:
            self._handle = task.get_loop().call_later(seconds, self._cancel)

    def cut(self) -> None:
        """Cancel the task in the next pass of the loop; never during a step of the task itself, which may be
        leaving."""
        if not self._cutting:
            self._cutting = True
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._task.get_loop().call_soon(self._cancel)

    def leave(self) -> bool:
        """End the scope. Returns whether the caught cancellation came from the scope alone."""
        if self._handle is None:
            return False
        self._handle.cancel()
        self._handle = None
        return self._cancelled and self._task.uncancel() <= self._before

    def _cancel(self) -> None:
        self._cutting = self._cancelled = True
        self._task.cancel()


class Allowed:
    """A deadline of `seconds` for one piece of work. Its scope is created when the work first suspends: work that never
    suspends, such as many tools, pays for no timer, and no timer could cancel it::

        allowed = Allowed(5.0)
        try:
            return await allowed.over(work())
        except asyncio.CancelledError:
            if allowed.leave():
                ...  # the deadline passed
            raise
        finally:
            allowed.leave()
    """

    __slots__ = ("_scope", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._scope: Scope | None = None

    @coroutine
    def over(self, work: Awaitable[T]) -> Generator[Any, Any, T]:
        began = time.monotonic()
        steps = (work if isinstance(work, CoroutineType) else _awaited(work)).__await__()
        try:
            paused = next(steps)
            self._scope = Scope(max(0.0, self._seconds - (time.monotonic() - began)))
            while True:
                try:
                    sent = yield paused
                except BaseException as error:
                    paused = steps.throw(error)
                else:
                    paused = steps.send(sent)
        except StopIteration as end:
            return end.value

    def leave(self) -> bool:
        """As `Scope.leave`."""
        return self._scope is not None and self._scope.leave()


async def _awaited(work: Awaitable[T]) -> T:
    return await work
