"""`roost outcome`: the goal of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from roost.cli.app import App
from roost.cli.options import as_json, command, session_argument
from roost.cli.output import Style, note, say, say_json, styled
from roost.cli.session_ids import session_id
from roost.terminal_text import clean

if TYPE_CHECKING:
    from roost.features.outcomes.api import OutcomeView

_COLOURS: dict[str, Style] = {"met": "green", "unmet": "red", "open": "yellow"}


@command("outcome")
@session_argument
@click.option("--rubric", metavar="TEXT", default="", help="What must be true, in words; a model judges it.")
@click.option("--check", "commands", metavar="COMMAND", multiple=True, help="A shell line that must exit with 0.")
@click.option("--file", "files", metavar="PATTERN", multiple=True, help="A file that must exist, as 'docs/*.md'.")
@click.option("--attempts", type=click.IntRange(1, 100), default=5, help="Answers that are checked. [default: 5]")
@click.option("--grader", metavar="MODEL", help="The model that judges the rubric. [default: the agent's]")
@click.option("--withdraw", is_flag=True, help="Take the goal from the session.")
@as_json
def outcome(
    app: App,
    session: str | None,
    rubric: str,
    commands: tuple[str, ...],
    files: tuple[str, ...],
    attempts: int,
    grader: str | None,
    withdraw: bool,
    as_json: bool,
) -> int:
    """Give a session a goal, or show the one that it has.

    With a goal, an answer of the agent counts only once the goal is met. It is checked in a copy of the session's
    files. What is missing the agent gets to read, and goes on.
    """
    if withdraw and (rubric or commands or files):
        raise click.UsageError("--withdraw goes without --rubric, --check and --file")
    from roost.features.outcomes.goal import Goal  # imported late: `roost --help` needs none of it

    goal = Goal(rubric=rubric, commands=commands, files=files, attempts=attempts, grader=grader)
    with app.node() as node:
        name = session_id(node, session)
        if withdraw:
            found = node.outcomes.withdraw(name)
        elif goal.empty:
            found = node.outcomes.get(name)
        else:
            found = node.outcomes.define(name, goal)
    if as_json:
        say_json(found)
    elif found.pending:
        note("accepted; it takes effect as soon as the step allows, or when a daemon runs (`roost up`)")
    else:
        _show(found)
    return 0


def _show(found: OutcomeView) -> None:
    goal = found.goal
    if goal is None:
        note("the session has no goal: give --check, --file or --rubric")
        return
    say(f"{styled(found.status, _COLOURS[found.status])}  checked {found.attempts} of {goal.attempts} times")
    judged = {(one.kind, one.what): one for one in found.findings}
    wanted = [*(("file", one) for one in goal.files), *(("command", one) for one in goal.commands)]
    for key in [*wanted, *(one for one in judged if one not in wanted)]:
        one = judged.get(key)
        mark = "·" if one is None else "✓" if one.met else "✗"
        say(clean(f"  {mark} {key[0]} {key[1]}"))
        for line in one.detail.splitlines()[:8] if one is not None and not one.met else ():
            say(clean(f"      {line}"))
    if goal.rubric and not any(kind == "rubric" for kind, _ in judged):
        say(clean(f"  · rubric {goal.rubric}"))


COMMANDS = {"Sessions": (outcome,)}
