"""Search a person's pattern in a stranger's text.

A catastrophic pattern holds Python's GIL while it runs, so no thread could stop it and it would block the node.
Searches therefore run in worker processes, which are reused, and killed if they take too long.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import sys
from pathlib import Path

from roost.errors import SandboxError
from roost.sandbox.background import Background
from roost.sandbox.host_process import ProcessSandbox

MOST = 8
"""Most processes. A search that waits for one spends its own time limit."""
START_SECONDS = 30.0
"""Most time in which a worker starts. It is no part of a search's limit: on a machine that is slow or busy no search
would ever have a worker."""
_SPARE = 1.0
"""Extra seconds after which a worker whose owner is dead ends itself."""


class Patterns:
    """Pool of worker processes of the sandbox `hands`: marked like its commands and ended with it. The first search
    costs about 25 ms, a later one about 0.2 ms."""

    def __init__(self, hands: ProcessSandbox) -> None:
        self._hands = hands
        self._places = asyncio.Semaphore(MOST)
        self._idle: list[Background] = []

    async def found(self, pattern: str, text: str, *, seconds: float) -> bool:
        """Whether `pattern` matches in `text`. Cancelling it ends the search. Raises `TimeoutError` after `seconds`,
        `SandboxError` if no worker can search."""
        request = _request(pattern, text, seconds)
        async with asyncio.timeout(seconds) as limit, self._places:
            while self._idle:
                if answer := await self._asked(self._idle.pop(), request):
                    return answer == b"y"
                # The worker died while idle: try the next.
            limit.reschedule(None)
            worker = await self._started()
            limit.reschedule(asyncio.get_running_loop().time() + seconds)
            if answer := await self._asked(worker, request):
                return answer == b"y"
        raise SandboxError("the process that searches for patterns was ended")

    async def _started(self) -> Background:
        """Return a worker that has answered once."""
        program = str(Path(__file__).with_name("pattern_worker.py"))
        async with asyncio.timeout(START_SECONDS):
            worker = await self._hands.spawn([sys.executable, "-I", "-S", program], cwd="/")
            if not await self._asked(worker, _request("", "", START_SECONDS)):
                raise SandboxError("the process that searches for patterns did not start")
        self._idle.remove(worker)
        return worker

    async def _asked(self, worker: Background, request: bytes) -> bytes:
        """Return the worker's reply, empty if it is dead."""
        answer = b""
        try:
            if worker.running:
                await worker.write(request)
                async with contextlib.aclosing(worker.read()) as pieces:
                    said = await anext(pieces, b"")
                    answer = said if said in (b"y", b"n") else b""
        finally:
            if answer:
                self._idle.append(worker)
            else:
                await worker.close()
        return answer


def _request(pattern: str, text: str, seconds: float) -> bytes:
    parts = [each.encode("utf-8", "surrogatepass") for each in (pattern, text)]
    return b"".join([struct.pack("!dII", seconds + _SPARE, *map(len, parts)), *parts])
