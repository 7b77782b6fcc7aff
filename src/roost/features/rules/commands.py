"""`roost policy list` and `roost policy revoke`, beside the core's `roost policy check`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from roost.cli.app import App
from roost.cli.commands.policy import policy
from roost.cli.options import as_json, command, complete_session
from roost.cli.output import ago, note, say, say_json, table
from roost.cli.session_ids import session_id
from roost.errors import NotFound
from roost.features.rules.api import RuleView
from roost.ids import short
from roost.terminal_text import visible

if TYPE_CHECKING:
    from roost.cli.node import Node

_PAGE = 1000
_SESSIONS = 20
"""Sessions whose own rules are listed where none is named."""


@command("list", store=True)
@click.argument("session", required=False, shell_complete=complete_session)
@click.option("--revoked", is_flag=True, help="Show revoked rules too.")
@as_json
def list_(app: App, session: str | None, revoked: bool, as_json: bool) -> int:
    """List the standing rules that answers `always` have made.

    Those of agents and users, and of the sessions that worked last. With a SESSION: the rules that count in it.
    """
    node = app.node()
    try:
        if session is not None:
            rules = node.rules.of(session_id(node, session)).rules
        else:
            page = node.rules.list(revoked=revoked, limit=_PAGE)
            rules = page.rules
            while page.next is not None:
                page = node.rules.list(revoked=revoked, after=page.next, limit=_PAGE)
                rules += page.rules
            rules += _of_sessions(node)
    finally:
        node.close()
    if as_json:
        say_json({"rules": rules})
    elif not rules:
        where = f"no standing rule counts in {session}" if session else "there is no standing rule"
        note(f"{where}; one is made when you answer an approval with `always`")
    else:
        heads = ("ID", "COUNTS IN", "GIVEN", "BY", "ALLOWS")
        table(heads, [(_id(one), _where(one), *_given(one), visible(one.says)) for one in rules])
    return 0


@command("revoke", store=True)
@click.argument("rules", nargs=-1, required=True, metavar="RULE...")
@as_json
def revoke(app: App, rules: tuple[str, ...], as_json: bool) -> int:
    """Revoke standing rules: calls that they cover ask again.

    RULE is an id that `roost policy list` shows. Sessions that run ask from the model's next answer on.
    """
    node = app.node()
    done: list[RuleView] = []
    try:
        for rule in rules:
            session, slash, own = rule.partition("/")
            wait = None if node.daemon else 0.0
            if slash:
                done.append(node.rules.revoke_in(session_id(node, session), own, wait=wait))
            else:
                done.append(node.rules.revoke(rule))
            if not as_json:
                later = "" if done[-1].revoked is not None else "; it takes effect after the session's step in progress"
                say(f"revoked {visible(done[-1].rule)} ({_where(done[-1])}){later}")
    finally:
        node.close()
    if as_json:
        say_json({"rules": done})
    return 0


def _of_sessions(node: Node) -> list[RuleView]:
    """Return the rules that sessions have of their own, of those that worked last."""
    found: list[RuleView] = []
    for info in node.sessions.find(limit=_SESSIONS).sessions:
        with contextlib.suppress(NotFound):  # deleted meanwhile
            found += [one for one in node.rules.of(info.id).rules if one.scope == "session"]
    return found


def _id(rule: RuleView) -> str:
    return f"{short(rule.session)}/{rule.id}" if rule.scope == "session" else rule.id


def _where(rule: RuleView) -> str:
    of = f" of {visible(rule.user)}" if rule.user else ""
    match rule.scope:
        case "session":
            return f"session {short(rule.session)}"
        case "agent":
            return f"sessions{of} with agent {visible(rule.agent)}"
        case "user":
            return f"all sessions{of}"


def _given(rule: RuleView) -> tuple[str, str]:
    when = "-" if rule.given is None else ago(rule.given)
    by = visible(rule.account or rule.source or "-")
    if rule.revoked is not None:
        by += f", revoked {ago(rule.revoked)}{f' by {visible(rule.revoker)}' if rule.revoker else ''}"
    return when, by


policy.add_command(list_)
policy.add_command(revoke)
COMMANDS = {"This machine": (policy,)}
