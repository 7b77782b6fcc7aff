"""The port of tools to the terminals of a session."""

from __future__ import annotations

import re
import time

from roost.agent.feature import CallEnd
from roost.agent.session import Session
from roost.errors import RoostError
from roost.features.terminals.events import OpenTerminalInput
from roost.features.terminals.redraw import above
from roost.features.terminals.session_terminals import IDLE, SessionTerminals, new_id, terminals
from roost.features.terminals.shared_terminal import SharedTerminal
from roost.log import events as ev
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError

_FLAT = re.compile(r"\s+")
_QUIET = 0.7
"""Seconds without output after which a program is taken to wait for input."""
_ENDS_LINE = frozenset({"enter", "ctrl-c", "ctrl-j", "ctrl-m"})
_HARMLESS = _ENDS_LINE | {"ctrl-d", "ctrl-l", "ctrl-z", "space"}
"""Keys that make no other line of what was typed, and bring no earlier one back."""
NEUTRAL = _HARMLESS | {"escape", "page-up", "page-down"}
"""Those, and keys that full-screen programs need all the time. `_check_keys` keeps them from editing a line."""
_NAMED = {
    "enter": "\r", "tab": "\t", "escape": "\x1b", "space": " ", "backspace": "\x7f", "up": "\x1b[A", "down": "\x1b[B",
    "right": "\x1b[C", "left": "\x1b[D", "home": "\x1b[H", "end": "\x1b[F", "page-up": "\x1b[5~",
    "page-down": "\x1b[6~", "insert": "\x1b[2~", "delete": "\x1b[3~", "shift-tab": "\x1b[Z", "f1": "\x1bOP",
    "f2": "\x1bOQ", "f3": "\x1bOR", "f4": "\x1bOS", "f5": "\x1b[15~", "f6": "\x1b[17~", "f7": "\x1b[18~",
    "f8": "\x1b[19~", "f9": "\x1b[20~", "f10": "\x1b[21~", "f11": "\x1b[23~", "f12": "\x1b[24~",
}  # fmt: skip
_APPLICATION = frozenset({"up", "down", "right", "left", "home", "end"})


class AgentTerminals:
    """The terminals of the session, for one call of the agent."""

    def __init__(self, own: SessionTerminals, context: ToolContext) -> None:
        self._own, self._context = own, context

    async def start(self, command: tuple[str, ...], columns: int, rows: int) -> SharedTerminal:
        """Open a terminal. Raises `ToolError`, `SandboxError`."""
        order = OpenTerminalInput(new_id(), command, columns, rows, "agent", IDLE)
        try:
            return self._asked(await self._own.open(order, call=self._context.call))
        except RoostError as error:
            raise ToolError(error.message) from None

    def find(self, terminal: str) -> SharedTerminal:
        """Return a terminal whose screen can be read. Raises `ToolError`."""
        if (found := self._own.all.get(terminal)) is not None:
            return self._asked(found)
        there = ", ".join(self._own.all) or "none; start one with terminal_start"
        raise ToolError(f"there is no terminal {terminal!r}. There are: {there}")

    async def send(self, terminal: str, text: str, keys: list[str]) -> SharedTerminal:
        """Type a text, then press keys. Raises `ToolError`."""
        one = self.find(terminal)
        await one.catch_up()
        data = text + "".join(pressed(key, application=1 in one.screen.modes) for key in keys)
        begun = one.unfinished
        if not one.screen.alternate:
            if text and begun:
                raise ToolError(
                    f"the line begins with {begun!r} already. Finish it with keys ['enter'], or clear it with"
                    " ['ctrl-c'], and then send the whole line at once"
                )
            _check_keys(begun, text, keys)
        try:
            await one.type_for_agent(data.encode("utf-8", "replace"))
        except RoostError as error:
            raise ToolError(error.message) from None
        one.sent.add(self._context.call)
        one.unfinished = _line_after(begun, text, keys)
        return one

    async def settle(self, one: SharedTerminal, seconds: float, text: str = "") -> bool:
        """Wait until the screen shows a text, or without one until the output pauses; until the program has ended; or
        until `seconds` are over. Returns whether the screen shows the text."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and one.running:
            if text and await shows(one, text):
                return True
            if not await one.changed(left if text else min(left, _QUIET)) and not text:
                break
        return bool(text) and await shows(one, text)

    def _asked(self, one: SharedTerminal) -> SharedTerminal:
        one.asked.add(self._context.call)
        return one


def named(key: str) -> str:
    return key.strip().lower()


def _check_keys(begun: str, text: str, keys: list[str]) -> None:
    """Raise `ToolError` if keys would edit a line that was judged as it was typed."""
    line = _line_after(begun, text, [])
    for key in keys:
        if line and named(key) not in _HARMLESS:
            raise ToolError(
                f"the key {key!r} would edit the line {line!r}, which was judged as it is. Send the whole line at once"
                " and end it with keys ['enter'], or drop it with ['ctrl-c']"
            )
        line = _line_after(line, "", [key])


def _line_after(begun: str, text: str, keys: list[str]) -> str:
    """Return what stands in the program's line, as far as it is known, after a text and keys."""
    _, ended, last = text.rpartition("\n")
    line = last if ended else begun + text
    for key in keys:
        line = "" if named(key) in _ENDS_LINE else line if named(key) in _HARMLESS else f"{line}<{named(key)}>"
    return line


