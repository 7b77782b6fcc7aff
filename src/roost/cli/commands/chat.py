"""`roost chat`. What talks is imported once it is known whether there is a terminal to draw on."""

from __future__ import annotations

import os
from pathlib import Path

import click

from roost.cli.app import App, folder
from roost.cli.options import agent_places, command, complete_session


@command("chat")
@click.argument("agent", required=False)
@click.option("--workspace", "-w", metavar="DIR", default=".", help="The folder to work in. [default: this one]")
@click.option("--private", is_flag=True, help="Work in an empty folder of the session's own instead.")
@click.option("--model", "-m", metavar="NAME", help="A model for this session, as in openai/gpt-5-mini or local.")
@click.option(
    "--session",
    "-s",
    metavar="SESSION",
    help="Continue this session; @last is the newest.",
    shell_complete=complete_session,
)
@click.option("--yes", "-y", is_flag=True, help="Approve every tool call without asking.")
@click.option("--plain", is_flag=True, help="Print lines only, as to a pipe; for screen readers and simple terminals.")
@agent_places
def chat(
    app: App,
    agent: str | None = None,
    workspace: str = ".",
    private: bool = False,
    model: str | None = None,
    session: str | None = None,
    yes: bool = False,
    plain: bool = False,
    agent_places: tuple[Path, ...] = (),
) -> int:
    """Talk with an agent; by default with the built-in assistant.

    What you type while the agent works goes into the running turn. / lists the commands, ? the keys. The command uses
    the daemon if one runs; else it does the work itself while it is open. From a pipe, on a simple terminal and with
    --plain it reads one message a line. `roost` alone is `roost chat`.
    """
    place = None if private else folder(workspace)
    if not plain and _drawable():
        from roost.cli.terminal.start import Start, talk

        return talk(app, Start(agent, model, agent_places, session, place), yes=yes)
    from roost.cli import plain_chat
    from roost.cli.open_session import SessionOptions

    return plain_chat.talk(app, SessionOptions(agent, model, agent_places, session, place), yes=yes)


def _drawable() -> bool:
    """True on a terminal that a conversation can be drawn on."""
    try:
        from roost.cli.terminal.tty import usable
    except ImportError:  # not on Unix
        return False
    return usable(os.environ)
