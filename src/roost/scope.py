"""Cutting off what a task awaits."""

from __future__ import annotations

import asyncio


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
