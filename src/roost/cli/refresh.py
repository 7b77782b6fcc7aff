"""`roost models refresh`: fetch newer prices and model facts from their publishers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import click

from roost.cli.app import App
from roost.cli.options import as_json, command
from roost.cli.output import note, say, say_json
from roost.models.catalog.facts import PriceTable
from roost.models.catalog.reader import catalog
from roost.providers.catalog_refresh import Change, Refreshed, refresh, undo

_SHOWN = 20


@command("refresh")
@click.option(
    "--from",
    "places",
    multiple=True,
    metavar="FILE|URL",
    help="A copy of one source (repeatable); the other one is fetched from its publisher.",
)
@click.option("--dated", type=click.DateTime(["%Y-%m-%d"]), metavar="DAY", help="The day of the data: YYYY-MM-DD.")
@click.option("--undo", "undone", is_flag=True, help="Go back to the prices that came with this version.")
@as_json
def refresh_command(app: App, places: tuple[str, ...], dated: datetime | None, undone: bool, as_json: bool) -> int:
    """Fetch newer prices and model facts.

    They come from two published files, data.json of genai-prices and model_prices_and_context_window.json of LiteLLM.
    They apply to this home, at once also in its running daemon. Without a network, copy both files here and name each
    with --from. Data that is damaged, incomplete or older than the present data is refused, and nothing changes.
    models.toml still overrides them.
    """
    if undone:
        if places or dated:
            raise click.UsageError("--undo takes no --from and no --dated")
        return _undo(app, as_json=as_json)
    if dated is not None and dated.date() > datetime.now(UTC).date():
        raise click.UsageError(f"--dated {dated:%Y-%m-%d} is in the future")
    done = asyncio.run(refresh(app.home, places, dated=None if dated is None else f"{dated:%Y-%m-%d}"))
    if as_json:
        say_json(done)
    else:
        _print(done)
    return 0


def _undo(app: App, *, as_json: bool) -> int:
    removed = undo(app.home)
    if as_json:
        say_json({"removed": removed, "dated": catalog().dated})
    else:
        before = "" if removed else "nothing was refreshed; "
        say(f"{before}the prices of {catalog().dated} that came with this version count")
    return 0


def _print(done: Refreshed) -> None:
    say(f"prices of {done.dated} count now for {done.models} models; {len(done.changes)} changed")
    for source in done.sources:
        say(f"  {source.name}: {source.place}, sha256 {source.sha256}")
    for change in done.changes[:_SHOWN]:
        say(f"  {_line(change)}")
    if len(done.changes) > _SHOWN:
        note(f"{len(done.changes) - _SHOWN} more prices changed: --json lists them all")
    if done.notes:
        note(f"the sources disagree or say nothing in {len(done.notes)} places: --json lists them")


def _line(change: Change) -> str:
    line = f"{change.model}: {_price(change.old)} -> {_price(change.new)}"
    return f"{line}: implausible, the old price stays" if change.kept else line


def _price(price: PriceTable | None) -> str:
    if price is None:
        return "unknown"
    cached = "" if price.cached is None else f", {price.cached:g} cached"
    steps = "" if not price.tiers else f", {len(price.tiers)} tiers"
    return f"{price.input:g} in, {price.output:g} out{cached}{steps} {price.currency}"
