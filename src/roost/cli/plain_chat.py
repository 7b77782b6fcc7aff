"""A conversation in plain lines: for pipes, simple terminals and screen readers."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Literal

import click

from roost.cli.approvals import Approver, mode_for
from roost.cli.follow import Follower
from roost.cli.local_worker_start import warm
from roost.cli.open_session import SessionOptions, begin
from roost.cli.output import ago, note, say, styled
from roost.cli.renderer import Renderer
from roost.cli.session_ids import shortened
from roost.cli.session_words import activity
from roost.errors import RoostError
from roost.ids import short

if TYPE_CHECKING:
    from roost.cli.app import App
    from roost.cli.node import Node

_HELP = """\
/help            this
/steer TEXT      say something into the running turn (plain text does so too while the agent works)
/later TEXT      say something for after the running turn
/cancel          end the running turn (Ctrl-C does so too)
/pause, /resume  stop where it is, and go on
/new             begin a new session with the same agent
/sessions        list the newest sessions
/quit            leave (Ctrl-D does so too); the session is kept"""


def talk(app: App, wanted: SessionOptions, *, yes: bool) -> int:
    """Talk until the person leaves. Returns the exit code."""
    if wanted.session is None and (wanted.agent is None or wanted.model is not None):
        warm(app, wanted.model)
    node, session = begin(app, wanted)
    talk = _Chat(node, session, yes=yes)
    try:
        talk.open()
        while talk.once():
            if talk.session is None:
                talk.session = node.sessions.create(node.info(session).agent, workspace=wanted.workspace).id
                session = talk.session
                talk.open()
        return 0
    finally:
        if talk.session is not None:
            note(f"session {short(session)} is kept: roost chat --session {short(session)}")
        node.close(grace=1.0)


class _Chat:
    """One conversation. `session` becomes None when the person asks for a new one."""

    def __init__(self, node: Node, session: str, *, yes: bool) -> None:
        self._node = node
        self._yes = yes
        self.session: str | None = session
        self._queue: list[int] = []
        self._tty = sys.stdin.isatty() and sys.stdout.isatty()
        if self._tty:
            importlib.import_module("readline")  # adds line editing to `input`

    def open(self) -> None:
        """Follow the session from its current state; a running turn is followed to its end."""
        assert self.session is not None
        info = self._node.info(self.session)
        self._follower = Follower(
            self._node,
            self.session,
            screen=Renderer(),
            approver=Approver(mode_for(yes=self._yes)),
            typed=self._while_working,
        )
        self._follower.seq = info.head
        where = info.workspace or "its private folder"
        note(f"{info.agent} in {where}, session {short(info.id)}. /help for commands, Ctrl-D to leave")
        self._node.work_on(self.session)
        if info.pending or (info.phase != "idle" and self._node.sessions.inspect(self.session).turn is not None):
            self._follow("any")

    def once(self) -> bool:
        """Handle one line of the person. False means to leave."""
        line = self._line()
        if line is None:
            return False
        line = line.strip()
        if not line:
            return True
        try:
            return self._obey(line)
        except RoostError as error:
            note(f"error: {shortened(error.message)}", "red")
            return error.code != "unreachable"

    def _line(self) -> str | None:
        if not self._tty:
            line = sys.stdin.readline()
            return line or None
        try:
            return input("> ")
        except EOFError:
            say()
            return None
        except KeyboardInterrupt:
            say()
            return ""

    def _obey(self, line: str) -> bool:
        word, _, rest = line.partition(" ")
        match word:
            case "/quit" | "/exit":
                return False
            case "/help":
                note(_HELP, None)
            case "/new":
                self.session = None
            case "/sessions":
                self._list()
            case "/pause" | "/resume" | "/cancel":
                self._control(word)
            case "/steer" | "/later":
                self._say(rest)
            case _ if word.startswith("/"):
                note(f"there is no command {word}; /help lists them. (A message cannot begin with /)", "yellow")
            case _:
                self._say(line)
        return True

    def _control(self, word: str) -> None:
        assert self.session is not None
        action = "pause" if word == "/pause" else "resume" if word == "/resume" else "cancel"
        info = self._node.sessions.control(self.session, action)
        note(f"session {activity(info)}")
        if action == "resume" and info.phase == "working":
            self._follow("any")

    def _say(self, text: str) -> None:
        assert self.session is not None
        if not text.strip():
            note("give a message, as in: /steer look at the tests first", "yellow")
            return
        self._queue.append(self._node.send(self.session, text).input)
        while self._queue:
            number = self._queue.pop(0)
            if number not in self._follower.received and not self._follow(number):
                self._queue.clear()

    def _follow(self, number: int | Literal["any"]) -> bool:
        """Follow the turn. Returns whether it ended."""
        turn = self._follower.follow(after=self._follower.seq, until=number)
        if turn.outcome == "paused":
            note("paused; /resume continues")
        if turn.outcome == "left":
            raise click.exceptions.Exit(0)
        return turn.outcome in ("answered", "cancelled", "limit", "failed")

    def _while_working(self, line: str | None) -> bool:
        """Handle a line typed while the agent works."""
        if line is None:
            return False
        try:
            return self._interject(line)
        except RoostError as error:
            note(f"error: {shortened(error.message)}", "red")
            return True

    def _interject(self, line: str) -> bool:
        assert self.session is not None
        word, _, rest = line.strip().partition(" ")
        match word:
            case "":
                pass
            case "/quit" | "/exit":
                return False
            case "/cancel":
                self._node.order(self.session, "cancel")
            case "/pause":
                self._node.order(self.session, "pause")
            case "/help":
                note(_HELP, None)
            case "/later":
                self._add(rest, later=True)
            case "/steer":
                self._add(rest, later=False)
            case _ if word.startswith("/"):
                note(f"{word} has to wait for the end of the turn", "yellow")
            case _:
                self._add(line, later=False)
        return True

    def _add(self, text: str, *, later: bool) -> None:
        assert self.session is not None
        if text.strip():
            sent = self._node.send(self.session, text, mode="follow_up" if later else "steer")
            self._queue.append(sent.input)
            note("  (for later)" if later else "  (told)")

    def _list(self) -> None:
        for info in self._node.sessions.find(limit=10, turns=True).sessions:
            mark = "*" if info.id == self.session else " "
            say(f"{mark} {styled(short(info.id), 'bold')}  {info.agent}  {activity(info)}  {ago(info.updated_at)}")
