"""The screen of `roost top`: what keys do, and what is shown."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from roost.cli.session_ids import shortened
from roost.cli.terminal.dialog import Answer, ApprovalDialog
from roost.cli.terminal.editor import Editor
from roost.cli.terminal.inbox import Waker, Worker
from roost.cli.terminal.keys import Event, Key, Paste
from roost.cli.terminal.layout import editor_rows, footer
from roost.cli.terminal.lines import DIM, GREEN, RED, YELLOW, Line, Span, cut, plain
from roost.cli.terminal.live import Live
from roost.cli.terminal.loop import Loop
from roost.cli.terminal.tty import Tty
from roost.cli.top import rows as shape
from roost.cli.top.overview import Overview, Reader, word
from roost.errors import RoostError
from roost.ids import short
from roost.terminal_text import clean, one_line

if TYPE_CHECKING:
    from roost.cli.node import Node
    from roost.log.session_info import ControlAction, InputMode, SessionInfo
    from roost.log.session_views import WaitingCall

_PERIOD = 1.0
"""Seconds between readings."""
_TOLD = 5.0
_APPROVALS = 4
_KEYS = "↑↓ choose  Enter attach  a answer  m message  p pause/resume  c cancel  s stop  / filter  q quit"
_SHORT = "Enter attach  a answer  m message  p pause  c cancel  q quit"


class Top:
    """The screen that the loop drives. All requests run in `worker`."""

    def __init__(self, node: Node, where: str, tty: Tty, *, colour: bool, attach: Callable[[str], list[str]]) -> None:
        self._node, self._where, self._attach = node, where, attach
        self._tty, self._waker = tty, Waker()
        columns, height = tty.size()
        self._live = Live(tty.write, columns=columns, rows=height, colour=colour, reflows=False)
        self._loop = Loop(tty, self._live, self._waker)
        self._worker = Worker(self._waker, self._failed)
        self._reader = Reader(node)
        self._now: Overview | None = None
        self._reading, self._read_at = False, float("-inf")
        self._chosen: str | None = None
        self._meant: SessionInfo | None = None
        """The session that a message or an order is for: the choice may move while a person writes or confirms."""
        self._filter = Editor()
        self._message = Editor()
        self._mode = "list"
        """`list`, `filter`, `message`, `dialog`, or the action that waits for a yes: `cancel`, `stop`."""
        self._dialog: ApprovalDialog | None = None
        self._from = 0
        """The first row of the dialog's call that is shown."""
        self._unseen = 0
        """Rows of the call below the last one that is shown."""
        self._told: tuple[str, str, float] = ("", "", 0.0)
        self._alone: Exception | None = None
        self.left = False

    def run(self) -> None:
        """Show until the person leaves. Raises what prevented the first reading."""
        self._loop.run(self)
        self._worker.close(2.0)
        if self._now is None and self._alone is not None:
            raise self._alone

    # For the loop

    def interrupt(self) -> None:
        self.left = True

    def receive(self, budget: float) -> bool:
        changed = self._worker.finish()
        if not self._reading and time.monotonic() - self._read_at >= _PERIOD:
            self._reading = True
            self._worker.do(self._reader.read, self._took, self._unread)
        return changed

    def due(self) -> float | None:
        waits = [max(0.0, self._read_at + _PERIOD - time.monotonic())] if not self._reading else []
        if self._dialog is not None and not self._dialog.armed:
            waits.append(self._dialog.arms_in())
        return min(waits, default=None)

    def key(self, event: Event) -> None:
        if isinstance(event, Key) and len(event.text) > 1:  # typed fast: each letter is a key of its own
            for letter in event.text:
                self.key(Key("text", letter))
            return
        match self._mode:
            case "filter" | "message":
                self._edit(event)
            case "dialog":
                self._dialog_key(event)
            case "cancel" | "stop":
                self._confirm(event)
            case _:
                if isinstance(event, Key):
                    self._list_key(event)

    def draw(self) -> None:
        columns, height = self._live.width, self._live.rows - 1
        if self._now is None:
            error = f"no answer: {_said(self._alone)}" if self._alone else "reading …"
            self._live.frame([plain("roost top"), plain(error, RED if self._alone else DIM)])
            return
        cursor: tuple[int, str] | None = None
        if self._mode == "dialog" and self._dialog is not None:
            rows = self._dialog_rows(columns, height)
        else:
            rows, cursor = self._list_rows(columns, height)
        self._live.frame(rows, cursor=cursor)

    # What comes from the node

    def _took(self, found: Overview) -> None:
        self._reading, self._read_at, self._alone = False, time.monotonic(), None
        self._now = found
        listed = self._listed()
        if self._chosen not in [info.id for info in listed]:
            self._chosen = listed[0].id if listed else None
        if self._dialog is not None and _question(self._dialog.waiting) not in map(_question, found.waiting):
            self._tell(f"{self._dialog.waiting.tool} was answered elsewhere", YELLOW)
            self._leave_dialog()

    def _unread(self, error: Exception) -> None:
        self._reading, self._read_at, self._alone = False, time.monotonic(), error
        if self._now is None and isinstance(error, RoostError) and error.code in ("forbidden", "unauthorized"):
            self.left = True

    def _failed(self, error: Exception) -> None:
        self._tell(_said(error), RED)

    def _tell(self, text: str, style: str = GREEN) -> None:
        self._told = clean(text), style, time.monotonic()

    # The list

    def _listed(self) -> list[SessionInfo]:
        words = self._filter.text.casefold().split()
        found = [] if self._now is None else self._now.sessions
        return [info for info in found if all(one in _searched(info) for one in words)]

    def _session(self) -> SessionInfo | None:
        return next((info for info in self._listed() if info.id == self._chosen), None)

    def _list_rows(self, columns: int, height: int) -> tuple[list[Line], tuple[int, str] | None]:
        assert self._now is not None
        listed, waiting = self._listed(), self._now.waiting
        above = [
            *shape.summary(self._now, self._where, columns),
            *shape.approval_rows(waiting, min(_APPROVALS, max(1, height // 5)), columns),
            shape.heads(columns),
        ]
        below, cursor = self._below(columns)
        room = max(1, height - len(above) - len(below))
        ids = [info.id for info in listed]
        chosen = ids.index(self._chosen) if self._chosen in ids else 0
        first = shape.window(len(listed), chosen, room)
        calls = {one.session: sum(other.session == one.session for other in waiting) for one in waiting}
        body = [
            shape.session_row(info, columns, selected=info.id == self._chosen, calls=calls.get(info.id, 0))
            for info in listed[first : first + room]
        ]
        if not listed:
            body = [plain("  no session" + (" fits the filter" if self._filter.text else ""), DIM)]
        body += [()] * (room - len(body))
        rows = [*above[: max(1, height - len(below) - 1)], *body, *below][-height:]
        return rows, None if cursor is None else (len(rows) - len(below) + cursor[0], cursor[1])

    def _below(self, columns: int) -> tuple[list[Line], tuple[int, str] | None]:
        """Return the last rows, and where the cursor stands in them."""
        info = self._target()
        name = short(info.id) if info is not None else ""
        match self._mode:
            case "filter" | "message":
                prompt = "filter: " if self._mode == "filter" else f"message to {name}: "
                drawn = editor_rows(self._draft, columns, 3, prompt=prompt)
                ends = "Enter keeps, Esc clears" if self._mode == "filter" else _ways(info)
                return [*drawn.rows, (Span(ends, DIM),)], drawn.cursor
            case "cancel" | "stop":
                what = "cancel the running turn of" if self._mode == "cancel" else "stop"
                return [plain(f"{what} {name}? y does it, any other key does not", YELLOW)], None
            case _:
                text, style, at = self._told
                fresh = bool(text) and time.monotonic() - at < _TOLD
                lost = f"no answer: {_said(self._alone)}" if self._alone is not None else ""
                note = plain(lost, RED) if lost else plain(text, style) if fresh else ()
                shown = _KEYS if columns >= len(_KEYS) else _SHORT
                return [cut(note, columns), footer([shown], "", columns)], None

    @property
    def _draft(self) -> Editor:
        return self._filter if self._mode == "filter" else self._message

    def _list_key(self, key: Key) -> None:
        actions: dict[str, Callable[[], object]] = {
            "up": lambda: self._move(-1), "k": lambda: self._move(-1),
            "down": lambda: self._move(1), "j": lambda: self._move(1),
            "pageup": lambda: self._move(-10), "pagedown": lambda: self._move(10),
            "home": lambda: self._move(-SESSIONS_AT_ONCE), "end": lambda: self._move(SESSIONS_AT_ONCE),
            "enter": self._follow, "a": self._answer, "m": self._write, "p": self._pause,
            "c": lambda: self._ask("cancel"), "s": lambda: self._ask("stop"), "/": self._search,
            "escape": self._filter.clear, "q": self.interrupt, "ctrl-c": self.interrupt, "ctrl-d": self.interrupt,
            "ctrl-l": self._live.redraw, "ctrl-z": self._loop.suspend,
        }  # fmt: skip
        name = key.text if key.name == "text" else key.name
        if name in actions:
            actions[name]()

    def _move(self, step: int) -> None:
        listed = [info.id for info in self._listed()]
        if listed:
            at = listed.index(self._chosen) if self._chosen in listed else 0
            self._chosen = listed[min(max(0, at + step), len(listed) - 1)]

    def _search(self) -> None:
        self._mode = "filter"

    def _write(self) -> None:
        self._ask("message")

    def _edit(self, event: Event) -> None:
        draft = self._draft
        if isinstance(event, Paste):
            draft.paste(event.text)
        elif isinstance(event, Key) and event.name == "text":
            draft.insert(event.text)
        elif isinstance(event, Key) and event.name in ("escape", "ctrl-c"):
            draft.clear()
            self._mode = "list"
        elif isinstance(event, Key) and event.name in ("enter", "alt-enter", "tab"):
            self._sent(later=event.name != "enter")
        elif isinstance(event, Key):
            draft.do(event.name)
        if self._mode == "filter":
            self._move(0)

    def _sent(self, *, later: bool) -> None:
        if self._mode == "message":
            info, text = self._target(), self._message.whole
            if info is not None and text.strip():
                mode: InputMode = "follow_up" if later or word(info) not in ("working", "waiting") else "steer"
                self._message.clear()
                told, send = f"sent to {short(info.id)}", lambda: self._node.send(info.id, text, mode=mode)
                self._do(send, told, lambda: self._restore(text))
        self._mode = "list"

    def _restore(self, text: str) -> None:
        """Keep a message that was not sent for the next one that is begun."""
        if not self._message.text:
            self._message.set(text)

    # Orders

    def _do(self, work: Callable[[], object], told: str, undo: Callable[[], None] = lambda: None) -> None:
        """Do `work` in the worker. undo: called when it fails."""

        def done(_: object) -> None:
            self._tell(told)
            self._read_at = float("-inf")

        def failed(error: Exception) -> None:
            undo()
            self._failed(error)

        self._worker.do(work, done, failed)

    def _order(self, info: SessionInfo, action: ControlAction, told: str) -> None:
        self._do(lambda: self._node.sessions.control(info.id, action, wait=0), f"{told} {short(info.id)}")

    def _pause(self) -> None:
        info = self._session()
        if info is None:
            return
        if info.state in ("paused", "error"):
            self._order(info, "resume", "resumed")
        elif info.state == "stopped":
            self._order(info, "start", "started")
        else:
            self._order(info, "pause", "paused")

    def _ask(self, mode: str) -> None:
        """Begin to write a message to the chosen session, or to confirm an order for it."""
        self._meant = self._session()
        if self._meant is not None:
            self._mode = mode

    def _target(self) -> SessionInfo | None:
        """Return the session that was chosen when the message or the order was begun, as it is now."""
        found = [] if self._now is None or self._meant is None else self._now.sessions
        return next((info for info in found if self._meant and info.id == self._meant.id), self._meant)

    def _confirm(self, event: Event) -> None:
        action, info = self._mode, self._target()
        self._mode = "list"
        if isinstance(event, Key) and event.text.lower() == "y" and info is not None:
            if action == "cancel":
                self._order(info, "cancel", "cancelled the turn of")
            else:
                self._order(info, "stop", "stopped")

    def _follow(self) -> None:
        info = self._session()
        if info is None:
            return
        with self._tty.lent(), _left_to_others():
            subprocess.run(self._attach(info.id), check=False)
        self._live.redraw()

    # Approvals

    def _answer(self) -> None:
        """Show the first waiting call of the chosen session, else of any."""
        waiting = [] if self._now is None else self._now.waiting
        mine = [one for one in waiting if one.session == self._chosen]
        if not waiting:
            self._tell("no call waits for an answer", DIM)
            return
        one = (mine or waiting)[0]
        self._dialog = ApprovalDialog(one, elsewhere=f"session {short(one.session)}")
        self._mode, self._from, self._unseen = "dialog", 0, 0
        self._dialog.shown()

    def _leave_dialog(self) -> None:
        self._dialog, self._mode = None, "list"

    def _dialog_rows(self, columns: int, height: int) -> list[Line]:
        assert self._dialog is not None
        choices = self._dialog.rows(columns, max(2, height // 2))
        if self._dialog.stage == "choose" and self._dialog.armed and self._dialog.read:
            choices = choices[:-1]  # its hint says that Esc stops the turn; here it leaves the question
        room = max(1, height - len(choices) - 1)
        body = [row for block in self._dialog.blocks() for row in block.rows(columns)]
        self._from = max(0, min(self._from, len(body) - room))
        shown = body[self._from : self._from + room]
        self._unseen = len(body) - self._from - len(shown)
        hint = f"{self._unseen} more rows: ↓" if self._unseen else "Esc goes back to the list"
        return [*shown, *([()] * (room - len(shown))), *choices, (Span(hint, DIM),)]

    def _dialog_key(self, event: Event) -> None:
        dialog = self._dialog
        assert dialog is not None
        if isinstance(event, Key) and dialog.stage == "choose":
            if event.name in ("pageup", "pagedown", "up", "down"):
                self._from += {"pageup": -10, "pagedown": 10, "up": -1, "down": 1}[event.name]
                return
            if event.name in ("escape", "ctrl-c") or event.text == "q":
                self._leave_dialog()
                return
            if not dialog.armed:
                dialog.typing()
                return
            if self._unseen and event.text.lower() in ("y", "a"):  # a yes counts once all of the call was shown
                self._from += max(1, self._live.rows // 2)
                return
        said = dialog.key(event)
        if said == "cancel":
            self._leave_dialog()
        elif said == "details":
            self._page(dialog.whole())
        elif said == "edit":
            self._tell("change the arguments with: roost approve --with", YELLOW)
        elif isinstance(said, Answer):
            self._send(dialog, said)

    def _page(self, text: str) -> None:
        from roost.cli.terminal.programs import page

        with self._tty.lent():
            page(text)
        self._live.redraw()

    def _send(self, dialog: ApprovalDialog, said: Answer) -> None:
        one = dialog.waiting
        self._do(
            lambda: self._node.approvals.answer(
                one.session,
                one.call,
                said.decision,
                note=said.note,
                always=list(said.always),
                scope=said.scope,
                asked=one.asked,
                source="top",
            ),
            f"{'rejected' if said.decision == 'reject' else 'allowed'} {one.tool}",
        )
        if self._now is not None:
            self._now.waiting = [other for other in self._now.waiting if other is not one]
        self._leave_dialog()


SESSIONS_AT_ONCE = 1_000_000
"""More rows than any list has."""


@contextlib.contextmanager
def _left_to_others() -> Generator[None]:
    """Leave Ctrl-C to the program that has the terminal meanwhile."""
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _question(one: WaitingCall) -> tuple[str, str, int]:
    """Return what a question is known by. Its diffs change with the files while it waits."""
    return one.session, one.call, one.asked


def _searched(info: SessionInfo) -> str:
    return " ".join((info.id, info.agent, word(info), info.title or "", info.workspace or "")).casefold()


def _ways(info: SessionInfo | None) -> str:
    works = info is not None and word(info) in ("working", "waiting")
    return "Enter sends it into the running turn, Tab after it, Esc leaves" if works else "Enter sends it, Esc leaves"


def _said(error: Exception | None) -> str:
    text = shortened(error.message) if isinstance(error, RoostError) else f"{type(error).__name__}: {error}"
    return one_line(clean(text), 200)


def attach_command(home: str, url: str | None, store: str | None) -> Callable[[str], list[str]]:
    """Return the function that makes the command line to follow a session."""
    options = ["--home", home, *(["--url", url] if url else []), *(["--store", store] if store else [])]
    return lambda session: [sys.executable, "-m", "roost", *options, "attach", session]


class WholeScreen(Tty):
    """A terminal whose other screen is used, so that what stood there before comes back."""

    END = "\x1b[?1049l"

    def take(self) -> None:
        super().take()
        self.write("\x1b[?1049h\x1b[2J\x1b[H")

    def give_back(self) -> None:
        if self._mine:
            with contextlib.suppress(OSError):
                self.write(self.END)
        super().give_back()


def colours() -> bool:
    return not os.environ.get("NO_COLOR")
