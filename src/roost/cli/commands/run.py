"""`roost run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from roost.cli.app import App, folder
from roost.cli.approvals import Approver, mode_for
from roost.cli.begin import Wanted, begin
from roost.cli.follow import Follower, Turn
from roost.cli.ids import short
from roost.cli.message import message_of, with_files
from roost.cli.notices import ending
from roost.cli.options import agent_places, as_json, attached, command
from roost.cli.out import clean, note, one_line, say_json
from roost.cli.screen import Screen, usage_line
from roost.client.client import Content

if TYPE_CHECKING:
    from roost.cli.node import Node


@command("run")
@click.argument("words", nargs=-1, metavar='[AGENT] "MESSAGE"')
@click.option("--agent", metavar="NAME", help="The agent. [default: assistant]")
@click.option("--workspace", "-w", metavar="DIR", default=".", help="The folder to work in. [default: this one]")
@click.option("--private", is_flag=True, help="Work in an empty folder of the session's own instead.")
@click.option("--model", "-m", metavar="NAME", help="A model for this session, as in openai/gpt-5-mini or local.")
@click.option("--session", "-s", metavar="SESSION", help="Go on with this session instead of a new one.")
@click.option("--yes", "-y", is_flag=True, help="Approve every tool call without asking.")
@click.option("--quiet", "-q", is_flag=True, help="Print the answer alone.")
@attached
@agent_places
@as_json
def run(
    app: App,
    words: tuple[str, ...],
    agent: str | None,
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
    from standard input. Calls that change something are asked about first: in a terminal you answer, elsewhere they
    are rejected unless you gave --yes.

    \b
      roost run "Which of these files is the largest?"
      roost run reviewer "Look at the last commit" --yes
      git diff | roost run - --quiet > review.txt

    It uses the daemon if one runs, else it works by itself. Ctrl-C cancels the task; the session stays, and --session
    goes on with it. Exit code: 0 answered, 1 failed, 130 cancelled by Ctrl-C.
    """
    name, message = _split(words, agent)
    said = with_files(message, attach)
    place = None if private else folder(workspace)
    node, session = begin(app, Wanted(name, model, agent_places, session, place, quiet=quiet or as_json))
    return _task(node, session, said, Approver(mode_for(yes=yes)), quiet=quiet, as_json=as_json)


def _task(node: Node, session: str, said: Content, approver: Approver, *, quiet: bool, as_json: bool) -> int:
    hurry = False
    try:
        turn = say_and_follow(node, session, said, Screen(quiet=quiet, silent=as_json, spin=True), approver)
        hurry = turn.outcome == "left"
        if as_json:
            say_json(_report(session, turn))
        elif not quiet:
            note(_closing(node, session, turn))
            _running(node, session, turn)
        elif turn.outcome != "answered" and turn.reason:
            note(f"error: {clean(ending(turn.outcome, turn.reason))}", "red")
        return _code(turn)
    finally:
        node.close(grace=0.0 if hurry else 5.0)


def say_and_follow(node: Node, session: str, said: Content, screen: Screen, approver: Approver) -> Turn:
    sent = node.send(session, said, source="cli")
    node.work_on(session)
    return Follower(node, session, screen=screen, approver=approver).follow(after=sent.head, until=sent.input)


def _split(words: tuple[str, ...], agent: str | None) -> tuple[str | None, str]:
    if not words:
        raise click.UsageError('give a message: roost run "What is in this folder?" (or - to read it from stdin)')
    *names, message = words
    if len(names) > (0 if agent is not None else 1):
        raise click.UsageError('put the message into quotes: roost run [AGENT] "the whole message"')
    message = message_of(message)
    if not message.strip():
        raise click.UsageError("the message is empty")
    return names[0] if names else agent, message


def _report(session: str, turn: Turn) -> dict[str, object]:
    return {
        "session": session,
        "outcome": turn.outcome,
        "reason": turn.reason,
        "text": turn.text,
        "steps": turn.steps,
        "usage": turn.usage,
        "calls": turn.calls,
    }


def _closing(node: Node, session: str, turn: Turn) -> str:
    name = short(session)
    match turn.outcome:
        case "answered":
            return f"session {name}: {turn.steps} step{'' if turn.steps == 1 else 's'}, {usage_line(turn.usage)}"
        case "left":
            if node.daemon:
                return f"left; it goes on in the daemon: roost attach {name}"
            return f"left; the session is kept: roost run --session {name} …, or roost up"
        case "paused":
            return f"session {name} is paused: roost resume {name}"
        case "gone":
            return f"session {name} was deleted"
        case _:
            return f"session {name}: {turn.outcome}; go on with: roost run --session {name} …"


def _running(node: Node, session: str, turn: Turn) -> None:
    """What runs on when the turn is over, and with whom it ends."""
    if turn.outcome == "gone":
        return
    for job in node.inspect(session).jobs:
        where = "runs on in the daemon" if node.daemon else "ends with this command; under a daemon it would run on"
        note(f"{job.job} {where}: {clean(one_line(job.command, 80))}")


def _code(turn: Turn) -> int:
    if turn.outcome == "answered":
        return 0
    return 130 if turn.interrupted else 1
