"""A running terminal: its program, its screen, who is attached and who types."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from roost.errors import Busy, Conflict, SandboxError
from roost.features.terminals.emulator import Emulator
from roost.features.terminals.queries import Stream
from roost.features.terminals.recording import Change, Output, Piece, Recording, asciicast
from roost.features.terminals.redraw import drawing, snapshot
from roost.sandbox.backend import Terminal

QUIET = 5.0
"""Seconds without output and input after which clients are told that a terminal is not active."""
LONGEST_IDLE = 86_400.0
"""Seconds without activity after which a terminal is ended although somebody is attached."""
VIEWERS = 32
"""Most people attached to a terminal."""
_WAITING = 256 * 1024
"""Bytes that may wait to be typed."""
_ANSWERS = 16 * 1024
_AT_ONCE = 4096
"""Bytes of an event of typing."""
_SLOW = 0.004
"""Seconds of emulation after which the event loop gets its turn."""
_MOST = 65536
"""Bytes of output that are cut into sequences at once, and of a message to a client."""
_LATE = 0.1
"""Seconds that the screen may be behind the output while there is much of it: what nobody sees is not drawn."""
_UNDRAWN = 1024 * 1024
"""Bytes of output that the screen may be behind. With more, the program waits."""
_TELLING = re.compile(rb"\x1b(?:[\]c]|\[[?!])")
"""Sequences that are emulated at once: titles, modes, resets."""

Record = Callable[[str, str, int], Awaitable[None]]
"""Commit what a person types: name, text, hidden bytes."""


class Opened(NamedTuple):
    """How a terminal was opened: as in `TerminalOpened`."""

    terminal: str
    command: tuple[str, ...]
    by: str
    at: float
    idle: float


class Ending(NamedTuple):
    code: int | None
    reason: str | None


class Redraw(NamedTuple):
    """What a client shows instead of output that it has missed. at: position behind it."""

    at: int
    data: bytes


class Viewer:
    """Somebody who is attached. next: number of the next piece; None: a redraw comes first. skip: bytes of that piece
    that the client has."""

    def __init__(self, name: str, scrollback: int) -> None:
        self.name, self.scrollback = name, scrollback
        self.next: int | None = None
        self.skip = 0
        self.news = asyncio.Event()


class SharedTerminal:
    """program: runs on the terminal. record: commits what people type before the program gets it. over: called when the
    program has ended. The size is that of the newest `resize`, from whomever."""

    def __init__(
        self,
        opened: Opened,
        program: Terminal,
        columns: int,
        rows: int,
        *,
        record: Record,
        over: Callable[[], None],
        position: int = 0,
        before: bytes = b"",
    ) -> None:
        self.opened = opened
        self.program = program
        self.screen = Emulator(columns, rows, self._answer)
        self.screen.feed(before)
        self.recording = Recording(columns, rows)
        self.recording.position = position
        self.keyboard: str | None = None
        self.ending: Ending | None = None
        self.active = time.time()
        self.call: str | None = None
        self.outside: str | None = None
        """Source of untrusted content in the output, if any."""
        self.line = ""
        """What people have typed since the last line end."""
        self.asked: set[str] = set()
        """Calls that read output."""
        self.sent: set[str] = set()
        """Calls that typed."""
        self.unfinished = ""
        """What the agent has typed since the last line end."""
        self._began = time.monotonic()
        self._moved = self._began
        self._seen = self._began
        """When somebody was attached last."""
        self._is_active = True
        self._record, self._over = record, over
        self._stream = Stream()
        self._undrawn = bytearray()
        self._drawing = asyncio.Lock()
        self._drew = 0.0
        self._late: asyncio.TimerHandle | None = None
        self._viewers: list[Viewer] = []
        self._news = asyncio.Event()
        self._typed: list[tuple[str, bytes, asyncio.Future[None]]] = []
        self._waiting = 0
        self._answers = bytearray()
        self._why: str | None = None
        self._detached = False
        self._suspends = False
        self._keys = asyncio.Event()
        self._typing = asyncio.create_task(self._type_on(), name=f"typing into {opened.terminal}")
        self._reading = asyncio.create_task(self._read(), name=f"terminal {opened.terminal}")
        self._watch = asyncio.get_running_loop().call_later(QUIET, self._look)

    @property
    def running(self) -> bool:
        return self.ending is None

    @property
    def viewers(self) -> list[str]:
        return [one.name for one in self._viewers]

    # Output

    async def _read(self) -> None:
        code: int | None = None
        try:
            async for data in self.program.read():
                for at in range(0, len(data), _MOST):
                    await self._take(data[at : at + _MOST])
                    await asyncio.sleep(0)
            if held := self._stream.end():
                self._show(held)
            code = await self.program.wait()
        except SandboxError as error:
            self._why = self._why or f"its sandbox ended: {error}"
        finally:
            if self._late is not None:
                self._late.cancel()
            self._end(code)

    async def _take(self, data: bytes) -> None:
        whole, shown = self._stream.take(data)
        self._undrawn += whole
        self._show(shown)
        asks = not self._stream.calm and (len(shown) != len(whole) or _TELLING.search(whole) is not None)
        now = time.monotonic()
        if asks or len(self._undrawn) >= _UNDRAWN or now - self._drew >= _LATE or self._drawing.locked():
            await self.catch_up()
        elif self._late is None:
            self._late = asyncio.get_running_loop().call_later(_LATE, self._draw_late)

    def _draw_late(self) -> None:
        self._late = None
        if self._undrawn and not self._drawing.locked():
            self._catching = asyncio.create_task(self.catch_up())

    async def catch_up(self) -> None:
        """Let the screen show all output. When this returns, it is that at `recording.position`."""
        async with self._drawing:
            title = self.screen.title
            while self._undrawn or self.screen.behind:
                self._begin()
                while True:
                    if not self.screen.proceed(_SLOW):
                        break
                    await asyncio.sleep(0)
            self._drew = time.monotonic()
            if self.screen.title != title:
                self._tell({"kind": "title", "title": self.screen.title})

    def _begin(self) -> None:
        data = bytes(self._undrawn)
        self._undrawn.clear()
        self.screen.begin(data)

    def _show(self, data: bytes) -> None:
        if data:
            self.recording.add(time.monotonic() - self._began, data)
            self._stir()
            self._wake()

    def _tell(self, event: dict[str, Any]) -> None:
        """Tell all clients something, in order with the output."""
        self.recording.note(time.monotonic() - self._began, event)
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        for viewer in self._viewers:
            viewer.news.set()

    def _end(self, code: int | None) -> None:
        self._watch.cancel()
        if self._detached or self._suspends:
            return
        self.ending = Ending(code, self._why)
        self._tell({"kind": "ended", "code": code, "reason": self._why})
        self._typing.cancel()
        self._refuse_typed()
        self._over()

    def _refuse_typed(self) -> None:
        for _, _, done in self._typed:
            _settle(done, self._gone())

    def _gone(self) -> Conflict:
        return (asleep if self._detached else ended)(self.opened.terminal)

    # Activity

    def _stir(self) -> None:
        self._moved, self.active = time.monotonic(), time.time()
        if not self._is_active:
            self._is_active = True
            self._tell({"kind": "active", "active": True})

    def _look(self) -> None:
        """Look whether nothing has happened for a while. The idle time begins anew when the last client leaves: its
        connection may only be cut."""
        now = time.monotonic()
        quiet = now - self._moved
        if quiet >= QUIET and self._is_active:
            self._is_active = False
            self._tell({"kind": "active", "active": False})
        left = LONGEST_IDLE - quiet if self._viewers else self.opened.idle - (now - max(self._moved, self._seen))
        if left <= 0:
            self._closing = asyncio.create_task(self.close(f"nothing happened for {quiet:.0f} s"))
            return
        self._watch = asyncio.get_running_loop().call_later(min(QUIET, max(0.05, left)), self._look)

    async def changed(self, seconds: float) -> bool:
        """Wait for output or the end. Returns False when nothing came."""
        self._news.clear()
        if not self.running:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._news.wait()
        return False

    # Clients

    def attach(self, name: str, *, after: int | None, scrollback: int) -> Viewer:
        """Attach somebody. Raises `Busy`."""
        if len(self._viewers) >= VIEWERS:
            raise Busy(f"{VIEWERS} are attached to terminal {self.opened.terminal}", code="too_many_streams")
        viewer = Viewer(name, scrollback)
        if after is not None and (number := self.recording.find(after)) is not None:
            viewer.next = number
            piece = None if number == self.recording.end else self.recording.pieces[number - self.recording.first]
            viewer.skip = after - piece.at if isinstance(piece, Output) else 0
        self._viewers.append(viewer)
        self._tell({"kind": "viewers", "names": self.viewers})
        return viewer

    def detach(self, viewer: Viewer) -> None:
        """Detach somebody, who gives the keyboard back if nobody else has this name. Idempotent."""
        if viewer not in self._viewers:
            return
        self._viewers.remove(viewer)
        self._seen = time.monotonic()
        if self.keyboard == viewer.name and viewer.name not in self.viewers:
            self._hand(None, viewer.name)
        self._tell({"kind": "viewers", "names": self.viewers})

    async def follow(self, viewer: Viewer) -> AsyncIterator[Redraw | Piece]:
        """Yield what a client shows, up to the end of the program. One that takes it slowly misses output and gets a
        redraw. Raises `Conflict` when the program sleeps with its sandbox."""
        record = self.recording
        while True:
            viewer.news.clear()
            if viewer.next is None or viewer.next < record.first:
                await self.catch_up()
                viewer.next, viewer.skip, at = record.end, 0, record.position
                shown = snapshot(self.screen, viewer.scrollback)
                yield Redraw(at, await asyncio.to_thread(drawing, shown, viewer.scrollback))
            while record.first <= viewer.next < record.end:
                piece = self._next_for(viewer)
                yield piece
                if isinstance(piece, Change) and piece.event["kind"] == "ended":
                    return
            if viewer.next >= record.end:
                if self._detached:
                    raise asleep(self.opened.terminal)
                if not self.running:
                    return
                await viewer.news.wait()

    def _next_for(self, viewer: Viewer) -> Piece:
        """Take the next piece for a viewer, small ones of output as one."""
        record = self.recording
        assert viewer.next is not None
        piece = record.pieces[viewer.next - record.first]
        viewer.next += 1
        if not isinstance(piece, Output):
            return piece
        parts, size = [piece.data[viewer.skip :]], len(piece.data)
        at, viewer.skip = piece.at + viewer.skip, 0
        while viewer.next < record.end and size < _MOST:
            more = record.pieces[viewer.next - record.first]
            if not isinstance(more, Output):
                break
            parts.append(more.data)
            size += len(more.data)
            viewer.next += 1
        return Output(at, piece.time, b"".join(parts))

    # Typing

    async def type(self, by: str, data: bytes) -> None:
        """Type for a person. Returns once what is typed is in the log. Raises `Conflict`, `Busy`."""
        self.check_keyboard(by)
        if self._waiting + len(data) > _WAITING:
            raise Busy("the program reads nothing: too much waits to be typed", code="terminal_busy")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._typed.append((by, data, done))
        self._waiting += len(data)
        self._keys.set()
        await asyncio.shield(done)

    async def type_for_agent(self, data: bytes) -> None:
        """Type for the agent, whose call is in the log. Raises `Conflict`."""
        self.check_keyboard("agent")
        self._stir()
        await self.program.write(data)

    def check_keyboard(self, by: str) -> None:
        """Raises `Conflict` if the terminal has ended or sleeps, or another one holds the keyboard."""
        if not self.running or self._detached:
            raise self._gone()
        if self.keyboard not in (None, by):
            raise Conflict(f"{self.keyboard} holds the keyboard of {self.opened.terminal}", code="keyboard_held")

    def take_keyboard(self, by: str, *, force: bool) -> None:
        """Raises `Conflict`."""
        if not self.running or self._detached:
            raise self._gone()
        if not force:
            self.check_keyboard(by)
        self._hand(by, by)

    def release_keyboard(self, by: str, *, force: bool) -> None:
        """Raises `Conflict`."""
        if self.keyboard is not None and not force:
            self.check_keyboard(by)
        self._hand(None, by)

    def _hand(self, holder: str | None, by: str) -> None:
        if holder != self.keyboard:
            self.keyboard = holder
            self._tell({"kind": "keyboard", "holder": holder, "by": by})

    async def resize(self, columns: int, rows: int) -> None:
        """Raises `Conflict` while the program sleeps."""
        await self.catch_up()
        if self._detached:
            raise self._gone()
        if self.running and (columns, rows) != (self.screen.columns, self.screen.rows):
            self.screen.resize(columns, rows)
            self._tell({"kind": "size", "columns": columns, "rows": rows})
            with contextlib.suppress(SandboxError):
                await self.program.resize(columns, rows)

    def _answer(self, data: bytes) -> None:
        if len(self._answers) + len(data) <= _ANSWERS:  # a program that asks and never reads loses answers
            self._answers += data
            self._keys.set()

    async def _type_on(self) -> None:
        """Give the program what was typed, once it is in the log, and what the terminal answers."""
        while True:
            await self._keys.wait()
            self._keys.clear()
            with contextlib.suppress(SandboxError):
                await self._answer_on()
                while self._typed:
                    await self._type_next()
                    await self._answer_on()

    async def _answer_on(self) -> None:
        if self._answers:
            answers, self._answers = bytes(self._answers), bytearray()
            await self.program.write(answers)

    async def _type_next(self) -> None:
        by, data, done = self._typed.pop(0)
        waiting = [done]
        while self._typed and self._typed[0][0] == by and len(data) + len(self._typed[0][1]) <= _AT_ONCE:
            _, more, also = self._typed.pop(0)
            data += more
            waiting.append(also)
        try:
            for start in range(0, len(data), _AT_ONCE):
                part = data[start : start + _AT_ONCE]
                hidden = await self.program.hides_input()
                text = "" if hidden else part.decode("utf-8", "replace")
                await self._record(by, text, len(part) if hidden else 0)
                self._stir()
                if start + _AT_ONCE >= len(data):
                    for each in waiting:
                        _settle(each)
                await self.program.write(part)
        except BaseException as error:
            for each in waiting:
                _settle(each, error if isinstance(error, Exception) else self._gone())
            if not isinstance(error, Exception):
                raise
        finally:
            self._waiting -= len(data)

    # The end

    async def close(self, reason: str | None) -> None:
        """End the program and all that it started. Returns once it has ended."""
        if self.running:
            self._why, self._suspends = self._why or reason, False
            with contextlib.suppress(SandboxError):
                await self.program.close()
            await asyncio.wait([self._reading])
            if self.running:  # the connection to it ended while its sandbox was to be suspended
                self._end(None)

    def suspends(self) -> None:
        """Prepare for the suspension of the sandbox, which ends the connection to the program and not the program.
        `detach_program` follows, or `close` if the suspension fails."""
        self._suspends = True

    async def detach_program(self) -> None:
        """Leave the program to its suspended sandbox. Clients are told, and attach again once it is resumed."""
        self._detached = True
        self._watch.cancel()
        self._typing.cancel()
        self._reading.cancel()
        await asyncio.wait([self._typing, self._reading])
        self._refuse_typed()
        self._wake()

    async def cast(self) -> str:
        """Return the newest output as asciicast v2."""
        kept, title = self.recording.copy(), " ".join(self.opened.command)[:80]
        return await asyncio.to_thread(asciicast, kept, began=self.opened.at, title=title)


def ended(terminal: str) -> Conflict:
    return Conflict(f"terminal {terminal} has ended", code="terminal_ended")


def asleep(terminal: str) -> Conflict:
    return Conflict(f"terminal {terminal} sleeps: resume the session's sandbox first", code="terminal_asleep")


def _settle(done: asyncio.Future[None], error: Exception | None = None) -> None:
    if not done.done():
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
            done.exception()
