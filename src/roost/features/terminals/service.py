"""Terminals of sessions, from a running node."""

from __future__ import annotations

import asyncio
import base64 as base64_
from hashlib import blake2b
from typing import Literal

from roost.agent.session import Session
from roost.authority import ACCOUNT, current
from roost.errors import Conflict, Forbidden, Invalid, NotFound, SandboxError
from roost.features.terminals.api import (
    CellStyle,
    Cursor,
    TerminalList,
    TerminalRecording,
    TerminalsApi,
    TerminalScreen,
    TerminalView,
)
from roost.features.terminals.cells import DEFAULT_COLOUR, FLAGS, RGB, Style
from roost.features.terminals.duties import TerminalsDuties
from roost.features.terminals.events import OpenTerminalInput, TerminalEnded, TerminalOpened
from roost.features.terminals.recording import unpacked
from roost.features.terminals.redraw import above, shown_styles, snapshot
from roost.features.terminals.screen import Screen
from roost.features.terminals.session_terminals import NEEDS_SANDBOX, SessionTerminals, between, new_id, terminals
from roost.features.terminals.shared_terminal import SharedTerminal, asleep
from roost.features.terminals.state import KnownTerminal, TerminalsState
from roost.kernel.service_host import ServiceHost
from roost.log.session_info import SessionInfo
from roost.tools.shell import shell_program

_OPEN_SECONDS = 60.0
_LOOK_SECONDS = 0.02


