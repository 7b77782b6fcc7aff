"""`roost approve`."""

from __future__ import annotations

import json
import sys
from typing import Any, cast

import click
from msgspec.structs import replace

from roost.cli.app import App
from roost.cli.approval_text import call_rows
from roost.cli.options import as_json, command, named_session
from roost.cli.output import note as tell
from roost.cli.output import say, say_json
from roost.cli.renderer import arguments_line
from roost.cli.session_ids import session_id
from roost.errors import Conflict, NotFound
from roost.ids import short
from roost.log.session_info import Decision, GrantScope
from roost.log.session_views import PendingApproval, WaitingCall
from roost.policy.standing_rules import narrowest
from roost.terminal_text import one_line, visible_line


def _changes(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[dict[str, Any], bool] | None:
    """Return the new arguments, and whether they replace all. A value is JSON if it parses as such, else text."""
    if not given:
        return None
    if len(given) == 1 and given[0].lstrip().startswith("{"):
        found = _json(given[0])
        if not isinstance(found, dict):
            raise click.BadParameter("this is not a JSON object")
        return cast("dict[str, Any]", found), True
    if wrong := [one for one in given if "=" not in one]:
        raise click.BadParameter(f"{wrong[0]!r} is neither NAME=VALUE nor a JSON object")
    pairs = [one.partition("=") for one in given]
    return {name: value if (read := _json(value)) is None else read for name, _, value in pairs}, False


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _changed(waiting: PendingApproval, changes: dict[str, Any], whole: bool) -> dict[str, Any]:
    before = _json(waiting.arguments)
    return changes if whole or not isinstance(before, dict) else {**cast("dict[str, Any]", before), **changes}


@command("approve")
@named_session
@click.argument("call", required=False)
@click.option("--reject", is_flag=True, help="Reject the call.")
@click.option(
    "--with",
    "changes",
    metavar="NAME=VALUE",
    multiple=True,
    callback=_changes,
    help="Run it with another argument than the model's (repeatable), or with JSON for all of them.",
)
@click.option("--always", is_flag=True, help="Allow such calls from now on, by the narrowest rule of `roost show`.")
@click.option("--rule", "rules", metavar="RULE", multiple=True, help="Allow by this rule of the list (repeatable).")
@click.option(
    "--for",
    "scope",
    type=click.Choice(["session", "agent", "user"]),
    help="Where the rule counts: in this session, in all sessions with its agent, in all sessions of its user."
    "  [default: session]",
)
@click.option("--note", metavar="TEXT", help="A text for the agent, sent with the answer.")
@as_json
def approve(
    app: App,
    session: str,
    call: str | None,
    reject: bool,
    changes: tuple[dict[str, Any], bool] | None,
    always: bool,
    rules: tuple[str, ...],
    scope: GrantScope | None,
    note: str | None,
    as_json: bool,
) -> int:
    """Answer a tool call that waits for a person, in a session or a descendant of it.

    You may leave out CALL when only one waits. `roost show` shows the waiting calls completely. The command prints the
    answered call on standard error. `roost policy list` shows the rules that --always and --rule make, and
    `roost policy revoke` revokes them.
    """
    if reject and changes:
        raise click.UsageError("either --reject or --with")
    if (always or rules) and (reject or changes):
        raise click.UsageError("--always and --rule go with a plain yes")
    if scope is not None and not (always or rules):
        raise click.UsageError("--for says where a rule counts: give --always or --rule")
    decision: Decision = "reject" if reject else "modify" if changes else "approve"
    with app.node() as node:
        session = session_id(node, session)
        waiting = _chosen(node.approvals.waiting(session).approvals, session, call)
        arguments = _changed(waiting, *changes) if changes else None
        made = tuple(dict.fromkeys(rules))
        if always and not made:
            made = (_meant(waiting),)
        if not as_json:
            _show(waiting, arguments)
            for one in waiting.offers:
                if one.rule in made:
                    tell(f"  from now on, {_SCOPES[scope or 'session']}: {visible_line(one.says)}", "yellow")
        node.approvals.answer(
            waiting.session,
            waiting.call,
            decision,
            note=note,
            arguments=arguments,
            always=list(made),
            scope=scope,
            asked=waiting.asked,
            source="cli",
        )
        if as_json:
            said = {"session": waiting.session, "call": waiting.call, "decision": decision}
            say_json(said | ({"always": list(made), "scope": scope or "session"} if made else {}))
        else:
            word = {"reject": "rejected", "approve": "approved", "modify": "changed and approved"}[decision]
            later = "" if node.daemon else "; no daemon runs: an open `roost run` goes on, else start `roost up`"
            later = f", and from now on {', '.join(map(visible_line, made))}{later}" if made else later
            say(f"{word} {visible_line(waiting.tool)}{later}")
        return 0


_SCOPES: dict[GrantScope, str] = {
    "session": "in this session",
    "agent": "in all sessions with this agent",
    "user": "in all sessions of this user",
}


def _meant(waiting: WaitingCall) -> str:
    """Return the rule that --always makes. Raises `Conflict` if there is none."""
    offer = narrowest(waiting.offers)
    if offer is None:
        named = "; name it: " + ", ".join(f"--rule {one.rule}" for one in waiting.offers) if waiting.offers else ""
        raise Conflict(f"no rule about this call alone can be offered{named or ': a danger or a rule asks each time'}")
    return offer.rule


def _show(waiting: WaitingCall, arguments: dict[str, Any] | None) -> None:
    """Show the answered call completely, with the arguments that it runs with."""
    if arguments is not None:
        waiting = replace(waiting, arguments=json.dumps(arguments), files=(), dangers=())
    tell(f"{visible_line(waiting.tool)}: {visible_line(waiting.reason)}", None)
    for row in call_rows(waiting, to=sys.stderr):
        tell(row, None)


def _chosen(waiting: list[WaitingCall], session: str, call: str | None) -> WaitingCall:
    found = [one for one in waiting if call is None or one.call == call or one.call.endswith(call)]
    if not found:
        what = f"no call {call!r}" if call else "nothing"
        raise NotFound(f"{what} of session {short(session)} waits for an answer", code="not_waiting")
    if len(found) > 1:
        listed = "; ".join(f"{one.call} ({one.tool} {one_line(arguments_line(one.arguments), 40)})" for one in found)
        raise Conflict(f"{len(found)} calls wait, name one: {listed}; `roost show {short(session)}` shows them whole")
    return found[0]


COMMANDS = {"Sessions": (approve,)}
