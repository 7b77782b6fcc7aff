"""What reaches the thread that draws: frames of the session, and results of work done in another thread."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from roost.cli.event_queue import EventQueue, Item

T = TypeVar("T")


class Waker:
    """A pipe that ends a `select`. `wake` may be called in any thread and in signal handlers."""

    def __init__(self) -> None:
        self.source, self._target = os.pipe()
        for end in (self.source, self._target):
            os.set_blocking(end, False)

    @property
    def target(self) -> int:
        return self._target

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: nobody sleeps
            os.write(self._target, b"x")

    def rest(self) -> None:
        """Forget the wakes so far."""
        with contextlib.suppress(OSError):
            os.read(self.source, 4096)

    def close(self) -> None:
        os.close(self.source)
        os.close(self._target)


class Inbox(EventQueue):
    """The frames of one session; each wakes the thread that draws."""

    def __init__(self, waker: Waker) -> None:
        super().__init__()
        self._waker = waker

    @property
    def empty(self) -> bool:
        return self.waiting == 0

    def put(self, item: Item) -> None:
        super().put(item)
        self._waker.wake()

    def put_patiently(self, item: Item) -> None:
        self.wait_for_room()
        self.put(item)


class Worker:
    """A thread that does one piece of work after the other. Its results are handled by `finish`, in the thread that
    draws."""

    def __init__(self, waker: Waker, failed: Callable[[Exception], None]) -> None:
        self._waker, self._failed = waker, failed
        self._work: queue.SimpleQueue[Callable[[], Callable[[], None]] | None] = queue.SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._thread = threading.Thread(target=self._run, name="roost-terminal", daemon=True)
        self._thread.start()

    def do(
        self,
        work: Callable[[], T],
        then: Callable[[T], object] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Do `work` in the thread; then call `then` with its result, or `failed`, by default that of the worker."""
        self._work.put(self._step(work, then, failed))

    def beside(
        self,
        work: Callable[[], T],
        then: Callable[[T], object] | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Do `work` as `do` does, in a thread of its own: what takes long holds nothing else up."""
        step = self._step(work, then, failed)
        threading.Thread(target=lambda: self.tell(step()), name="roost-beside", daemon=True).start()

    def _step(
        self,
        work: Callable[[], T],
        then: Callable[[T], object] | None,
        failed: Callable[[Exception], None] | None,
    ) -> Callable[[], Callable[[], None]]:
        """Return what does the work, and returns what handles its result."""

        def step() -> Callable[[], None]:
            try:
                result = work()
            except Exception as problem:  # the person sees it: `failed` says what went wrong
                error = problem
                return lambda: (failed or self._failed)(error)
            return lambda: None if then is None else _drop(then(result))

        return step

    def tell(self, call: Callable[[], None]) -> None:
        """Have the thread that draws call this. May be called in any thread."""
        self._done.append(call)
        self._waker.wake()

    def finish(self) -> bool:
        """Handle the results so far. Returns whether there were any."""
        found = bool(self._done)
        while self._done:
            self._done.popleft()()
        return found

    def close(self, timeout: float) -> None:
        """End the thread after the work that it has, or leave it behind after `timeout` seconds."""
        self._work.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        while (step := self._work.get()) is not None:
            self.tell(step())


def _drop(_: object) -> None:
    """Ignore a result."""
