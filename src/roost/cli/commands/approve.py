"""`roost approve`."""

from __future__ import annotations

import click

from roost.cli.app import App
from roost.cli.ids import session_id, short
from roost.cli.options import as_json, command
from roost.cli.out import one_line, say, say_json
from roost.cli.screen import arguments_line
from roost.errors import Conflict, NotFound
from roost.kernel.sessions import PendingApproval


@command("approve")
@click.argument("session")
@click.argument("call", required=False)
@click.option("--reject", is_flag=True, help="Say no instead.")
@click.option("--note", metavar="TEXT", help="What the agent is told with the answer.")
@as_json
def approve(app: App, session: str, call: str | None, reject: bool, note: str | None, as_json: bool) -> int:
    """Answer a tool call that waits for a person.

    CALL may be left out when only one waits. `roost show` lists those that wait.
    """
    node = app.node()
    try:
        session = session_id(node, session)
        waiting = _chosen(node.inspect(session).approvals, session, call)
        node.approve(session, waiting.call, "reject" if reject else "approve", note=note)
        if as_json:
            say_json({"session": session, "call": waiting.call, "decision": "reject" if reject else "approve"})
        else:
            word = "rejected" if reject else "approved"
            later = "" if node.daemon else "; no daemon runs: it takes effect with `roost up` or `roost attach`"
            say(f"{word} {waiting.tool} {one_line(arguments_line(waiting.arguments), 100)}{later}")
        return 0
    finally:
        node.close()


def _chosen(waiting: tuple[PendingApproval, ...], session: str, call: str | None) -> PendingApproval:
    found = [one for one in waiting if call is None or one.call == call or one.call.endswith(call)]
    if not found:
        what = f"no call {call!r}" if call else "nothing"
        raise NotFound(f"{what} of session {short(session)} waits for an answer", code="not_waiting")
    if len(found) > 1:
        listed = "; ".join(f"{one.call} ({one.tool} {one_line(arguments_line(one.arguments), 40)})" for one in found)
        raise Conflict(f"{len(found)} calls wait, name one: {listed}")
    return found[0]