class Terminals(TerminalsApi):
    def __init__(self, host: ServiceHost) -> None:
        self._node, self._sessions = host.node, host.sessions
        self._room = host.node.feature(TerminalsDuties).room

    async def list(self, session: str) -> TerminalList:
        """As the interface says. Raises `NotFound`."""
        info, known, own = await self._known(session)
        asleep = await self._asleep(info, own)
        return TerminalList(terminals=[self._view(info, key, one, own, asleep) for key, one in known.items()])

    async def open(
        self,
        session: str,
        *,
        command: list[str] | None = None,
        columns: int = 80,
        rows: int = 24,
        name: str | None = None,
        idle: float = 3600.0,
        key: str | None = None,
    ) -> TerminalView:
        """As the interface says. Raises `NotFound`, `Forbidden`, `Conflict`, `SandboxError`."""
        info, known, _ = await self._known(session)
        terminal = new_id() if key is None else _id_of(info.id, key)
        if terminal in known:
            return await self.get(info.id, terminal)
        words = tuple(command or (shell_program(),))
        if any("\0" in word for word in words):
            raise Invalid("command: a word has a NUL character")
        walled = current().confined
        order = OpenTerminalInput(terminal, words, columns, rows, typist(name), idle, walled)
        self._room.check(info.labels.get(ACCOUNT))
        live = self._live(info.id)
        if live is None or not self._opens_at_once(live):
            await self._order(info.id, order, key)
            return await self.get(info.id, terminal)
        try:
            await terminals(live).open(order)
        except SandboxError as error:
            if not terminals(live).leaving:
                raise Conflict(error.message, code="terminal_failed") from None
            await self._order(info.id, order, key)  # the session fell asleep meanwhile
        return await self.get(info.id, terminal)

    async def get(self, session: str, terminal: str) -> TerminalView:
        """As the interface says. Raises `NotFound`."""
        info, known, own = await self._known(session)
        if terminal not in known:
            raise NotFound(f"session {session!r} has no terminal {terminal!r}", code="unknown_terminal")
        return self._view(info, terminal, known[terminal], own, await self._asleep(info, own))

    async def _asleep(self, info: SessionInfo, own: SessionTerminals | None) -> bool:
        """Whether the session sleeps, and its sandbox with it."""
        if own is not None or info.owner is not None:
            return False
        return await asyncio.to_thread(self._node.resources.has_suspended_sandbox, info.id)

    async def screen(self, session: str, terminal: str, *, scrollback: int = 0) -> TerminalScreen:
        """As the interface says. Raises `NotFound`, `Conflict`."""
        one = await self._shown(session, terminal)
        await one.catch_up()
        return await asyncio.to_thread(_screen, snapshot(one.screen, scrollback), scrollback, one.recording.position)

    async def recording(self, session: str, terminal: str) -> TerminalRecording:
        """As the interface says. Raises `NotFound`, `Conflict`."""
        info, known, own = await self._known(session)
        if own is not None and (one := own.all.get(terminal)) is not None:
            return TerminalRecording(cast=await one.cast())
        view = await self.get(info.id, terminal)
        if view.state == "running":
            raise _elsewhere(info, terminal)
        found = await self._sessions.history(info.id, after=max(0, known[terminal].seq - 1), limit=1)
        ended = found[0].event if found else None
        recording = ended.recording if isinstance(ended, TerminalEnded) and ended.terminal == terminal else ""
        return TerminalRecording(cast=await asyncio.to_thread(unpacked, recording))

    async def type(
        self,
        session: str,
        terminal: str,
        *,
        text: str | None = None,
        base64: str | None = None,
        name: str | None = None,
    ) -> TerminalView:
        """As the interface says. Raises `NotFound`, `Forbidden`, `Conflict`, `Busy`, `Invalid`."""
        if (text is None) == (base64 is None):
            raise Invalid("give either `text` or `base64`")
        try:
            data = (text or "").encode() if base64 is None else base64_.b64decode(base64, validate=True)
        except ValueError as error:
            raise Invalid(f"this cannot be typed: {error}") from None
        one = await self._running(session, terminal)
        if current().confined and await self._level(session) < 1:
            raise Forbidden(NEEDS_SANDBOX, code="terminal_needs_sandbox")
        if data:
            await one.type(typist(name), data)
        return await self.get(session, terminal)

    async def resize(self, session: str, terminal: str, columns: int, rows: int) -> TerminalView:
        """As the interface says. Raises `NotFound`, `Conflict`."""
        await (await self._running(session, terminal)).resize(columns, rows)
        return await self.get(session, terminal)

    async def keyboard(
        self,
        session: str,
        terminal: str,
        action: Literal["take", "release"],
        *,
        force: bool = False,
        name: str | None = None,
    ) -> TerminalView:
        """As the interface says. Raises `NotFound`, `Conflict`."""
        one = await self._running(session, terminal)
        hand = one.take_keyboard if action == "take" else one.release_keyboard
        hand(typist(name), force=force)
        return await self.get(session, terminal)

    async def end(self, session: str, terminal: str) -> None:
        """As the interface says. Raises `NotFound`, `Conflict`."""
        if (await self.get(session, terminal)).state == "running":
            await (await self._running(session, terminal)).close(f"{typist(None)} ended it")

    async def attached(self, session: str, terminal: str) -> SharedTerminal:
        """Return a terminal to attach to. Raises `NotFound`, `Conflict`."""
        return await self._running(session, terminal)

    async def _known(self, session: str) -> tuple[SessionInfo, dict[str, KnownTerminal], SessionTerminals | None]:
        """Return a session's terminals as the log knows them, and those in memory if it is awake here. Raises
        `NotFound`."""
        info = await self._sessions.get(session)
        live = self._live(info.id)
        state = (await self._sessions.state(info.id))[1] if live is None else live.state
        return info, state.part(TerminalsState).terminals, None if live is None else terminals(live)

    def _live(self, session: str) -> Session | None:
        return self._node.slots.live.get(session) if self._node.slots.state(session) == "running" else None

    async def _level(self, session: str) -> int:
        live = self._live((await self._sessions.get(session)).id)
        return 0 if live is None else live.means.sandbox.level

    def _opens_at_once(self, live: Session) -> bool:
        own = terminals(live)
        files = live.means.files
        return not own.leaving and not live.interrupts.stopping and (files is None or files.ready)

    async def _running(self, session: str, terminal: str) -> SharedTerminal:
        info, known, own = await self._known(session)
        if terminal not in known:
            raise NotFound(f"session {session!r} has no terminal {terminal!r}", code="unknown_terminal")
        if own is None and known[terminal].ended is None and info.owner not in (None, self._node.id):
            raise _elsewhere(info, terminal)
        if known[terminal].ended is None and await self._asleep(info, own):
            raise asleep(terminal)
        if own is None and known[terminal].ended is None and info.owner == self._node.id:
            raise between(terminal)
        if own is None:
            raise Conflict(f"terminal {terminal} has ended", code="terminal_ended")
        deadline = asyncio.get_running_loop().time() + _OPEN_SECONDS
        while own.starts(terminal) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(_LOOK_SECONDS)
        return own.get(terminal)

    async def _shown(self, session: str, terminal: str) -> SharedTerminal:
        """Return a terminal in memory, which may have ended."""
        _, known, own = await self._known(session)
        if own is not None and terminal in known and (one := own.all.get(terminal)) is not None:
            return one
        return await self._running(session, terminal)

    async def _order(self, session: str, order: OpenTerminalInput, key: str | None) -> None:
        """Wake a session for a terminal. Raises `Conflict` when its program does not start."""
        accepted = await self._sessions.put(session, order, key=key)
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                async for record in self._sessions.tail(session, after=accepted.head):
                    if isinstance(record.event, TerminalOpened) and record.event.terminal == order.terminal:
                        break
                while (live := self._live(session)) is not None and order.terminal not in terminals(live).all:
                    if (known := live.state.part(TerminalsState).terminals.get(order.terminal)) and known.ended:
                        if known.reason == NEEDS_SANDBOX:
                            raise Forbidden(NEEDS_SANDBOX, code="terminal_needs_sandbox")
                        raise Conflict(str(known.reason), code="terminal_failed")
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise Conflict(
                "the session is busy: the terminal opens after its present step", code="terminal_waits"
            ) from None

    def _view(
        self, info: SessionInfo, terminal: str, known: KnownTerminal, own: SessionTerminals | None, asleep: bool
    ) -> TerminalView:
        one = None if own is None else own.all.get(terminal)
        ending = None if one is None else one.ending
        gone = known.ended is None and own is None and info.owner is None and not asleep
        ended = known.ended is not None or ending is not None or gone
        reason = known.reason if ending is None else ending.reason
        return TerminalView(
            terminal=terminal,
            command=[*known.command],
            by=known.by,
            state="ended" if ended else "asleep" if asleep else "running",
            code=known.code if ending is None else ending.code,
            reason="its node has stopped" if gone else reason,
            columns=known.columns if one is None else one.screen.columns,
            rows=known.rows if one is None else one.screen.rows,
            title="" if one is None else one.screen.title,
            position=0 if one is None else one.recording.position,
            keyboard=None if one is None else one.keyboard,
            viewers=[] if one is None else one.viewers,
            opened=known.opened,
            active=(known.ended or known.opened) if one is None else one.active,
        )


