"""`roost pause`, `resume`, `cancel`, `stop`, `start`, `trust` and `rm`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from roost.cli.app import App
from roost.cli.options import as_json, command, sessions_argument
from roost.cli.output import note, say, say_json
from roost.cli.session_ids import session_id, shortened
from roost.errors import RoostError
from roost.ids import short
from roost.log.session_info import ControlAction, SessionInfo

if TYPE_CHECKING:
    from roost.cli.node import Node

_AIMS: dict[ControlAction, str] = {"start": "running", "resume": "running", "pause": "paused", "stop": "stopped"}


def for_each(app: App, sessions: tuple[str, ...], work: Callable[[Node, str], object], *, as_json: bool) -> int:
    """Apply `work` to each session; an error of one does not stop the others."""
    node = app.node()
    failed = 0
    results: list[object] = []
    try:
        for text in sessions:
            try:
                session = session_id(node, text)
                results.append(work(node, session))
            except RoostError as error:
                failed += 1
                results.append({"session": text, "error": {"code": error.code, "message": error.message}})
                note(f"error: {shortened(error.message)}", "red")
    finally:
        node.close()
    if as_json:
        say_json(results)
    return 1 if failed else 0


def _control(app: App, sessions: tuple[str, ...], action: ControlAction, *, as_json: bool) -> int:
    def one(node: Node, session: str) -> SessionInfo:
        info = node.sessions.control(session, action)
        if not as_json:
            busy = action == "cancel" and info.phase != "idle" and node.sessions.inspect(session).turn is not None
            say(f"{short(session)} {_now(info, action, daemon=node.daemon, busy=busy)}")
        return info

    return for_each(app, sessions, one, as_json=as_json)


def _now(info: SessionInfo, action: ControlAction, *, daemon: bool, busy: bool) -> str:
    if action == "cancel" and info.state == "running":
        return f"cancelled what it did; now {info.phase} on what was queued" if busy else "cancelled"
    if action == "trust" and not info.pending:
        return "trusted"
    if info.state == _AIMS.get(action):
        return info.state
    if action == "resume" and info.state == "stopped":
        return f"stopped; `roost start {short(info.id)}` starts it again"
    if info.pending:
        when = "as soon as the step allows" if daemon else f"with `roost attach {short(info.id)}` or `roost up`"
        return f"{info.state}; {action} accepted, takes effect {when}"
    return f"{info.state}; {action} changes nothing in this state"


def _command(action: ControlAction, text: str) -> click.Command:
    def run(app: App, sessions: tuple[str, ...], as_json: bool) -> int:
        return _control(app, sessions, action, as_json=as_json)

    run.__doc__ = text
    return command(action)(sessions_argument(as_json_option(run)))


as_json_option = as_json

pause = _command(
    "pause",
    """Pause sessions where they are.

    This interrupts the running step; `roost resume` resumes it. Messages wait meanwhile.""",
)
resume = _command("resume", """Resume paused or failed sessions.""")
cancel = _command(
    "cancel",
    """Cancel the running turns of sessions; the sessions stay.

    A running turn ends at once, without an answer: its model call or tool call is interrupted. Then the session takes
    the next message.""",
)
stop = _command(
    "stop",
    """Stop sessions; they take no more messages.

    This also cancels the running turn. The session refuses messages until `roost start`.""",
)
start = _command("start", """Start stopped sessions again.""")
trust = _command(
    "trust",
    """Clear the untrusted-content mark of sessions.

    A session that has read text of strangers asks before each call with an outside effect, unless a rule of yours
    allows the call. Use this after you have checked that text.""",
)


@command("rm")
@sessions_argument
@click.option("--force", "-f", is_flag=True, help="Do not ask.")
@as_json
def rm(app: App, sessions: tuple[str, ...], force: bool, as_json: bool) -> int:
    """Delete sessions, their logs and private files.

    Roost does not touch a folder of yours that a session worked in. In a terminal the command asks first.
    """
    import sys

    if not force and not as_json and sys.stdin.isatty():
        click.confirm(f"Delete {len(sessions)} session(s) for good?", abort=True, err=True)

    def one(node: Node, session: str) -> dict[str, object]:
        node.sessions.delete(session)
        if not as_json:
            say(f"{short(session)} deleted")
        return {"session": session, "deleted": True}

    return for_each(app, sessions, one, as_json=as_json)
