"""`roost models`: available models, their prices, and whether they work."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import click

from roost.cli.app import App
from roost.cli.login import login_command
from roost.cli.options import as_json, command
from roost.cli.output import note, say, say_json, styled, table
from roost.cli.prices import ABILITIES, as_table, brief, can, in_words, window, within
from roost.cli.refresh import refresh_command
from roost.cli.router_profile import use_command
from roost.models.catalog.card import Card
from roost.models.catalog.reader import Catalog
from roost.models.knobs import knobs_of
from roost.models.profile import Profile
from roost.models.wires import DEFAULT_WIRE
from roost.models.wires import wire as make_wire
from roost.providers.account_check import Checked, check_account
from roost.providers.accounts import Models
from roost.providers.config import ModelsConfig
from roost.terminal_text import clean


class _Listing(click.Group):
    """A word that is no subcommand filters the list."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("models", cls=_Listing, subcommand_metavar="[FILTER] [OPTIONS] | COMMAND ...")
def models() -> None:
    """List models, what they cost, and whether they can be used here.

    \b
      roost models                    models of the accounts that have a key here
      roost models --all              all known models
      roost models claude             models with this in their name
      roost models --can images --window 500k --max-price 5
      roost models check              ask every account that has a key
      roost models use budget         switch what `auto` means
      roost models login openrouter   sign in to an account in the browser
      roost models refresh            fetch newer prices from their publishers
      roost models list --help        every filter

    Prices are for a million tokens. Keys come from the environment, .env and models.toml.
    """


class _Tokens(click.ParamType[int]):
    name = "tokens"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([km]?)", str(value).strip().lower())
        if found is None:
            self.fail(f"{value!r} is no number of tokens, as in 128000, 200k or 1m", param, ctx)
        return int(float(found[1]) * {"": 1, "k": 1_000, "m": 1_000_000}[found[2]])


@command("list")
@click.argument("text", required=False, metavar="[FILTER]")
@click.option("--account", "-a", "account", metavar="NAME", help="Only this account's.")
@click.option(
    "--can", "abilities", multiple=True, type=click.Choice(ABILITIES), help="Only those that can (repeatable)."
)
@click.option(
    "--window", "least", type=_Tokens(), metavar="N", help="Only those with at least so many tokens, as in 200k or 1m."
)
@click.option(
    "--max-price",
    type=click.FloatRange(0),
    metavar="X",
    help="Only those whose answers cost at most X dollars a million.",
)
@click.option("--all", "everything", is_flag=True, help="Those whose key is missing too.")
@as_json
def list_command(
    app: App,
    text: str | None,
    account: str | None,
    abilities: tuple[str, ...],
    least: int | None,
    max_price: float | None,
    everything: bool,
    as_json: bool,
) -> int:
    """List models."""
    known = Models.at_home(app.home)
    here = known.accounts()
    if account is not None and account not in here:
        raise click.UsageError(f"no account {account!r}; there are {', '.join(here)}")
    found = [
        card
        for card in known.cards(account)
        if (text is None or text.lower() in card.name.lower())
        and all(can(card.profile, ability) for ability in abilities)
        and (least is None or card.profile.window >= least)
        and (max_price is None or within(card.profile.price, max_price))
    ]
    shown = found if everything or account or text else [card for card in found if here.get(card.account)]
    if as_json:
        say_json([_fields(known, card, here) for card in shown])
        return 0
    if shown:
        table(("MODEL", "IN", "OUT", "WINDOW", "CAN", "HERE"), [_row(known, card, here) for card in shown])
    _explain(known.catalog, found, shown, text)
    return 0


def _explain(catalog: Catalog, found: list[Card], shown: list[Card], text: str | None) -> None:
    if not found:
        also = f"; an account takes any model that its provider has, as in {text}" if text and "/" in text else ""
        note(f"no known model matches{also}")
    elif len(shown) < len(found):
        note(f"{len(found) - len(shown)} more are known whose accounts have no key here: `roost models --all`")
    if shown:
        rates = catalog.rates
        foreign = any(card.profile.price and card.profile.price.currency != "USD" for card in shown)
        said = f"; other currencies at the rates of {rates.dated}" if foreign else ""
        origin = "from " + ", ".join(source.partition(", sha256 ")[0] for source in catalog.sources)
        whose = f"refreshed {origin}" if catalog.refreshed else "which came with this version"
        note(f"prices of {catalog.dated}, {whose}, for a million tokens; ? is unknown{said}")
        note("`roost models show NAME` shows all facts, `roost models refresh` fetches newer prices")


@command("show")
@click.argument("name", metavar="NAME")
@as_json
def show_command(app: App, name: str, as_json: bool) -> int:
    """Show all facts about one model.

    NAME is account/model, an account for its default model, or http://host:port/v1#model.
    """
    if name.partition("/")[0] == "auto":
        raise click.UsageError(f"{name!r} chooses a model for every request: `roost models use` lists them")
    known = Models.at_home(app.home)
    card = known.card(name)
    if as_json:
        say_json(_fields(known, card, known.accounts()))
        return 0
    for title, line in _lines(known, card):
        say(f"{styled(title.ljust(11), 'dim')} {clean(line)}")
    return 0


