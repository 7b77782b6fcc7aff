"""`roost run`. Most imports come after the start of the local model's worker, so that both run at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from roost.agent.options import CodingAgent
from roost.cli.app import App, folder
from roost.cli.local_worker_start import warm
from roost.cli.options import agent_places, as_json, attached, command, complete_session


@command("run")
@click.argument("words", nargs=-1, metavar='[AGENT] "MESSAGE"')
@click.option("--agent", metavar="NAME", help="The agent. [default: assistant]")
@click.option(
    "--with",
    "program",
    type=click.Choice(get_args(CodingAgent)),
    help="Let a coding agent of another product do the work, with Roost's models and rules.",
)
@click.option("--workspace", "-w", metavar="DIR", default=".", help="The folder to work in. [default: this one]")
@click.option("--private", is_flag=True, help="Work in an empty folder of the session's own instead.")
@click.option("--model", "-m", metavar="NAME", help="A model for this session, as in openai/gpt-5-mini or local.")
@click.option(
    "--session",
    "-s",
    metavar="SESSION",
    help="Continue this session instead of a new one.",
    shell_complete=complete_session,
)
@click.option("--yes", "-y", is_flag=True, help="Approve every tool call without asking.")
@click.option("--quiet", "-q", is_flag=True, help="Print only the answer.")
@attached
@agent_places
@as_json
def run(
    app: App,
    words: tuple[str, ...],
    agent: str | None,
    program: CodingAgent | None,
    workspace: str,
    private: bool,
    model: str | None,
    session: str | None,
    yes: bool,
    quiet: bool,
    attach: tuple[Path, ...],
    agent_places: tuple[Path, ...],
    as_json: bool,
) -> int:
    """Give an agent one task and print its answer.

    The answer goes to standard output; tool calls, questions and notes go to standard error. A MESSAGE of - is read
    from standard input.

    In a sandbox of level 1 (`roost doctor`) the agent works in its folder without asking. It asks before it installs,
    publishes, reaches other machines, or destroys what git does not have; without a sandbox, before each command that
    is not known to only read. In a terminal you answer; elsewhere such a call is rejected unless you gave --yes.

    \b
      roost run "Which of these files is the largest?"
      roost run reviewer "Look at the last commit" --yes
      git diff | roost run - --quiet > review.txt
      roost run --with claude-code "Find out why the tests fail."

    The command uses the daemon if one runs; else it does the work itself. Ctrl-C cancels the task; the session stays,
    and --session continues it. Exit code: 0 answered, 1 failed, 130 cancelled by Ctrl-C.
    """
    if words and session is None and (model is not None or (agent is None and len(words) == 1)):
        warm(app, model)
    from roost.cli.message_input import with_files
    from roost.cli.open_session import SessionOptions
    from roost.cli.run_task import do

    name, message = _split(words, agent)
    said = with_files(message, attach)
    place = None if private else folder(workspace)
    silent = quiet or as_json
    wanted = SessionOptions(name, model, agent_places, session, place, silent, message, program=program)
    return do(app, wanted, said, yes=yes, as_json=as_json, quiet=quiet)


def _split(words: tuple[str, ...], agent: str | None) -> tuple[str | None, str]:
    if not words:
        raise click.UsageError('give a message: roost run "What is in this folder?" (or - to read it from stdin)')
    from roost.cli.message_input import message_of

    *names, message = words
    if len(names) > (0 if agent is not None else 1):
        raise click.UsageError('put the message into quotes: roost run [AGENT] "the whole message"')
    message = message_of(message)
    if not message.strip():
        raise click.UsageError("the message is empty")
    return names[0] if names else agent, message
