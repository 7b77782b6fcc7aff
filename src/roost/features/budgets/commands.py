"""`roost costs`: the cost of model calls."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from roost.cli.app import App
from roost.cli.options import as_json, command, places
from roost.cli.output import note, say, say_json, table
from roost.terminal_text import clean

if TYPE_CHECKING:
    from roost.features.budgets.cost_report import By, CostRow, Costs
    from roost.features.budgets.reconcile import Compared
    from roost.log.ledger import LostCall
    from roost.money.budgets import Month, Share, Unit

_BY = ("session", "agent", "model", "day")


def _month(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", value):
        raise click.BadParameter(f"{value!r} is no month; it looks like 2026-11")
    return value


@click.group("costs", invoke_without_command=True)
@places(hidden=True, store=True)
@click.option("--by", type=click.Choice(_BY), help="Group by this, from the logs of the month's sessions.")
@click.option("--month", metavar="YYYY-MM", callback=_month, help="A month in UTC. [default: this one]")
@as_json
@click.pass_context
def costs(context: click.Context, by: By | None, month: str | None, as_json: bool) -> int:
    """Show the costs of a month: limits, users, agents, models.

    The sum comes from the ledger: all calls of all nodes, including those of deleted sessions. RESERVED is for
    running calls; "lost" is the most that calls which a crash cut off can have cost. With --by it reads the logs:
    SAVED is the saving by prompt caches, and calls of unknown price count with their tokens only.
    """
    if context.invoked_subcommand is not None:
        return 0
    found = _costs(context.ensure_object(App), by, month)
    if as_json:
        say_json(found)
        return 0
    _summary(found.month)
    if by is not None:
        _rows(by, found.rows, found.month.unit)
    elif found.shares:
        say()
        rows = [_share(share, found.month.unit) for share in found.shares]
        table(("WHOSE", "NAME", "SPENT", "RESERVED", "LIMIT"), rows)
    return 0


@command("lost", store=True)
@click.option("--month", metavar="YYYY-MM", callback=_month, help="A month in UTC. [default: this one]")
@as_json
def lost_command(app: App, month: str | None, as_json: bool) -> int:
    """List the model calls that a crash cut off.

    Roost charges such a call its input, the received answer, and the most that the model can have written until the
    call ended. The provider knows the real cost: enter it with `roost costs settle`.
    """
    found = _costs(app, None, month)
    if as_json:
        say_json(found.lost)
    elif not found.lost:
        note(f"no call of {found.month.month} was cut off by a crash")
    else:
        unit = found.month.unit
        table(
            ("CALL", "MODEL", "SESSION", "STARTED", "RESERVED", "COST", "SETTLED"), [_lost(c, unit) for c in found.lost]
        )
    return 0


@command("settle", store=True)
@click.argument("call")
@click.argument("dollars", type=click.FloatRange(0))
def settle_command(app: App, call: str, dollars: float) -> int:
    """Set the cost of a call that a crash cut off, in dollars.

    CALL is its id in `roost costs lost`. The budgets of its month, user, agent and model are corrected; those of its
    turn and its session stay as their log has them.
    """
    from roost.money.budgets import NANO
    from roost.money.budgets import dollars as shown

    with app.node() as node:
        settled = node.costs.settle(call, round(dollars * NANO))
    note(f"{call} counts with {shown(settled.cost)} now; it was charged {shown(settled.charged)}")
    return 0


@command("reconcile", store=True)
@click.option("--month", metavar="YYYY-MM", callback=_month, help="Calls of a month in UTC. [default: all]")
@click.option("--ours", is_flag=True, help="Confirm that all reported usage is Roost's.")
@as_json
def reconcile_command(app: App, month: str | None, ours: bool, as_json: bool) -> int:
    """Settle calls that a crash cut off by their providers' usage reports.

    OpenRouter reports each call. OpenAI and Anthropic report usage by minutes, to an admin key: Roost settles a call
    by the reported usage minus the usage in the logs, if all of that usage is Roost's. It shows uncertain calls and
    leaves them.
    """
    with app.node() as node:
        unit = node.costs.get().month.unit
        found = node.costs.reconcile(month=month, ours=ours)
    if as_json:
        say_json(found)
        return 0
    if not found.calls:
        note("no call that a crash cut off waits for a settlement")
        return 0
    table(("CALL", "MODEL", "CHARGED", "REPORTED", "COST"), [_compared(call, unit) for call in found.calls])
    for call in found.calls:
        if call.why is not None:
            note(f"{clean(call.call)} stays as it is: {clean(call.why)}", "yellow")
    for day in found.days:
        billed = f"an amount in {clean(day.currency)}" if day.billed is None else unit.show(day.billed)
        note(f"{day.day} {clean(day.account)}: billed {billed}, counted {unit.show(day.counted)}")
    return 0


for _made in (lost_command, reconcile_command, settle_command):
    costs.add_command(_made)


def _costs(app: App, by: By | None, month: str | None) -> Costs:
    with app.node() as node:
        return node.costs.get(by=by, month=month)


def _summary(month: Month) -> None:
    show = month.unit.show
    line = f"{month.month}: {show(month.spent)} spent"
    if month.limit is not None:
        line += f" of {show(month.limit)}"
        line += f" ({month.spent / month.limit:.0%})" if month.limit else ""
    if month.reserved:
        line += f", {show(month.reserved)} reserved"
    say(line)
    if month.unit.currency != "USD":
        note(f"1 {month.unit.currency} = ${month.unit.rate:.4g}, {_dated(month.unit.of)}")
    if month.lost_calls:
        calls = "1 call" if month.lost_calls == 1 else f"{month.lost_calls} calls"
        note(f"{show(month.lost)} of it is lost, at most: {calls} cut off by a crash; see `roost costs lost`")
    if month.limit is not None and month.spent >= month.limit:
        note("the month's budget is spent: raise [budget] in models.toml, or wait for the next month", "yellow")
    elif month.warn is not None and month.spent >= month.warn:
        note(f"past the warning at {show(month.warn)}", "yellow")


def _dated(of: str | None) -> str:
    return f"by {of}" if of == "models.toml" else f"the rate of {of}; [rates] in models.toml may say another"


def _lost(call: LostCall, unit: Unit) -> tuple[str, ...]:
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(call.started))
    settled = {None: "-", "end": "by its end", "hand": "by hand", "report": "by the provider"}[call.settled]
    who = (clean(call.id), clean(call.model or "-"), clean(call.session or "-"))
    return *who, started, unit.show(call.reserved), unit.show(call.cost), settled


def _compared(call: Compared, unit: Unit) -> tuple[str, ...]:
    amounts = (unit.show(call.charged), *("-" if a is None else unit.show(a) for a in (call.reported, call.cost)))
    return clean(call.call), clean(call.model or "-"), *amounts


def _share(share: Share, unit: Unit) -> tuple[str, ...]:
    limit = "-" if share.limit is None else unit.show(share.limit)
    reserved = unit.show(share.reserved) if share.reserved else "-"
    return share.kind, share.name, unit.show(share.spent), reserved, limit


def _rows(by: str, rows: Sequence[CostRow], unit: Unit) -> None:
    if not rows:
        note("no log of this month has a model call")
        return
    say()
    lost = any(row.lost for row in rows)
    head = (by.upper(), "CALLS", "INPUT", "CACHED", "OUTPUT", "COST", *(("LOST",) if lost else ()), "SAVED")
    table(
        head,
        [
            (
                row.name,
                str(row.calls),
                f"{row.input:,}",
                f"{row.cached:,}",
                f"{row.output:,}",
                _cost(row, unit),
                *((unit.show(row.lost) if row.lost else "-",) if lost else ()),
                unit.show(row.saved) if row.saved else "-",
            )
            for row in rows
        ],
    )
    unpriced = sum(row.unpriced for row in rows)
    if unpriced:
        calls = "1 call" if unpriced == 1 else f"{unpriced} calls"
        note(f"the price of {calls} is not known: put it into models.toml", "yellow")


def _cost(row: CostRow, unit: Unit) -> str:
    if row.calls == row.unpriced:
        return "unknown"
    return f"{unit.show(row.cost)}{' + ?' if row.unpriced else ''}"


COMMANDS = {"This machine": (costs,)}
