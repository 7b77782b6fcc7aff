"""`roost account` and `roost token`: who may use this installation, and what for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from roost.authority import ROLES, Role
from roost.cli.app import App
from roost.cli.options import as_json, command
from roost.cli.output import note, say, say_json, table
from roost.features.accounts.records import ALGORITHMS
from roost.terminal_text import clean

if TYPE_CHECKING:
    from roost.features.accounts.api import AccountView, TokenView
    from roost.features.accounts.audit import AuditRow

_PAGE = 1000
_agents = click.option("--agents", multiple=True, metavar="GLOB", help="Agents that it may use (repeatable).")
_role = click.option("--role", type=click.Choice(ROLES), help="What it may do.")


@click.group("account")
def account() -> None:
    """Let others use this installation, each with sessions of their own.

    \b
      roost account add alice --role user --budget 20
      roost token create alice --name laptop --days 90
      roost account list
      roost account audit
    """


@command("add", store=True)
@click.argument("name")
@_role
@_agents
@click.option("--rate", type=click.IntRange(0), help="Requests in a minute; 0 is no limit.")
@click.option("--concurrent", type=click.IntRange(0), help="Requests and streams open at once; 0 is no limit.")
@click.option("--sessions", type=click.IntRange(0), help="Sessions that exist at once; 0 is no limit.")
@click.option("--budget", type=click.FloatRange(0), metavar="DOLLARS", help="Dollars in a calendar month.")
@click.option("--no-budget", is_flag=True, help="Remove the limit of dollars.")
@click.option("--subject", metavar="'ISSUER SUBJECT'", help="Its user at an OpenID provider; '' takes it away.")
@click.option("--note", "about", metavar="TEXT", help="What you want to remember of it.")
@click.option("--disable/--enable", "disabled", default=None, help="Whether its tokens work.")
@as_json
def add_command(
    app: App,
    name: str,
    role: Role | None,
    agents: tuple[str, ...],
    rate: int | None,
    concurrent: int | None,
    sessions: int | None,
    budget: float | None,
    no_budget: bool,
    subject: str | None,
    about: str | None,
    disabled: bool | None,
    as_json: bool,
) -> int:
    """Make an account, or change it.

    What you leave out stays as it is. A new account has the role `user`, may use all agents and has no limits.
    """
    if no_budget and budget is not None:
        raise click.UsageError("give --budget or --no-budget, not both")
    given = (("rate", rate), ("concurrent", concurrent), ("sessions", sessions))
    unlimited = [limit for limit, value in given if value == 0]
    with app.node() as node:
        made = node.accounts.put(
            name,
            role=role,
            agents=agents or None,
            enabled=None if disabled is None else not disabled,
            rate=rate or None,
            concurrent=concurrent or None,
            sessions=sessions or None,
            budget=budget,
            subject=subject,
            note=about,
            unlimited=[*unlimited, *(["budget"] if no_budget else [])],
        )
    if as_json:
        say_json(made)
    else:
        _show(made)
        note(f"make a token for it: roost token create {name}")
    return 0


@command("list", store=True)
@as_json
def list_command(app: App, as_json: bool) -> int:
    """List the accounts."""
    found: list[AccountView] = []
    with app.node() as node:
        page = node.accounts.list(limit=_PAGE)
        found += page.accounts
        while page.next is not None:
            page = node.accounts.list(after=page.next, limit=_PAGE)
            found += page.accounts
    if as_json:
        say_json(found)
    elif not found:
        note("there are no accounts: the home's token may do everything. Make one with `roost account add`")
    else:
        table(("NAME", "ROLE", "AGENTS", "RATE", "OPEN", "BUDGET", "STATE"), list(map(_row, found)))
    return 0


@command("show", store=True)
@click.argument("name")
@as_json
def show_command(app: App, name: str, as_json: bool) -> int:
    """Show an account and its tokens."""
    with app.node() as node:
        found, tokens = node.accounts.get(name), node.accounts.tokens(account=name, limit=_PAGE).tokens
    if as_json:
        say_json({"account": found, "tokens": tokens})
        return 0
    _show(found)
    if tokens:
        say()
        table(("TOKEN", "NAME", "ROLE", "AGENTS", "EXPIRES", "STATE"), list(map(_token, tokens)))
    return 0


@command("remove", store=True)
@click.argument("name")
def remove_command(app: App, name: str) -> int:
    """Remove an account and its tokens. Its sessions stay for the owner."""
    with app.node() as node:
        node.accounts.remove(name)
    note(f"account {clean(name)} and its tokens are gone; its sessions stay for the owner")
    return 0


@command("issuer", store=True)
@click.argument("name", required=False)
@click.option("--issuer", metavar="URL", help="The provider, as its tokens name it.")
@click.option("--audience", metavar="TEXT", help="Whom its tokens must be for.")
@click.option("--algorithm", "algorithms", multiple=True, type=click.Choice(ALGORITHMS), help="It may sign with this.")
@click.option("--keys", metavar="URL", help="Where its keys are. [default: as its discovery says]")
@click.option("--remove", "removes", is_flag=True, help="Accept its tokens no more.")
@as_json
def issuer_command(
    app: App,
    name: str | None,
    issuer: str | None,
    audience: str | None,
    algorithms: tuple[str, ...],
    keys: str | None,
    removes: bool,
    as_json: bool,
) -> int:
    """Accept tokens of an OpenID provider under a NAME of your choice; without one, list the providers."""
    with app.node() as node:
        if name is not None and removes:
            node.accounts.distrust(name)
            note(f"tokens of {clean(name)} are accepted no more")
            return 0
        if name is not None:
            if issuer is None or audience is None:
                raise click.UsageError("give --issuer and --audience")
            more: dict[str, Any] = {"algorithms": algorithms} if algorithms else {}
            node.accounts.trust(name, issuer, audience, keys=keys, **more)
        found = node.accounts.issuers().issuers
    if as_json:
        say_json(found)
    elif not found:
        note("tokens of no OpenID provider are accepted")
    else:
        rows = [(clean(one.name), clean(one.issuer), clean(one.audience), ", ".join(one.algorithms)) for one in found]
        table(("NAME", "ISSUER", "AUDIENCE", "ALGORITHMS"), rows)
    return 0


@command("audit", store=True)
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(1, _PAGE), default=50, show_default=True, help="Most entries.")
@as_json
def audit_command(app: App, name: str | None, limit: int, as_json: bool) -> int:
    """Show who did what, to what, and whether it was allowed, the newest first; with NAME of one account.

    What accounts sent to sessions is in the events of these.
    """
    with app.node() as node:
        found = node.accounts.audit(account=name, limit=limit).entries
    if as_json:
        say_json(found)
    else:
        table(("AT", "ACCOUNT", "WHAT", "TARGET", "OUTCOME"), list(map(_entry, found)))
    return 0


@click.group("token")
def token() -> None:
    """Make and revoke the tokens of accounts.

    \b
      roost token create alice --name laptop --days 90
      roost token list
      roost token revoke tok_01k9...
    """


@command("create", store=True)
@click.argument("account")
@click.option("--name", default="", metavar="TEXT", help="What it is for.")
@_role
@_agents
@click.option("--days", type=click.FloatRange(0, min_open=True), help="It expires after so many days.")
@as_json
def create_command(
    app: App, account: str, name: str, role: Role | None, agents: tuple[str, ...], days: float | None, as_json: bool
) -> int:
    """Make a token of an account, and print it: it is shown only this once.

    It has at most the role and the agents of its account.
    """
    with app.node() as node:
        made = node.accounts.make_token(account, name=name, role=role, agents=agents or ("*",), days=days)
    if as_json:
        say_json(made)
    else:
        say(made.token)
        note(f"{made.id}: keep it now, it is not shown again. Its holder sets ROOST_TOKEN to it")
    return 0


@command("list", store=True)
@click.argument("account", required=False)
@as_json
def tokens_command(app: App, account: str | None, as_json: bool) -> int:
    """List tokens, without their secrets."""
    found: list[TokenView] = []
    with app.node() as node:
        page = node.accounts.tokens(account=account, limit=_PAGE)
        found += page.tokens
        while page.next is not None:
            page = node.accounts.tokens(account=account, after=page.next, limit=_PAGE)
            found += page.tokens
    if as_json:
        say_json(found)
    elif not found:
        note("there are no tokens besides the home's")
    else:
        rows = [(one.account, *_token(one)) for one in found]
        table(("ACCOUNT", "TOKEN", "NAME", "ROLE", "AGENTS", "EXPIRES", "STATE"), rows)
    return 0


@command("revoke", store=True)
@click.argument("tokens", nargs=-1, required=True, metavar="TOKEN...")
def revoke_command(app: App, tokens: tuple[str, ...]) -> int:
    """Revoke tokens by their ids. They are refused at once, and their open streams end."""
    with app.node() as node:
        for one in tokens:
            gone = node.accounts.revoke(one)
            note(f"{gone.id} of {gone.account} is {gone.state}")
    return 0


for _made in (add_command, list_command, show_command, remove_command, issuer_command, audit_command):
    account.add_command(_made)
for _made in (create_command, tokens_command, revoke_command):
    token.add_command(_made)


def _show(found: AccountView) -> None:
    say(f"{found.name}: {found.role}{'' if found.enabled else ', disabled'}")
    say(f"  agents: {', '.join(map(clean, found.agents))}")
    limits = (
        ("requests a minute", found.rate),
        ("open at once", found.concurrent),
        ("sessions", found.sessions),
        ("dollars a month", found.budget),
    )
    for what, limit in limits:
        if limit is not None:
            say(f"  {limit:g} {what}")
    for line in (found.subject, found.note):
        if line:
            say(f"  {clean(line)}")


def _row(found: AccountView) -> tuple[str, ...]:
    limits = ("-" if one is None else f"{one:g}" for one in (found.rate, found.concurrent, found.budget))
    return found.name, found.role, clean(" ".join(found.agents)), *limits, "enabled" if found.enabled else "disabled"


def _token(found: TokenView) -> tuple[str, ...]:
    ends = "never" if found.ends is None else _time(found.ends)
    return found.id, clean(found.name) or "-", found.role, clean(" ".join(found.agents)), ends, found.state


def _entry(row: AuditRow) -> tuple[str, ...]:
    times = f" ({row.times} times)" if row.times > 1 else ""
    return _time(row.at), row.account or "-", clean(row.what), clean(row.target or "-"), f"{row.outcome}{times}"


def _time(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


COMMANDS = {"This machine": (account, token)}
