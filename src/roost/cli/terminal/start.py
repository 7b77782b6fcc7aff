"""Open a conversation on this process's terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from roost.cli.terminal.editor import Editor
from roost.cli.terminal.layout import DEFAULT_MODEL, STARTING, Parts, arranged, editor_rows, footer
from roost.cli.terminal.lines import BOLD, DIM, Line, Span, plain, wrap
from roost.cli.terminal.live import Live
from roost.cli.terminal.themes import THEMES, kept
from roost.cli.terminal.tty import Tty, reflows

if TYPE_CHECKING:
    from roost.cli.app import App
    from roost.cli.node import Node
    from roost.cli.open_session import SessionOptions


class Start(NamedTuple):
    """The options of `roost chat`, as in `roost.cli.open_session.SessionOptions`, which is imported once the prompt
    stands."""

    agent: str | None
    model: str | None
    places: tuple[Path, ...]
    session: str | None
    workspace: str | None

    def options(self) -> SessionOptions:
        from roost.cli.open_session import SessionOptions

        return SessionOptions(*self)


def talk(app: App, start: Start, *, yes: bool) -> int:
    """Talk until the person leaves. Returns the exit code. Raises what prevents the session from being opened.

    The prompt stands before the rest is imported; what is typed meanwhile is read then."""
    tty = Tty()
    columns, rows = tty.size()
    colour = not os.environ.get("NO_COLOR")
    live = Live(tty.write, columns=columns, rows=rows, colour=colour, reflows=reflows(os.environ))
    live.codes = THEMES[kept(app.home)][1]
    folder = Path(start.workspace or os.getcwd())
    tty.begin()
    try:
        _draw(live, folder)
        _converse(app, start, folder, tty, live, yes=yes)
    finally:
        tty.end()
    return 0


def _draw(live: Live, folder: Path) -> None:
    """Draw the head of a conversation and an empty prompt, as the conversation draws it while it is opened."""
    from roost.version import version

    where = str(folder).replace(str(Path.home()), "~", 1)
    head: list[Line] = [
        (Span("roost ", BOLD), *plain(f"{version()}  {where}", DIM)),
        (Span("/ for commands, @ for files, ? for keys", DIM),),
    ]
    width, height = live.width, live.rows - 1
    drawn = arranged(
        Parts(
            open=[],
            running=[],
            status=[(Span(STARTING, DIM),)],
            queue=[],
            below=[],
            editor=editor_rows(Editor(), width, 1),
            offers=[],
            footer=[footer([DEFAULT_MODEL], "", width)],
        ),
        height,
    )
    live.frame(drawn.rows, commit=[*(row for line in head for row in wrap(line, width)), ()], cursor=drawn.cursor)


def _converse(app: App, start: Start, folder: Path, tty: Tty, live: Live, *, yes: bool) -> None:
    from roost.cli.terminal.chat import Chat, Opening

    def begin() -> tuple[Node, str]:
        from roost.cli.open_session import begin

        return begin(app, start.options())

    def needs_terminal() -> bool:
        """True when the weights of a local model have to be fetched first."""
        from roost.cli.local_worker_start import warm

        if start.session is not None or (start.agent is not None and start.model is None):
            return False
        warm(app, start.model)
        if _has_daemon(app):
            return False
        from roost.cli.weights_download import missing

        return missing(start.model)

    def create(node: Node, agent: str | None) -> str:
        name = agent or (node.info(chat.link.session).agent if chat.link is not None else "assistant")
        return node.sessions.create(name, workspace=start.workspace).id

    variables = {"ROOST_URL": app.url, "ROOST_TOKEN": app.token}
    given = {name: value for name, value in variables.items() if value}
    opening = Opening(begin, create, needs_terminal, start.session is None, folder, given)
    chat = Chat(opening, app.home, tty, live, yes=yes)
    chat.run()


def _has_daemon(app: App) -> bool:
    from roost.client.daemon_address import Unreachable

    try:
        app.locate()
    except Unreachable:
        return False
    return True
