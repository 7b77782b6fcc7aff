"""Cutting off what a task awaits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Generator
from types import CoroutineType, coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Scope:
    """What `asyncio.timeout` does, at a fraction of its price, and also on demand: after `seconds`, or when `cut` is
    called, the task that made the scope is cancelled, once. The task says when it leaves::

        scope = Scope(5.0)
        try:
            return await work()
        except asyncio.CancelledError:
            if scope.leave():
                ...  # it was the cut, and not somebody's cancellation of the task
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
        """Cancel as soon as the loop turns: never inside a step of the task itself, which may be leaving."""
        if not self._cutting:
            self._cutting = True
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._task.get_loop().call_soon(self._cancel)

    def leave(self) -> bool:
        """Nothing is cut any more. Whether the cancellation that was caught is the cut's alone."""
        if self._handle is None:
            return False
        self._handle.cancel()
        self._handle = None
        return self._cancelled and self._task.uncancel() <= self._before

    def _cancel(self) -> None:
        self._cutting = self._cancelled = True
        self._task.cancel()


class Allowed:
    """So many `seconds` for one piece of work; its scope is made when the work first pauses. What never does, as many a
    tool, pays for no timer, and could not be cut off by one either::

        allowed = Allowed(5.0)
        try:
            return await allowed.over(work())
        except asyncio.CancelledError:
            if allowed.leave():
                ...  # its time was up
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
        """As of `Scope`."""
        return self._scope is not None and self._scope.leave()


async def _awaited(work: Awaitable[T]) -> T:
    return await work
