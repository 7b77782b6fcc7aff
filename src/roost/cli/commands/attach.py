"""`roost attach`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from roost.cli.app import App
from roost.cli.approvals import Approver
from roost.cli.commands.listing import activity
from roost.cli.commands.show import message_lines
from roost.cli.follow import Follower
from roost.cli.options import command, session_argument
from roost.cli.output import note
from roost.cli.renderer import Renderer
from roost.cli.session_ids import session_id, short
from roost.log.protocols import SessionInfo

if TYPE_CHECKING:
    from roost.cli.node import Node

_LAST = 4
"""Messages of a resting session that are shown first."""


@command("attach")
@session_argument
def attach(app: App, session: str | None) -> int:
    """Follow a session live, text as it is written; by default the newest session.

    Ctrl-C leaves, and the session goes on. When the daemon restarts it is followed further without a gap. Calls that
    wait for a person are asked about here. Of a session that does nothing now, the last messages are shown first.
    Without a daemon the session's unfinished work is done by this command, for as long as it runs.
    """
    node = app.node()
    try:
        session = session_id(node, session)
        info = node.get(session)
        note(f"session {short(session)} of agent {info.agent}, {activity(info)}. Ctrl-C leaves it running")
        if not info.pending and (info.phase == "idle" or info.state != "running"):
            _at_rest(node, info)
        node.work_on(session)
        mode = "ask" if sys.stdin.isatty() and sys.stderr.isatty() else "leave"
        follower = Follower(node, session, screen=Renderer(inputs=True), approver=Approver(mode), ctrl_c="leave")
        turn = follower.follow(after=info.head)
        if turn.outcome == "gone":
            note("the session was deleted")
            return 1
        return 0
    finally:
        node.close()


def _at_rest(node: Node, info: SessionInfo) -> None:
    """Show the last messages, and what the session waits for."""
    for message in node.messages(info.id)[-_LAST:]:
        for line in message_lines(message, to=sys.stderr):
            note(line, None)
    match info.state:
        case "paused" | "error":
            waits = f"it goes on after: roost resume {short(info.id)}"
        case "stopped":
            waits = f"it goes on after: roost start {short(info.id)}"
        case _:
            waits = f'it waits for a message; from another terminal: roost send {short(info.id)} "…"'
    note(waits)