def _lines(known: Models, card: Card) -> list[tuple[str, str]]:
    profile, account = card.profile, known.account(card.account)
    able = [ability for ability in ABILITIES if can(profile, ability)]
    prices = in_words(profile.price)
    return [
        ("model", card.name + (f" (until {card.retired})" if card.retired else "")),
        ("account", f"{account.title}, {known.address(card.account) or 'nowhere'}" if account else card.account),
        ("here", known.trouble(card.name) or "can be asked"),
        ("known from", _SOURCES[card.source] + (f", {card.dated}" if card.dated else "")),
        ("window", f"{profile.window:,} tokens, answers up to {profile.max_output:,}"),
        ("price", prices[0]),
        *(("", line) for line in prices[1:]),
        ("can", ", ".join(able) or "text only"),
        ("thinking", profile.thinks or "as the model likes"),
        ("settings", ", ".join(_settings(profile)) or "none"),
        ("protocol", "none, it runs in this process" if profile.local else _protocol(profile)),
    ]


def _protocol(profile: Profile) -> str:
    return f"{profile.wire or DEFAULT_WIRE}, prompts for {profile.family}"


def _settings(profile: Profile) -> list[str]:
    if profile.local:
        return []
    knobs = knobs_of(profile, make_wire(profile.wire or DEFAULT_WIRE).knobs)
    return [f"{name} ({'|'.join(knob.values)})" if knob.values else name for name, knob in sorted(knobs.items())]


_SOURCES = {
    "catalog": "the catalog",
    "config": "models.toml",
    "registered": "a program",
    "account": "its account alone; the catalog does not know it",
    "none": "nothing",
}


@command("check")
@click.argument("accounts", nargs=-1, metavar="[ACCOUNT]...")
@click.option(
    "--timeout", type=click.FloatRange(0.1, 600), default=15.0, help="Seconds for each account. [default: 15]"
)
@as_json
def check_command(app: App, accounts: tuple[str, ...], timeout: float, as_json: bool) -> int:
    """Check whether accounts work, all at the same time.

    Without names it checks every account that has a key or is in models.toml, and every own server with an address.
    It asks an account for its list of models, which costs nothing; an account without a list answers one short
    message. Exit code 1 when a named account does not work.
    """
    known = Models.at_home(app.home)
    here = known.accounts()
    for name in accounts:
        if name not in here or known.account(name) is None:
            raise click.UsageError(f"no account {name!r} that can be asked; there are {', '.join(_askable(known))}")
    chosen = list(accounts) or [name for name in _askable(known) if here[name] or name in known.config.accounts]
    found = asyncio.run(_check(known, chosen, timeout))
    if as_json:
        say_json(found)
    else:
        for one in found:
            _print(one)
        if not found:
            note("no account has a key here: set one, as in OPENAI_API_KEY; `roost models --all` names them all")
    return 1 if accounts and any(one.state != "ok" for one in found) else 0


for _made in (list_command, show_command, check_command, use_command, login_command, refresh_command):
    models.add_command(_made)
list_command.hidden = True


async def _check(known: Models, names: list[str], timeout: float) -> list[Checked]:
    try:
        meant = {name: _meant(known, name) for name in names}
        return await asyncio.gather(
            *(check_account(known, name, deadline=timeout, model=meant[name]) for name in names)
        )
    finally:
        await known.close()


def _meant(known: Models, name: str) -> str | None:
    """Return the model of this account that the user has chosen, if any."""
    import os

    config: ModelsConfig = known.config
    entry = config.accounts.get(name)
    for chosen in (os.environ.get("ROOST_MODEL"), config.default, f"{name}/{entry.default}" if entry else None):
        account, _, model = (chosen or "").partition("/")
        if account == name and model and model != "None":
            return model
    return None


def _askable(known: Models) -> list[str]:
    return [name for name in known.accounts() if known.account(name) is not None]


def _print(one: Checked) -> None:
    fine = one.state == "ok"
    word = (
        styled("ok  ", "green")
        if fine
        else styled("none", "yellow")
        if one.state == "no_key"
        else styled("fail", "red")
    )
    say(f"{word} {one.account.ljust(16)} {clean(one.detail)}{f' ({one.seconds:.1f} s)' if one.seconds else ''}")
    if one.fix and not fine:
        say(f"{' ' * 22}{styled('→ ' + clean(one.fix), 'dim')}")


def _row(known: Models, card: Card, here: dict[str, bool]) -> tuple[str, ...]:
    profile = card.profile
    able = ["embeds"] if card.kind == "embedding" else [name for name in ABILITIES if can(profile, name)]
    usable = "yes" if here.get(card.account) else _lacking(known, card)
    ends = f", until {card.retired}" if card.retired else ""
    return card.name, *brief(profile.price), window(profile.window), ",".join(able), usable + ends


def _lacking(known: Models, card: Card) -> str:
    variable = known.lacks(card.account)
    if variable:
        return f"set {variable}"
    return "no, see `roost models show`" if known.trouble(card.name) else "its server's address is not set"


def _fields(known: Models, card: Card, here: dict[str, bool]) -> dict[str, Any]:
    profile, price = card.profile, card.profile.price
    return {
        "name": card.name,
        "account": card.account,
        "model": card.model,
        "kind": card.kind,
        "usable": here.get(card.account, "://" in card.account),
        "trouble": known.trouble(card.name),
        "window": profile.window,
        "max_output": profile.max_output,
        "price": None if price is None else as_table(price),
        "can": [ability for ability in ABILITIES if can(profile, ability)],
        "thinks": profile.thinks,
        "wire": profile.wire,
        "family": profile.family,
        "settings": _settings(profile),
        "source": card.source,
        "dated": card.dated,
        "retired": card.retired,
    }
