"""Call the user's functions, which may block, from the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

A = TypeVar("A")
MOST = 64
"""Most threads for plain functions at once. A hanging function keeps its thread."""
_places = threading.BoundedSemaphore(MOST)


async def call(function: Callable[[A], Any], argument: A) -> object:
    """Return or raise what the function does. A plain function runs in a daemon thread; after a cancellation neither
    the caller nor the end of the process waits for it. Raises `RuntimeError` if too many functions hang, or if one
    tries to end the process."""
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
        except Exception as error:  # foreign code: raised to the caller
            failure = error if not isinstance(error, StopIteration) else RuntimeError("it raised StopIteration")
        except BaseException as error:  # such as SystemExit, which a hook must not raise
            failure = RuntimeError(f"it raised {type(error).__name__}")
        finally:
            _places.release()
        with contextlib.suppress(RuntimeError):  # the loop is closed: no caller is left
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
