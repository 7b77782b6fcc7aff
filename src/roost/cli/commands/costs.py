"""`roost costs`: what model calls have cost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from roost.cli.app import App
from roost.cli.options import as_json, command
from roost.cli.out import note, say, say_json, table

if TYPE_CHECKING:
    from roost.kernel.costs import By, CostRow
    from roost.llm.budgets import Month, Share

_BY = ("session", "agent", "model", "day")


def _month(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", value):
        raise click.BadParameter(f"{value!r} is no month; it looks like 2026-11")
    return value


@command("costs", store=True)
@click.option("--by", type=click.Choice(_BY), help="What for, from the logs of the month's sessions.")
@click.option("--month", metavar="YYYY-MM", callback=_month, help="A month in UTC. [default: this one]")
@as_json
def costs(app: App, by: By | None, month: str | None, as_json: bool) -> int:
    """Show what was spent in a month, of which limit, and by whom.

    The sum is the ledger's: all calls of all nodes, also of sessions that were deleted. RESERVED is set aside for calls
    under way. With --by it reads the logs: SAVED is what tokens from prompt caches would have cost more, and calls of
    unknown price count with their tokens alone.
    """
    node = app.node()
    try:
        found = node.costs(by=by, month=month)
    finally:
        node.close()
    if as_json:
        say_json(found)
        return 0
    _summary(found.month)
    if by is not None:
        _rows(by, found.rows)
    elif found.shares:
        say()
        table(("WHOSE", "NAME", "SPENT", "RESERVED", "LIMIT"), [_share(share) for share in found.shares])
    return 0


def _summary(month: Month) -> None:
    from roost.llm.budgets import dollars

    line = f"{month.month}: {dollars(month.spent)} spent"
    if month.limit is not None:
        line += f" of {dollars(month.limit)}"
        line += f" ({month.spent / month.limit:.0%})" if month.limit else ""
    if month.reserved:
        line += f", {dollars(month.reserved)} reserved"
    say(line)
    if month.limit is not None and month.spent >= month.limit:
        note("the month's budget is spent: raise [budget] in models.toml, or wait for the next month", "yellow")
    elif month.warn is not None and month.spent >= month.warn:
        note(f"past the warning at {dollars(month.warn)}", "yellow")


def _share(share: Share) -> tuple[str, ...]:
    from roost.llm.budgets import dollars

    limit = "-" if share.limit is None else dollars(share.limit)
    reserved = dollars(share.reserved) if share.reserved else "-"
    return share.kind, share.name, dollars(share.spent), reserved, limit


def _rows(by: str, rows: Sequence[CostRow]) -> None:
    from roost.llm.budgets import dollars

    if not rows:
        note("no log of this month tells of a model call")
        return
    say()
    head = (by.upper(), "CALLS", "INPUT", "CACHED", "OUTPUT", "COST", "SAVED")
    table(
        head,
        [
            (
                row.name,
                str(row.calls),
                f"{row.input:,}",
                f"{row.cached:,}",
                f"{row.output:,}",
                _cost(row),
                dollars(row.saved) if row.saved else "-",
            )
            for row in rows
        ],
    )
    unpriced = sum(row.unpriced for row in rows)
    if unpriced:
        calls = "1 call" if unpriced == 1 else f"{unpriced} calls"
        note(f"of {calls} the price is not known: put it into models.toml", "yellow")


def _cost(row: CostRow) -> str:
    from roost.llm.budgets import dollars

    if row.calls == row.unpriced:
        return "unknown"
    return f"{dollars(row.cost)}{' + ?' if row.unpriced else ''}"