def typist(name: str | None) -> str:
    """Return the name under which the caller types. Raises `Invalid`."""
    if name is not None and (not name.isprintable() or name.strip() != name):
        raise Invalid("name: printable characters, without spaces around them")
    account = current().account
    if account in ("agent", "owner"):  # those names are of the session's agent, and of the home's owner
        account = f"account/{account}"
    if account is not None:
        return account if name in (None, account, current().account) else f"{account}/{name}"
    if name == "agent":
        raise Invalid("name: `agent` is the session's agent")
    return name or "owner"


def _id_of(session: str, key: str) -> str:
    return "term-" + blake2b(f"{session}\n{key}".encode(), digest_size=8).hexdigest()


def _elsewhere(info: SessionInfo, terminal: str) -> Conflict:
    return Conflict(f"terminal {terminal} runs on node {info.owner!r}: connect to that one", code="terminal_elsewhere")


def _screen(screen: Screen, scrollback: int, position: int) -> TerminalScreen:
    rows = [*above(screen, scrollback), *screen.lines]
    return TerminalScreen(
        lines=[row.text for row in rows],
        styles=[[(start, size, _style(style)) for start, size, style in shown_styles(row)] for row in rows],
        cursor=Cursor(
            row=len(rows) - screen.rows + screen.y,
            column=min(screen.x, screen.columns - 1),
            visible=screen.cursor_shown,
        ),
        alternate=screen.alternate,
        columns=screen.columns,
        rows=screen.rows,
        title=screen.title,
        position=position,
    )


def _style(style: Style) -> CellStyle:
    flags = {name: True for name, flag in FLAGS.items() if style.flags & flag}
    return CellStyle(fg=_colour(style.fg), bg=_colour(style.bg), **flags)


def _colour(colour: int) -> int | str | None:
    if colour == DEFAULT_COLOUR:
        return None
    return f"#{colour & 0xFFFFFF:06x}" if colour & RGB else colour


SERVICE = Terminals
