"""Give an agent one task and follow it to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost.cli.approvals import Approver, mode_for
from roost.cli.follow import Follower, Turn
from roost.cli.model_notices import ending
from roost.cli.node import Content
from roost.cli.open_session import SessionOptions, begin
from roost.cli.output import note, say_json
from roost.cli.renderer import Renderer, usage_line
from roost.ids import short
from roost.terminal_text import clean, one_line

if TYPE_CHECKING:
    from roost.cli.app import App
    from roost.cli.node import Node


def do(app: App, wanted: SessionOptions, said: Content, *, yes: bool, quiet: bool, as_json: bool) -> int:
    """Give the agent its task and print the result. Returns the exit code."""
    node, session = begin(app, wanted)
    approver = Approver(mode_for(yes=yes))
    hurry = False
    try:
        turn = say_and_follow(node, session, said, Renderer(quiet=quiet, silent=as_json, spin=True), approver)
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


def say_and_follow(node: Node, session: str, said: Content, screen: Renderer, approver: Approver) -> Turn:
    sent = node.send(session, said)
    node.work_on(session)
    return Follower(node, session, screen=screen, approver=approver).follow(after=sent.head, until=sent.input)


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
            words = {"error": f"resume {name}", "stopped": f"start {name}"}
            word = words.get(node.info(session).state, f"run --session {name} …")
            return f"session {name}: {turn.outcome}; go on with: roost {word}"


def _running(node: Node, session: str, turn: Turn) -> None:
    """List the jobs that outlive the turn, and say where they run."""
    if turn.outcome == "gone":
        return
    for job in node.sessions.inspect(session).jobs:
        where = "runs on in the daemon" if node.daemon else "ends with this command; under a daemon it would run on"
        note(f"{job.job} {where}: {clean(one_line(job.command, 80))}")


def _code(turn: Turn) -> int:
    if turn.outcome == "answered":
        return 0
    return 130 if turn.interrupted else 1
