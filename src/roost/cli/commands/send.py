"""`roost send`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from roost.cli.app import App
from roost.cli.message_input import message_of, with_files
from roost.cli.options import as_json, attached, command, named_session
from roost.cli.output import note, say_json
from roost.cli.session_ids import session_id
from roost.ids import short

if TYPE_CHECKING:
    from roost.api.shapes import AcceptedInput
    from roost.cli.node import Node


@command("send")
@named_session
@click.argument("message")
@click.option("--steer", is_flag=True, help="Deliver it into the running turn, after the present tool calls.")
@click.option("--wait", is_flag=True, help="Follow until it is answered, and print the answer.")
@attached
@as_json
def send(app: App, session: str, message: str, steer: bool, wait: bool, attach: tuple[Path, ...], as_json: bool) -> int:
    """Send a message to a session (- reads it from standard input).

    When the command returns, the message is on disk. The daemon answers it, or the next one that starts. A working
    session answers it after the running turn, unless --steer delivers it into that turn.
    """
    said = with_files(message_of(message), attach)
    with app.node() as node:
        session = session_id(node, session)
        sent = node.send(session, said, mode="steer" if steer else "follow_up")
        if sent.waits_for:
            note(
                f"it waits: no running node knows {', '.join(sent.waits_for)}; start one with the file that defines it,"
                f" or give the session the agent as it is here: roost agents move {short(session)}",
                "yellow",
            )
        if wait:
            return _wait(node, session, sent, as_json=as_json)
        if as_json:
            waits = {"waits_for": sent.waits_for} if sent.waits_for else {}
            say_json({"session": session, "input": sent.input, "duplicate": sent.duplicate} | waits)
        else:
            answers = node.daemon or sent.waits_for
            note(f"accepted by {short(session)}" + ("" if answers else "; no daemon runs: `roost up` answers it"))
        return 0


def _wait(node: Node, session: str, sent: AcceptedInput, *, as_json: bool) -> int:
    """Follow the session until the message is answered."""
    from roost.cli.approvals import Approver
    from roost.cli.follow import Follower
    from roost.cli.renderer import Renderer

    node.work_on(session)
    screen = Renderer(silent=as_json, spin=True)
    follower = Follower(node, session, screen=screen, approver=Approver("leave"), ctrl_c="leave")
    turn = follower.follow(after=sent.head, until=sent.input)
    if as_json:
        say_json({"session": session, "input": sent.input, "outcome": turn.outcome, "text": turn.text})
    return 0 if turn.outcome == "answered" else 1
