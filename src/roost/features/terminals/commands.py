"""`roost attach --tty`, `roost terminal`: terminals of sessions."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roost.cli.app import App
from roost.cli.commands.attach import attach as plain_attach
from roost.cli.options import agent_places, as_json, command, session_argument
from roost.cli.output import ago, note, put, say, say_json, table
from roost.cli.session_ids import session_id
from roost.errors import ConfigError, NotFound
from roost.terminal_text import clean, one_line

if TYPE_CHECKING:
    from roost.cli.node import Node
    from roost.features.terminals.api import TerminalView

_KEY = click.Choice(
    [f"ctrl-{chr(letter)}" for letter in range(ord("a"), ord("z") + 1)] + ["ctrl-]", "ctrl-\\", "ctrl-^"]
)


@contextlib.contextmanager
def _session(app: App, text: str | None) -> Generator[tuple[Node, str]]:
    node = app.node()
    try:
        yield node, session_id(node, text)
    finally:
        node.close()


@command("attach")
@session_argument
@agent_places
@click.option("--tty", is_flag=True, help="Attach to a terminal of the session, and open one if there is none.")
@click.option("--terminal", metavar="ID", help="With --tty: attach to this terminal.")
@click.option("--new", is_flag=True, help="With --tty: open a new terminal.")
@click.option("--command", "program", metavar="LINE", help="With --tty: open a new terminal that runs this.")
@click.option("--look", is_flag=True, help="With --tty: type nothing, and leave the size as it is.")
@click.option("--name", metavar="NAME", help="With --tty: what others read as your name.")
@click.option(
    "--detach-key",
    type=_KEY,
    metavar="KEY",
    default="ctrl-]",
    show_default=True,
    help="With --tty: the key that detaches.",
)
def attach(
    app: App,
    session: str | None,
    agent_places: tuple[Path, ...],
    tty: bool,
    terminal: str | None,
    new: bool,
    program: str | None,
    look: bool,
    name: str | None,
    detach_key: str,
) -> int:
    """Follow a session live, text as it is written; by default the newest session.

    It begins with the last messages, and says what a session at rest waits for. Ctrl-C leaves; the session continues.
    After a restart of the daemon it continues without a gap. It asks about calls that wait for a person. Without a
    daemon this command does the session's unfinished work while it runs.

    With --tty your terminal becomes a window onto one in the session's sandbox, which others and the agent may use at
    the same time. Ctrl-] detaches; the program runs on.
    """
    if not tty:
        return click.get_current_context().invoke(plain_attach, session=session, agent_places=agent_places)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError("attach --tty needs a terminal here; without one use: roost terminal show")
    from roost.features.terminals.attachment import Attachment

    with _session(app, session) as (node, id):
        if not node.daemon:
            raise ConfigError("attach --tty needs a daemon, which keeps the terminal: start one with `roost up -d`")
        found = _chosen(node, id, terminal, new=new, program=program, name=name)
        note(f"terminal {found.terminal}: {one_line(' '.join(found.command), 60)}. {detach_key.capitalize()} detaches")
        attachment = Attachment(node.locate, id, found.terminal, name=name, look=look, key=detach_key)
        ended = attachment.run()
    if ended.said:
        note(ended.said)
    return ended.code


def _chosen(
    node: Node, session: str, terminal: str | None, *, new: bool, program: str | None, name: str | None
) -> TerminalView:
    if terminal is not None:
        return node.terminals.get(session, terminal)
    running = [one for one in node.terminals.list(session).terminals if one.state == "running"]
    if running and not new and program is None:
        return running[-1]
    words = None if program is None else ["/bin/sh", "-c", program]
    return node.terminals.open(session, command=words, name=name)


@click.group("terminal")
def terminal() -> None:
    """Show and end the terminals of a session.

    \b
      roost attach --tty                    open one, or attach to it
      roost terminal list                   those of the newest session
      roost terminal show term-1f3a2b4c     what its screen shows
      roost terminal cast term-1f3a2b4c     its recording, for asciinema
    """


@command("list", store=True)
@session_argument
@as_json
def list_(app: App, session: str | None, as_json: bool) -> int:
    """List the terminals of a session; by default the newest session's."""
    with _session(app, session) as (node, id):
        found = node.terminals.list(id).terminals
    if as_json:
        say_json(found)
    elif not found:
        note("there are no terminals; open one with: roost attach --tty")
    else:
        rows = [
            (one.terminal, _how(one), one.by, ago(one.active), one_line(" ".join(one.command), 50)) for one in found
        ]
        table(("TERMINAL", "STATE", "BY", "ACTIVE", "COMMAND"), rows)
    return 0


def _how(one: TerminalView) -> str:
    if one.state == "running":
        return f"held by {clean(one.keyboard)}" if one.keyboard else "running"
    return clean(one.reason) if one.reason else f"exit code {one.code}"


@command("show", store=True)
@click.argument("terminal")
@session_argument
@click.option("--scrollback", type=click.IntRange(0, 2000), default=0, help="Lines above the screen to show first.")
@as_json
def show(app: App, terminal: str, session: str | None, scrollback: int, as_json: bool) -> int:
    """Print what the screen of a terminal shows."""
    with _session(app, session) as (node, id):
        screen = node.terminals.screen(id, terminal, scrollback=scrollback)
    if as_json:
        say_json(screen)
    else:
        for line in screen.lines:
            say(clean(line))
    return 0


@command("cast", store=True)
@click.argument("terminal")
@session_argument
def cast(app: App, terminal: str, session: str | None) -> int:
    """Print the newest output of a terminal as asciicast v2, also of one that has ended."""
    with _session(app, session) as (node, id):
        recorded = node.terminals.recording(id, terminal).cast
    if not recorded:
        raise NotFound(f"there is no recording of {terminal}")
    put(recorded, sys.stdout)
    return 0


@command("end", store=True)
@click.argument("terminal")
@session_argument
def end(app: App, terminal: str, session: str | None) -> int:
    """End a terminal and all that runs in it."""
    with _session(app, session) as (node, id):
        node.terminals.end(id, terminal)
    return 0


for one in (list_, show, cast, end):
    terminal.add_command(one)

COMMANDS = {"Sessions": (attach,), "This machine": (terminal,)}
