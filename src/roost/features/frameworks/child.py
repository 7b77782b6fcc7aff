"""An agent's program in the session's sandbox: start it, and exchange lines with it for as many runs as it can do."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from roost.errors import SandboxError
from roost.features.coding_agents.process import ProgramFailed
from roost.features.frameworks import protocol
from roost.features.frameworks.protocol import Hello, Log, Ready, RunOver, Said
from roost.sandbox.backend import Terminal

STARTS = 180.0
"""Seconds until the program has imported its framework and its agent."""
ENDS = 5.0
"""Seconds that the copy of a run may take to end, once it has said its result."""
_WORDS = 20
_GREETINGS = 4
_SHOWN = 1200


class Place(Protocol):
    """The part of a session's sandbox that runs programs."""

    async def spawn(
        self, argv: Sequence[str], *, cwd: str, env: Mapping[str, str] | None = None, lossless: bool = False
    ) -> Terminal: ...


class Child:
    """An agent's program. Its runs follow each other, each in a copy of the program (`begin`). A program that cannot
    copy itself does one run."""

    def __init__(self) -> None:
        self._hear: Callable[[Said], None] | None = None
        self._changed: Callable[[], None] = lambda: None
        self._words: deque[str] = deque(maxlen=_WORDS)
        self._terminal: Terminal | None = None
        self._reading: asyncio.Task[None] | None = None
        self._greeting: asyncio.Queue[Said | None] = asyncio.Queue()
        self._sending = asyncio.Lock()
        self._run_over = asyncio.Event()
        self._forks = self._ran = False
        self.code: int | None = None

    @property
    def over(self) -> bool:
        """Whether it can say nothing more of the newest run."""
        return self.gone or (self._ran and self._run_over.is_set())

    @property
    def rests(self) -> bool:
        """Whether the program is there and has said nothing since its run: what a run leaves behind could speak for the
        next one."""
        return not self.gone and self._greeting.empty()

    @property
    def gone(self) -> bool:
        """Whether the program has ended."""
        return self._reading is None or self._reading.done()

    async def start(self, place: Place, argv: list[str], cwd: str, env: Mapping[str, str]) -> None:
        """Start it, and wait until it has imported its framework. Raises `ProgramFailed`."""
        try:
            self._terminal = await place.spawn(argv, cwd=cwd, env=env, lossless=True)
        except SandboxError as error:
            raise ProgramFailed("program_failed", f"the agent cannot be started: {error}") from error
        self._reading = asyncio.create_task(self._read(self._terminal))
        hello = await self._next()
        if not isinstance(hello, Hello) or protocol.VERSION not in hello.v:
            raise ProgramFailed("program_failed", "the agent's program speaks another protocol")
        self._forks = hello.forks

    async def begin(
        self, hear: Callable[[Said], None], changed: Callable[[], None], welcome: Mapping[str, Any]
    ) -> Ready:
        """Begin a run, and return what it says when it is ready. hear: called with what it says then. changed: called
        when the run or the program has ended. Raises `ProgramFailed`."""
        self._changed, self._ran, self.code = changed, True, None
        self._run_over.clear()
        await self.send({"type": "welcome", "v": protocol.VERSION, **welcome})
        ready = await self._next()
        if not isinstance(ready, Ready):
            raise ProgramFailed("program_failed", "the agent's program speaks another protocol")
        self._hear = hear
        while not self._greeting.empty():  # what came in one piece with it, such as the end of the run
            if (late := self._greeting.get_nowait()) is not None:
                self._tell(late, hear)
        return ready

    async def rest(self) -> bool:
        """Wait for the end of a run that is done. Returns whether the program can do another one."""
        if self.gone or not self._forks:
            return False
        try:
            async with asyncio.timeout(ENDS):
                await self._run_over.wait()
        except TimeoutError:
            return False
        self._hear, self._changed = None, lambda: None
        return self.rests

    async def send(self, message: Mapping[str, Any]) -> None:
        """Say something to it; lost if it has ended."""
        terminal = self._terminal
        if terminal is not None:
            async with self._sending:
                with contextlib.suppress(SandboxError, OSError):
                    await terminal.write(protocol.encode(message) + b"\n")

    async def close(self) -> None:
        """Kill it with everything that it started, if it runs."""
        terminal, self._terminal = self._terminal, None
        if terminal is not None:
            with contextlib.suppress(SandboxError):
                await terminal.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def problem(self) -> ProgramFailed:
        """Return why it ended."""
        said = " ".join(" ".join(self._words).split())[-_SHOWN:]
        code = self.code if self.code is not None else 0
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        return ProgramFailed(
            "program_failed", f"the agent's program ended with {ended}" + (f": {said}" if said else "")
        )

    async def _next(self) -> Said:
        try:
            async with asyncio.timeout(STARTS):
                found = await self._greeting.get()
        except TimeoutError:
            raise ProgramFailed("program_silent", f"the agent was not ready after {STARTS:g} seconds") from None
        if found is None or isinstance(found, RunOver):
            raise self.problem()
        if isinstance(found, protocol.TurnFailed):
            raise ProgramFailed("program_failed", found.message)
        return found

    async def _read(self, terminal: Terminal) -> None:
        held = bytearray()
        try:
            async for piece in terminal.read():
                held += piece
                if b"\n" in piece:
                    *lines, rest = held.split(b"\n")
                    held = bytearray(rest)
                    for line in lines:
                        self._take(bytes(line))
                    await asyncio.sleep(0)
                if len(held) > protocol.LINE_BYTES:
                    self._words.append("it said a line that is too long")
                    break
            self._take(bytes(held))
            self.code = await terminal.wait() if len(held) <= protocol.LINE_BYTES else 1
        except SandboxError as error:
            self._words.append(f"its sandbox has ended: {error}")
        finally:
            self._greeting.put_nowait(None)
            self._run_over.set()
            asyncio.get_running_loop().call_soon(self._changed)

    def _take(self, line: bytes) -> None:
        if line.lstrip()[:1] != b"{":
            if line.strip():
                self._words.append(line.decode("utf-8", "replace")[:_SHOWN])
            return
        try:
            said = protocol.decode(line)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            self._words.append(line.decode("utf-8", "replace")[:_SHOWN])
            return
        if isinstance(said, Log):
            self._words.extend(text[:_SHOWN] for text in said.text.splitlines()[-_WORDS:])
        elif self._hear is None:
            if self._greeting.qsize() < _GREETINGS:  # what nobody waits for: one is enough to know it
                self._greeting.put_nowait(said)
        else:
            self._tell(said, self._hear)

    def _tell(self, said: Said, hear: Callable[[Said], None]) -> None:
        if isinstance(said, RunOver):
            self.code = said.code
            self._run_over.set()
            self._changed()
        else:
            hear(said)
