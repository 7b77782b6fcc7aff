"""`roost attach`."""

from __future__ import annotations

import sys
from pathlib import Path

from roost.cli.app import App
from roost.cli.approvals import Approver
from roost.cli.commands.show import message_lines
from roost.cli.follow import Follower
from roost.cli.options import agent_places, command, session_argument
from roost.cli.output import note
from roost.cli.renderer import Renderer
from roost.cli.session_ids import session_id
from roost.cli.session_words import activity
from roost.ids import short
from roost.log.session_info import SessionInfo

_LAST = 4
"""Number of earlier messages that are shown first."""


@command("attach")
@session_argument
@agent_places
def attach(app: App, session: str | None, agent_places: tuple[Path, ...]) -> int:
    """Follow a session live, text as it is written; by default the newest session.

    It begins with the last messages, and says what a session at rest waits for. Ctrl-C leaves; the session continues.
    After a restart of the daemon it continues without a gap. It asks about calls that wait for a person. Without a
    daemon this command does the session's unfinished work while it runs.
    """
    node = app.node(app.agents(agent_places) if agent_places else None)
    if node.daemon and agent_places:
        note("the daemon does the work, with the agents that it knows: --agents changes nothing", "yellow")
    try:
        session = session_id(node, session)
        view = node.sessions.inspect(session)
        info = view.info
        note(f"session {short(session)} of agent {info.agent}, {activity(info)}. Ctrl-C leaves it running")
        for message in node.sessions.messages(session).messages[-_LAST:]:
            for line in message_lines(message, asking={call.call for call in view.approvals}, to=sys.stderr):
                note(line, None)
        if not info.pending and (info.phase == "idle" or info.state != "running"):
            note(_waits(info))
        elif view.unknown:
            way = "start a daemon with" if node.daemon else "name"
            note(
                f"its agent needs {', '.join(view.unknown)}: {way} the Python file that has it, --agents FILE", "yellow"
            )
        node.work_on(session)
        mode = "ask" if sys.stdin.isatty() and sys.stderr.isatty() else "leave"
        follower = Follower(
            node, session, screen=Renderer(inputs=True, spin=True), approver=Approver(mode), ctrl_c="leave"
        )
        turn = follower.follow(after=info.head)
        if turn.outcome == "gone":
            note("the session was deleted")
            return 1
        return 0
    finally:
        node.close()


def _waits(info: SessionInfo) -> str:
    """Say what a session at rest waits for."""
    match info.state:
        case "paused" | "error":
            return f"it goes on after: roost resume {short(info.id)}"
        case "stopped":
            return f"it goes on after: roost start {short(info.id)}"
        case _:
            return f'it waits for a message; from another terminal: roost send {short(info.id)} "…"'
