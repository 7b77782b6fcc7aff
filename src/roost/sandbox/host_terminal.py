"""A level 0 program on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import os

from roost.sandbox.background import Background
from roost.sandbox.pseudo_terminal import PseudoTerminal


class HostTerminal(Background):
    """A `roost.sandbox.backend.Terminal` of this machine. The program waits while its output is not read."""

    def __init__(self, pty: PseudoTerminal) -> None:
        super().__init__(-1, lossless=True)
        self._pty = pty
        self._writing = asyncio.Lock()

    async def write(self, data: bytes) -> None:
        """Type. Waits while the program reads nothing; what is typed after its end is dropped."""
        async with self._writing:
            rest = memoryview(data)
            while rest and self.running and self._pty.ours >= 0:
                try:
                    rest = rest[os.write(self._pty.ours, rest) :]
                except BlockingIOError:
                    await self._writable()
                except OSError:  # the program has ended
                    return

    async def resize(self, columns: int, rows: int) -> None:
        with contextlib.suppress(OSError):
            self._pty.resize(columns, rows)

    async def hides_input(self) -> bool:
        return self._pty.hides_input()

    async def _writable(self) -> None:
        """Wait until the terminal takes input, or the program ends."""
        free: asyncio.Future[None] = self._loop.create_future()
        fd = self._pty.ours
        self._loop.add_writer(fd, lambda: free.done() or free.set_result(None))
        try:
            await asyncio.wait([free, self._done], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._loop.remove_writer(fd)
            free.cancel()

    def _hang_up(self) -> None:
        if self._pty.ours >= 0:
            self._loop.remove_writer(self._pty.ours)
        self._pty.close_ours()
