"""Calling functions of the user's, which may block, from the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

A = TypeVar("A")
MOST = 64
"""Threads of plain functions at once. Those that hang for ever keep theirs."""
_places = threading.BoundedSemaphore(MOST)


async def call(function: Callable[[A], Any], argument: A) -> object:
    """What it returns, or what it raises. A plain function runs in a thread, which nobody waits for once the caller is
    cancelled: not even the end of the process. Raises `RuntimeError` when too many hang already, and for one that
    would end the process."""
    try:
        found = await function(argument) if inspect.iscoroutinefunction(function) else await _apart(function, argument)
        return await found if inspect.isawaitable(found) else found
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"it raised {type(error).__name__}") from error


async def _apart(function: Callable[[A], Any], argument: A) -> object:
    if not _places.acquire(blocking=False):
        raise RuntimeError(f"{MOST} functions run already, or hang")
    loop = asyncio.get_running_loop()
    future: asyncio.Future[object] = loop.create_future()

    def work() -> None:
        result: object = None
        failure: Exception | None = None
        try:
            result = function(argument)
        except Exception as error:  # foreign code: handed to who asked
            failure = error if not isinstance(error, StopIteration) else RuntimeError("it raised StopIteration")
        except BaseException as error:  # such as SystemExit, which is not for a hook to raise
            failure = RuntimeError(f"it raised {type(error).__name__}")
        finally:
            _places.release()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody asks any more
            loop.call_soon_threadsafe(_settle, future, result, failure)

    threading.Thread(target=work, name="policy", daemon=True).start()
    return await future


def _settle(future: asyncio.Future[object], result: object, failure: Exception | None) -> None:
    if future.done():
        return
    if failure is not None:
        future.set_exception(failure)
    else:
        future.set_result(result)
