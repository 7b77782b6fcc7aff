"""`roost attach`."""

from __future__ import annotations

import sys

from roost.cli.app import App
from roost.cli.approvals import Approver
from roost.cli.follow import Follower
from roost.cli.options import command, session_argument
from roost.cli.output import note
from roost.cli.renderer import Renderer
from roost.cli.session_ids import session_id, short


@command("attach")
@session_argument
def attach(app: App, session: str | None) -> int:
    """Follow a session live, text as it is written; by default the newest session.

    Ctrl-C leaves, and the session goes on. When the daemon restarts it is followed further without a gap. Calls that
    wait for a person are asked about here. Without a daemon the session's unfinished work is done by this command,
    for as long as it runs.
    """
    node = app.node()
    try:
        session = session_id(node, session)
        info = node.get(session)
        note(f"session {short(session)} of agent {info.agent}, {info.state}, {info.phase}. Ctrl-C leaves it running")
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
