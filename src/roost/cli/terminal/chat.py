"""A conversation on a terminal: what keys do, what is shown, and the session behind it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from roost.cli.event_queue import Ended, Gap
from roost.cli.output import notes_to
from roost.cli.session_ids import shortened
from roost.cli.terminal.approving import Approving
from roost.cli.terminal.conversation import Conversation
from roost.cli.terminal.dialog import Choice, Picker
from roost.cli.terminal.inbox import Waker, Worker
from roost.cli.terminal.input_line import InputLine
from roost.cli.terminal.keys import Event, Key, Paste
from roost.cli.terminal.layout import arranged
from roost.cli.terminal.lines import DIM, RED, YELLOW, Line
from roost.cli.terminal.link import Link, Opened, open_session
from roost.cli.terminal.live import Live
from roost.cli.terminal.loop import Loop
from roost.cli.terminal.markdown import Block
from roost.cli.terminal.others import Others
from roost.cli.terminal.outbox import Outbox
from roost.cli.terminal.own_commands import OwnCommands
from roost.cli.terminal.tty import Tty
from roost.cli.terminal.view import HINT, parts
from roost.errors import RoostError
from roost.ids import short
from roost.log.frames import Frame
from roost.terminal_text import clean

if TYPE_CHECKING:
    from roost.cli.node import Node
    from roost.cli.terminal.completion import Listed
    from roost.log.session_info import InputMode

_TWICE = 2.0
"""Seconds in which a second Ctrl-C leaves."""
_OPEN = 2
"""Rows of an open line that are drawn again; those before are committed as soon as no mark is open in them."""
_TICK = 0.25
"""Seconds between frames of the spinner."""
_BEFORE = 30
"""Messages of before that are shown when a session is opened."""
_ENDS = 10.0
"""Most seconds that what was begun may take when the person has left."""


class Opening(NamedTuple):
    """How a session is found. Both block. `begin`: the session that the command line asks for. `create`: a new one,
    of the named agent, else of the one that `begin` used. `needs_terminal`: `begin` will show the progress of a
    download, and so needs the terminal for itself."""

    begin: Callable[[], tuple[Node, str]]
    create: Callable[[Node, str | None], str]
    needs_terminal: Callable[[], bool]
    fresh: bool
    """The session is a new one."""
    folder: Path
    variables: Mapping[str, str] = MappingProxyType({})
    """What other commands need in their environment to speak to the same node."""


class Left(Exception):
    """The person left before the session was open."""


class Chat:
    """The screen that the loop drives. Public methods are for the slash commands too."""

    def __init__(self, opening: Opening, home: Path, tty: Tty, live: Live, *, yes: bool) -> None:
        self.opening = opening
        self.home = home
        self.folder = opening.folder
        self.tty, self.waker = tty, Waker()
        self.live = live
        self.loop = Loop(tty, self.live, self.waker)
        self.worker = Worker(self.waker, self.failed)
        self.files = Worker(self.waker, lambda _: None)
        self.conversation = Conversation()
        self.link: Link | None = None
        self.input = InputLine(home / "prompts.jsonl", self.folder, self.files, _commands)
        self.approving = Approving(self, yes=yes)
        self.picker: Picker[Any] | None = None
        self._picked: Callable[[Any], None] = lambda _: None
        self.variables = opening.variables
        self.outbox = Outbox(self)
        self.commands = OwnCommands(self)
        self.others = Others(self)
        self.switching = False
        """Another session is being opened: what is typed is meant for that one."""
        self.permissions = ""
        self.besides: list[str] = []
        """Commands of the command line that run now."""
        self.windows: dict[str, int] = {}
        self.default_model = ""
        self.error: Exception | None = None
        self.left = self._ended = False
        self.hinted: tuple[str, float] = ("", 0.0)
        """What stands in the place of the footer, and until when."""
        self._pressed = 0.0
        self._escaped = 0.0
        self._blocks: list[Block] = []

    # Beginning and end

    def run(self) -> None:
        """Talk until the person leaves. Raises what prevented the session from being opened."""
        with notes_to(lambda text: self.worker.tell(lambda: self.note(text))):
            self.worker.do(self._begin, self.opened, self._refused)
            self.loop.run(self)
            self._close()
        if self.error is not None:
            raise self.error

    def _begin(self) -> Opened:
        lends = self.opening.needs_terminal()
        if self.left and self.outbox.empty:
            raise Left
        node, session = self._begin_with_terminal() if lends else self.opening.begin()
        return open_session(node, session, fresh=self.opening.fresh)

    def _begin_with_terminal(self) -> tuple[Node, str]:
        """Open the session while the terminal belongs to the download and its progress."""
        import threading

        lent, ended = threading.Event(), threading.Event()

        def lend() -> None:
            with self.lent():
                lent.set()
                ended.wait()

        self.worker.tell(lend)
        lent.wait()
        try:
            return self.opening.begin()
        finally:
            ended.set()

    def _refused(self, error: Exception) -> None:
        self.error, self.left = None if isinstance(error, Left) else error, True
        self._ended = True

    def opened(self, opened: Opened) -> None:
        """Follow this session from now on."""
        if self.link is not None:
            self._part(self.link)
        view, info = opened.view, opened.view.info
        usage = view.usage if view.steps else None
        self.conversation = Conversation(after=info.head, usage=usage, working=view.turn is not None)
        self.conversation.state = info.state
        self.conversation.context, self.conversation.model = view.context_tokens, view.model or ""
        self.conversation.describe = self.approving.describe
        self.permissions = view.permissions
        self.conversation.history(opened.messages[-_BEFORE:])
        if opened.messages:
            self.conversation.note(f"session {short(info.id)} of agent {info.agent}")
        if info.workspace:
            self.folder = Path(info.workspace)
        self.input.folder = self.folder
        self.link = Link(opened, self.worker, self.waker)
        self.approving.clear()
        self.conversation.asked = True
        self.switching = False
        self.outbox.opened()
        self.worker.do(lambda: opened.node.models.list(), self._models, lambda _: None)
        if not self.conversation.model:
            self.worker.do(lambda: _default_model(opened.node), self._default, lambda _: None)

    def _models(self, found: Any) -> None:
        self.windows = {one.name: one.window for one in found.models if one.window}

    def _default(self, model: str) -> None:
        self.default_model = model

    def _close(self) -> None:
        self.commands.stop()
        until = time.monotonic() + _ENDS
        while not self._ended and (self.link is None or self.switching) and time.monotonic() < until:
            self.worker.finish()  # a session that is being made: else it would be kept, or lose what was said
            time.sleep(0.01)
        self._draw_rest()
        link = self.link
        if link is None:
            return
        goes = link.node.daemon and self.conversation.working
        self._part(link)
        self.worker.close(_ENDS)
        self.worker.finish()
        self._draw_rest()  # kept messages that could not be sent
        if not link.discarded:
            what = " and goes on in the daemon" if goes else ""
            self.tty.write(
                f"session {short(link.session)} is kept{what}: roost chat --session {short(link.session)}\r\n"
            )
        link.node.close(grace=1.0)

    def _draw_rest(self) -> None:
        """Draw the history so far, and nothing below it."""
        self.live.frame([()], commit=self._committed())
        self.live.clear()

    def _part(self, link: Link) -> None:
        """Stop following a session: it gets what was kept for later, and is not kept if nobody has used it."""
        self.outbox.leave(link)
        link.close()
        link.discard()

    def leave(self) -> None:
        self.left = True

    def interrupt(self) -> None:
        self.leave()

    def new(self, agent: str | None) -> None:
        self.switch(lambda node: self.opening.create(node, agent), fresh=True)

    # What comes from elsewhere

    def receive(self, budget: float) -> bool:
        changed = self.worker.finish() | self.files.finish()
        if self.link is None:
            return changed
        until = time.monotonic() + budget
        while time.monotonic() < until and (item := self.link.inbox.get(0)) is not None:
            changed = True
            match item:
                case Frame():
                    self.conversation.frame(item)
                case Gap(lost=lost):
                    self.note("the daemon is away; waiting for it" if lost else "the daemon is back", YELLOW)
                    self.conversation.asked = self.conversation.asked or not lost
                case Ended():
                    self.note("the session was deleted", RED)
                    self.conversation.gone()
                case Exception():
                    self.failed(item)
                case _:
                    pass
        self.approving.follow(self.conversation)
        self.outbox.follow()
        self.others.follow()
        return changed or not self.link.inbox.empty

    def failed(self, error: Exception) -> None:
        text = shortened(error.message) if isinstance(error, RoostError) else f"{type(error).__name__}: {error}"
        self.note(f"error: {clean(text)}", RED)

    # What the person does

    def key(self, event: Event) -> None:
        if self.picker is not None:
            self._pick_key(event)
        elif self.approving.takes(event, self.input.editor.text):
            self.approving.key(event)
        elif isinstance(event, Paste):
            self.input.paste(event.text)
        elif isinstance(event, Key):
            self.approving.typing()
            if not (event.name == "up" and self._queued_back()) and not self.input.key(event):
                self._key(event)

    def _key(self, key: Key) -> None:
        actions: dict[str, Callable[[], object]] = {
            "enter": self._enter, "alt-enter": self.later, "tab": self.later, "escape": self._escape,
            "ctrl-c": self._ctrl_c, "ctrl-d": self._ctrl_d, "ctrl-o": self._outputs, "ctrl-t": self._thinking,
            "ctrl-g": self._external, "ctrl-l": self.live.redraw, "ctrl-z": self.loop.suspend, "?": self._help,
            "ctrl-p": lambda: _slash().pick_model(self), "shift-tab": lambda: _slash().next_mode(self),
            "ctrl-v": lambda: _slash().paste_picture(self),
        }  # fmt: skip
        name = key.text if key.name == "text" else key.name
        if name in actions:
            actions[name]()

    def _enter(self) -> None:
        text = self.input.editor.whole
        if not text.strip():
            return
        self.input.sent(text)
        self.submit(text)

    def submit(self, text: str) -> None:
        """Send a message, or obey a command."""
        if text.startswith("!"):
            self.commands.run(text)
        elif not _slash().obey(self, text):
            self.say(text)

    def later(self) -> None:
        """Keep the draft for after the running turn."""
        text = self.input.editor.whole
        if not text.strip():
            return
        if not self.conversation.working or self.switching:
            self._enter()
            return
        self.input.sent(text)
        self.outbox.keep(text)

    def _queued_back(self) -> bool:
        """Put what was queued last into the empty editor: it comes before the history. Returns whether it did."""
        if self.input.editor.text or not self.outbox.later:
            return False
        self.input.editor.set(self.outbox.later.pop())
        return True

    def _escape(self) -> None:
        now = time.monotonic()
        if self.commands.running:
            self.commands.stop()
        elif self.conversation.working:
            self.cancel()
        elif self.input.editor.text:
            self.hint("Ctrl-C clears the line")
        elif now - self._escaped < _TWICE:
            self._escaped = 0.0
            _slash().obey(self, "/rewind")
        else:
            self._escaped = now
            self.hint("Esc again: go back to an earlier message")

    def cancel(self) -> None:
        """Cancel the running turn; what is queued returns to the editor."""
        if self.link is None:
            return
        self.link.order("cancel")
        self.conversation.interrupted()
        if kept := self.outbox.take_back():
            draft = self.input.editor.text
            self.input.editor.set(f"{kept}\n{draft}" if draft else kept)

    def _ctrl_c(self) -> None:
        now = time.monotonic()
        if self.input.editor.text:
            self.input.editor.set("")
            self._pressed = 0.0
            return
        if now - self._pressed < _TWICE:
            self.leave()
            return
        self._pressed = now
        goes = "; the session goes on" if self.link is not None and self.link.node.daemon else ""
        esc = ", Esc stops the turn" if self.conversation.working else ""
        self.hint(f"Ctrl-C again leaves{goes}{esc}")

    def _ctrl_d(self) -> None:
        if self.input.editor.text:
            self.input.editor.delete()
        else:
            self.leave()

    def _outputs(self) -> None:
        """Show the outputs of the last calls whole."""
        found = self.conversation.outputs
        if not found:
            self.hint("there is no output yet")
            return
        self.page("\n\n".join(f"── {head}\n{text}" for head, text in found), end=True)

    def _thinking(self) -> None:
        self.conversation.thinking = not self.conversation.thinking
        self.hint("thoughts are shown" if self.conversation.thinking else "thoughts are folded; Ctrl-O has them")

    def _external(self) -> None:
        from roost.cli.terminal.programs import edited

        with self.lent():
            text = edited(self.input.editor.whole)
        if text is not None:
            self.input.editor.clear()
            self.input.editor.set(text.rstrip("\n"))

    def _help(self) -> None:
        if self.input.editor.text:
            self.input.editor.insert("?")
        else:
            _slash().show_keys(self)

    # What slash commands use

    def say(self, text: str, mode: InputMode = "steer") -> None:
        self.outbox.say(text, mode)

    def keep(self, text: str) -> None:
        self.outbox.keep(text)

    def attach(self, output: str) -> None:
        self.outbox.attach(output)

    def note(self, text: str, style: str = DIM) -> None:
        self.conversation.note(text, style)

    def hint(self, text: str) -> None:
        """Show a remark in the place of the footer for a moment."""
        self.hinted = (text, time.monotonic() + HINT)

    def page(self, text: str, *, end: bool = False) -> None:
        from roost.cli.terminal.programs import page

        with self.lent():
            page(text, end=end)

    def lent(self) -> Any:
        """Give the terminal to another program while the block runs."""
        self.live.clear()
        return self.tty.lent()

    def pick(self, title: str, choices: list[Choice[Any]], then: Callable[[Any], None]) -> None:
        """Let the person choose; `then` is not called when they leave."""
        if not choices:
            self.hint("there is nothing to choose from")
            return
        self.picker, self._picked = Picker(title, choices), then

    def _pick_key(self, event: Event) -> None:
        assert self.picker is not None
        self.picker.key(event)
        if self.picker.done:
            picker, self.picker = self.picker, None
            if picker.value is not None:
                self._picked(picker.value)

    def switch(self, session: Callable[[Node], str], *, fresh: bool = False) -> None:
        """Go on with another session; `session` finds or makes it, in the worker. `fresh`: it is a new one."""
        link = self.link
        if link is None or self.switching:
            return
        self.switching = True

        def refused(error: Exception) -> None:
            self.switching = False
            self.outbox.refused()
            self.failed(error)

        self.worker.do(lambda: open_session(link.node, session(link.node), fresh=fresh), self.opened, refused)

    # What is shown

    def due(self) -> float | None:
        times = [_TICK] if self.conversation.working or self.commands.running or self.besides else []
        now = time.monotonic()
        if self.hinted[0]:
            times.append(max(0.0, self.hinted[1] - now))
        times += [wait for wait in (self.approving.due(), self.others.due()) if wait is not None]
        return min(times, default=None)

    def draw(self) -> None:
        width = self.live.width
        commit = self._committed()
        drawn = arranged(parts(self, width, self.live.rows - 1), self.live.rows - 1)
        self.live.frame(drawn.rows, commit=commit, cursor=drawn.cursor)

    def _committed(self) -> list[Line]:
        width = self.live.width
        self._blocks += self.conversation.take()
        blocks, self._blocks = self._blocks, []
        rows = [row for block in blocks for row in block.rows(width)]
        return rows + self.conversation.settle(width, _OPEN)


def _default_model(node: Node) -> str:
    """Return the model of agents that name none. Blocks. Raises `Forbidden` for an account that may not see it."""
    return next((str(one.value or "") for one in node.configuration.get().settings if one.key == "model"), "")


def _slash():
    """Return the module of the slash commands, which is imported when the first one is used."""
    from roost.cli.terminal import slash

    return slash


def _commands() -> list[Listed]:
    return _slash().listed()
