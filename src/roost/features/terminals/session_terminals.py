"""The terminals of one session while it is awake. The log knows each before its program starts."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Protocol, runtime_checkable

from roost.agent.feature import consider
from roost.agent.session import Session
from roost.errors import Conflict, Forbidden, SandboxError
from roost.features.snapshots.workspace_saving import restore_files
from roost.features.terminals.events import OpenTerminalInput, TerminalEnded, TerminalOpened, TerminalTyped
from roost.features.terminals.recording import packed
from roost.features.terminals.room import NodeTerminals
from roost.features.terminals.shared_terminal import Opened, SharedTerminal, ended
from roost.features.terminals.state import TerminalsState
from roost.policy.touched_paths import command
from roost.sandbox.backend import Terminal

MOST = 4
"""Most running terminals of a session."""
KEPT = 4
"""Ended terminals whose screen can still be read."""
IDLE = 3600.0
"""Seconds without activity and without anybody attached after which a terminal is ended."""
_LINE = 4096
_ENDS = re.compile(r"[\r\n]")
LOST = "the daemon ended, or lost the session, while it ran"
ASLEEP = "its daemon stopped, or the session moved"
STOPPED = "the session was stopped"


@runtime_checkable
class OpensTerminals(Protocol):
    """The part of a sandbox that terminals need."""

    async def open_terminal(self, argv: Sequence[str], *, cwd: str, columns: int = 80, rows: int = 24) -> Terminal: ...


class SessionTerminals:
    """all: by id, the running ones and the newest that have ended. pending: opened in the log, and not started yet."""

    def __init__(self, session: Session) -> None:
        self.all: dict[str, SharedTerminal] = {}
        self.pending: list[tuple[OpenTerminalInput, str | None]] = []
        self.leaving = False
        """The session goes to sleep, and opens nothing."""
        self._session = session
        self._starting: set[str] = set()
        self._none_starts = asyncio.Event()
        self._none_starts.set()
        self.account = session.means.account
        self._room = session.means.find(NodeTerminals)
        if self._room is not None:
            self._room.add(self)

    @property
    def count(self) -> int:
        """Number of those that run, or are about to."""
        return len(self.running) + len(self.pending) + len(self._starting)

    @property
    def running(self) -> list[SharedTerminal]:
        return [one for one in self.all.values() if one.running]

    @property
    def active(self) -> bool:
        """Whether a program runs, or is about to."""
        return self.count > 0

    @property
    def due(self) -> bool:
        """Whether the log must learn something, or a program is to start."""
        open = self._session.state.part(TerminalsState).open
        return bool(self.pending) or any(not one.running and key in open for key, one in self.all.items())

    def get(self, terminal: str) -> SharedTerminal:
        """Return a running terminal. Raises `Conflict`."""
        found = self.all.get(terminal)
        if found is None and terminal in self._session.state.part(TerminalsState).open:
            raise between(terminal)
        if found is None or not found.running:
            raise ended(terminal)
        return found

    def admit(self, order: OpenTerminalInput) -> None:
        """Raise `Conflict`, or `Forbidden` where the sandbox does not isolate and must."""
        if self.leaving or not isinstance(self._session.means.sandbox, OpensTerminals):
            raise Conflict("this session opens no terminals now", code="terminal_failed")
        if self.count >= MOST:
            raise Conflict(f"{MOST} terminals are open in this session: end one first", code="too_many_terminals")
        if self._room is not None:
            self._room.check(self.account)
        if order.walled and self._session.means.sandbox.level < 1:
            raise Forbidden(NEEDS_SANDBOX, code="terminal_needs_sandbox")

    def note(self, order: OpenTerminalInput, *, call: str | None = None, consume: int | None = None) -> None:
        """Note the intent. `start` or `reconcile` starts the program."""
        opened = TerminalOpened(
            at=time.time(),
            terminal=order.terminal,
            command=order.command,
            columns=order.columns,
            rows=order.rows,
            by=order.by,
            idle=order.idle,
            call=call,
        )
        self._session.log.note(opened, consume=consume)

    def refuse(self, order: OpenTerminalInput, reason: str, item: int) -> None:
        """Note that an order of the inbox opens nothing."""
        self.note(order, consume=item)
        self._note_end(order.terminal, None, reason, "")

    async def open(self, order: OpenTerminalInput, *, call: str | None = None) -> SharedTerminal:
        """Open a terminal now. Raises `Conflict`, `Forbidden`, `SandboxError`."""
        self.admit(order)
        with self._starts(order.terminal):
            self.note(order, call=call)
            consider(self._session)  # the session uses terminals from now on, and does not sleep
            self._session.woken.set()
            await self._session.log.flush_shielded()
            return await self._start(order, call)

    def starts(self, terminal: str) -> bool:
        """Whether the log knows a terminal whose program is about to start."""
        return terminal in self._starting or any(order.terminal == terminal for order, _ in self.pending)

    @contextmanager
    def _starts(self, terminal: str) -> Generator[None]:
        self._starting.add(terminal)
        self._none_starts.clear()
        try:
            yield
        finally:
            self._starting.discard(terminal)
            if not self._starting:
                self._none_starts.set()

    async def _start(self, order: OpenTerminalInput, call: str | None) -> SharedTerminal:
        session = self._session
        try:
            if self.leaving:
                raise SandboxError("the session went to sleep")
            program = await self._program(order)
        except BaseException as error:
            reason = error.args[0] if isinstance(error, SandboxError) else "its start was cut off"
            self._note_end(order.terminal, None, str(reason), "")
            session.log.flush_soon()
            raise
        session.log.flush_soon()  # what the start of the sandbox has noted
        known = Opened(order.terminal, order.command, order.by, time.time(), order.idle)
        made = self.attach(known, program, order.columns, order.rows)
        made.call = call
        if order.by != "agent":
            made.outside = _source(" ".join(order.command), session)
        return made

    async def _program(self, order: OpenTerminalInput) -> Terminal:
        means = self._session.means
        assert isinstance(means.sandbox, OpensTerminals)
        if means.files is not None:
            await means.files.working()
            means.files.dirty = True
        return await means.sandbox.open_terminal(
            order.command, cwd=str(means.workspace.root), columns=order.columns, rows=order.rows
        )

    def attach(
        self, opened: Opened, program: Terminal, columns: int, rows: int, *, position: int = 0, before: bytes = b""
    ) -> SharedTerminal:
        """Take a program that runs on a terminal."""
        made = SharedTerminal(
            opened,
            program,
            columns,
            rows,
            record=partial(self._record, opened.terminal),
            over=self._over,
            position=position,
            before=before,
        )
        self.all[opened.terminal] = made
        return made

    async def reconcile(self) -> None:
        """Start what is to start, and note what has ended. Raises `StoreFailed`, `Interrupted`."""
        while self.pending:
            await restore_files(self._session)
            await self._session.log.flush()
            order, call = self.pending.pop(0)
            with self._starts(order.terminal), suppress(SandboxError):  # the log has the reason
                await self._start(order, call)
        for key in self._session.state.part(TerminalsState).open:
            if (one := self.all.get(key)) is not None and one.ending is not None:
                self._note_end(key, one.ending.code, one.ending.reason, await self._packed(one))
        over = [key for key, one in self.all.items() if not one.running]
        for key in over[:-KEPT]:
            del self.all[key]

    def lose(self) -> None:
        """Note the end of those that a former process ran."""
        for key in self._session.state.part(TerminalsState).open:
            if key not in self.all and not self.starts(key):
                self._note_end(key, None, LOST, "")

    async def end(self, reason: str) -> None:
        """End all, and note it."""
        self.leaving = True
        for order, _ in self.pending:
            self._note_end(order.terminal, None, reason, "")
        self.pending.clear()
        await self._none_starts.wait()  # soon: `leaving` is set
        await asyncio.gather(*(one.close(reason) for one in self.running))
        await self.reconcile()

    async def close(self) -> None:
        """End all programs, because the session leaves memory."""
        self.leaving = True
        await asyncio.gather(*(one.close(None) for one in self.running), return_exceptions=True)

    async def _packed(self, one: SharedTerminal) -> str:
        return await asyncio.to_thread(packed, await one.cast(), self._session.means.scrubbed)

    def _note_end(self, terminal: str, code: int | None, reason: str | None, recording: str) -> None:
        if (files := self._session.means.files) is not None:
            files.dirty = True
        self._session.log.note(
            TerminalEnded(at=time.time(), terminal=terminal, code=code, reason=reason, recording=recording)
        )

    async def _record(self, terminal: str, by: str, text: str, hidden: int) -> None:
        session = self._session
        if session.means.files is not None:
            session.means.files.dirty = True
        session.log.note(TerminalTyped(at=time.time(), terminal=terminal, by=by, text=text, hidden=hidden))
        await session.log.flush_shielded()
        if (one := self.all.get(terminal)) is not None and one.outside is None:
            lines = _ENDS.split((one.line + text)[-_LINE:])
            one.line = lines.pop()
            one.outside = next((found for line in lines if (found := _source(line, session))), None)

    def _over(self) -> None:
        self._session.woken.set()


def _source(line: str, session: Session) -> str | None:
    """Return the source of untrusted content in the output of a person's command line, as far as its words tell."""
    hosts = command(line, session.means.workspace.root).hosts
    return f"a terminal ({hosts[0]})" if hosts else None


NEEDS_SANDBOX = "an account uses terminals only where the session's sandbox isolates: its agent needs isolation level 1"


def between(terminal: str) -> Conflict:
    """What callers are told of a terminal that is about to sleep, or to be resumed."""
    return Conflict(
        f"the session of terminal {terminal} falls asleep or wakes: try again in a moment", code="terminal_waits"
    )


def new_id() -> str:
    return f"term-{secrets.token_hex(4)}"


def terminals(session: Session) -> SessionTerminals:
    """Return the terminals of a session."""
    return session.own(SessionTerminals)