def pressed(key: str, *, application: bool) -> str:
    """Return what a key sends. application: in the mode for arrow keys that some programs set. Raises `ToolError`."""
    name = named(key)
    if name in _NAMED:
        found = _NAMED[name]
        return found.replace("[", "O", 1) if application and name in _APPLICATION else found
    kind, _, letter = name.partition("-")
    if kind == "ctrl" and len(letter) == 1 and "@" <= letter.upper() <= "_":
        return chr(ord(letter.upper()) & 31)
    if kind == "alt" and len(letter) == 1:
        return "\x1b" + key.strip()[-1]
    raise ToolError(f"there is no key {key!r}. Keys are: {', '.join(_NAMED)}, ctrl-a to ctrl-z, alt-a to alt-z")


async def shows(one: SharedTerminal, text: str) -> bool:
    """Whether the screen shows a text, which may be wrapped or spaced otherwise."""
    await one.catch_up()
    wanted = _FLAT.sub("", text)
    return wanted in _FLAT.sub("", "".join(row.text for row in one.screen.lines))


async def screen_text(one: SharedTerminal, scrollback: int) -> str:
    """Return the screen for the model, with a line about the terminal."""
    await one.catch_up()
    screen = one.screen
    lines = [row.text for row in (*above(screen, scrollback), *screen.lines)]
    while lines and not lines[-1]:
        lines.pop()
    if one.ending is not None:
        how = one.ending.reason or f"exit code {one.ending.code}"
        about = f"has ended: {how}"
    else:
        about = f"is running, cursor in row {screen.y + 1}, column {min(screen.x, screen.columns - 1) + 1}"
        about += ", full-screen program" if screen.alternate else ""
        about += f", {one.keyboard} holds the keyboard" if one.keyboard else ""
    return "\n".join([*lines, f"[{one.opened.terminal} {about}]"])


def taint(session: Session, end: CallEnd) -> None:
    """Note that a call read untrusted output, and remember which terminals may show some from now on."""
    call = end.call.call.id
    for one in terminals(session).all.values():
        if call in one.asked and one.outside is not None and session.state.tainted is None:
            session.log.note(ev.SessionTainted(at=time.time(), by=one.outside))
        if end.outside is not None and (one.call == call or call in one.sent):
            one.outside = end.outside
        one.asked.discard(call)
        one.sent.discard(call)
