"""Lives of a worker: a process that has imported what takes long forks one for each order, and says how it ended."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class Lives:
    """The worker as its test sees it: a module that calls `serve`. It ends with the stack."""

    def __init__(self, module: str, stack: ExitStack) -> None:
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = stack.enter_context(subprocess.Popen([sys.executable, "-m", module], **pipes))
        stack.callback(self._process.kill)

    def begin(self, life: object) -> dict[str, int]:
        """Return what it says once it is at work."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(life) + b"\n")
        self._process.stdin.flush()
        return self._told()

    def end(self) -> int:
        """Return how it ended: 0, or the signal that killed it."""
        return self._told()["status"]

    def _told(self) -> dict[str, int]:
        assert self._process.stdout is not None
        return msgspec.json.decode(self._process.stdout.readline())


def tell(said: dict[str, int | None]) -> None:
    os.write(1, msgspec.json.encode(said) + b"\n")


def serve(shape: type[T], live: Callable[[T], Coroutine[Any, Any, None]]) -> None:
    for library in ("aiohttp", "asyncpg", "roost.stores.postgres", "roost.stores.sqlite"):
        importlib.import_module(library)
    for line in sys.stdin:
        life = msgspec.json.decode(line, type=shape)
        pid = os.fork()
        if pid == 0:
            asyncio.run(live(life))
            os._exit(0)
        tell({"status": os.waitpid(pid, 0)[1]})
