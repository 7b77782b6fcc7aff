"""Validate `models.toml` beyond its shape: unknown names and meaningless numbers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from roost.errors import ConfigError
from roost.models.catalog.reader import Catalog, catalog
from roost.models.compile import FAMILIES
from roost.models.request import EFFORTS
from roost.models.wire_body import MOST_TOKENS
from roost.models.wires import DEFAULT_WIRE, WIRES
from roost.models.wires import wire as make_wire
from roost.providers.toml_file import TomlFile

Place: TypeAlias = tuple[str, ...]
_TAKEN = {"local": "the embedded models", "auto": "the router"}
_MOST = 1e9
"""Largest price, budget and rate: more is no money, and the ledger could not add it up."""
_UNPRINTABLE = re.compile(r"[^\t\x20-\x7e]")


def check_sense(file: TomlFile, merged: Mapping[str, Any], known: Catalog) -> None:
    """Validate a file. `merged`: the content of all files together. `known`: the catalog in force. Raises
    `ConfigError`."""
    for name in file.data.get("accounts", {}):
        _check_account(file, ("accounts", name), merged["accounts"][name])
    for name, entry in file.data.get("models", {}).items():
        _check_model(file, ("models", name), entry, merged, known)
    for name, entry in file.data.get("profiles", {}).items():
        _known(file, ("profiles", name, "effort"), entry.get("effort"), EFFORTS)
    if "profile" in file.data:
        from roost.routing.profiles import BUILT_IN

        _known(file, ("profile",), file.data["profile"], [*BUILT_IN, *merged.get("profiles", {})])
    for name, model in file.data.get("aliases", {}).items():
        if not re.fullmatch(r"[^/:*]+\*?", name):
            raise file.wrong(("aliases", name), "an alias is a name, or the beginning of names with '*' behind it")
        if not model.strip():
            raise file.wrong(("aliases", name), "name a model, as in 'ACCOUNT/MODEL' or 'auto'")
    _check_money(file, merged)


def _check_account(file: TomlFile, place: Place, entry: Mapping[str, Any]) -> None:
    known, name = catalog().accounts, place[-1]
    if "/" in name or ":" in name or not name:
        raise file.wrong(place, "an account's name has no '/' and no ':'")
    if name in _TAKEN:
        raise file.wrong(place, f"{name!r} means {_TAKEN[name]}: give the account another name")
    if name not in known and not entry.get("base_url"):
        raise file.wrong(place, f"needs a base_url, since no known account has this name{_near(name, known)}")
    _known(file, (*place, "wire"), entry.get("wire"), WIRES)
    if (url := entry.get("base_url")) is not None and not re.match(r"https?://[^/\s]+", url):
        raise file.wrong((*place, "base_url"), "must be a URL, as in 'https://host/v1'")
    for field in ("idle_timeout", "patience"):
        if (seconds := entry.get(field)) is not None and not 0 < seconds <= _MOST:
            raise file.wrong((*place, field), "must be seconds, above 0")
    if (ca := entry.get("ca")) is not None and not Path(ca).expanduser().is_file():
        raise file.wrong((*place, "ca"), f"is no file of certificates: {ca!r} is not there")
    for header, value in entry.get("headers", {}).items():
        if not header or _UNPRINTABLE.search(header + value):
            raise file.wrong((*place, "headers", header), "holds a line break or a letter that no header has")
    _check_options(file, place, entry, known[name].wire if name in known else DEFAULT_WIRE)


def _check_model(
    file: TomlFile, place: Place, entry: Mapping[str, Any], merged: Mapping[str, Any], known: Catalog
) -> None:
    name = place[-1]
    account, slash, rest = name.partition("/")
    accounts = [*catalog().accounts, *merged.get("accounts", {})]
    if "://" not in name and not (slash and rest):
        raise file.wrong(place, 'a model is named with its account, as in [models."openai/gpt-5-mini"]')
    if "://" not in name and account not in accounts:
        raise file.wrong(place, f"no account {account!r}{_near(account, accounts)}")
    _known(file, (*place, "wire"), entry.get("wire"), WIRES)
    _known(file, (*place, "family"), entry.get("family"), FAMILIES)
    _check_options(file, place, entry, _wire_of(account, rest, merged, known))
    for field in ("window", "max_output"):
        if field in entry and not 1 <= entry[field] <= MOST_TOKENS:
            raise file.wrong((*place, field), "must be at least 1 (tokens)")
    for table in (price := entry.get("price", {}), *price.get("tiers", ())):
        for field in ("input", "output", "cached", "written"):
            if (amount := table.get(field)) is not None and not 0 <= amount < _MOST:
                raise file.wrong((*place, "price", field), "a price is 0 or more, for a million tokens")


def _check_options(file: TomlFile, place: Place, entry: Mapping[str, Any], wire: str) -> None:
    """Check a wire's options. `wire`: used where the entry names none."""
    try:
        make_wire(entry.get("wire") or wire, entry.get("options"))
    except ConfigError as error:
        raise file.wrong((*place, "options"), error.message) from error


def _wire_of(account: str, model: str, merged: Mapping[str, Any], known: Catalog) -> str:
    if own := merged.get("accounts", {}).get(account, {}).get("wire"):
        return own
    at = known.accounts.get(account)
    card = known.card(account, model) if at else None
    return (card and card.profile.wire) or (at.wire if at else DEFAULT_WIRE)


def _check_money(file: TomlFile, merged: Mapping[str, Any]) -> None:
    rates: dict[str, float] = merged.get("rates", {})
    for name, rate in file.data.get("rates", {}).items():
        if not 0 < rate < _MOST:
            raise file.wrong(("rates", name), "must be what one unit is worth in dollars, above 0")
    for place, currency in _currencies(file):
        if currency is not None and currency not in rates and catalog().rate(currency) is None:
            raise file.wrong(place, f"no rate is known for {currency!r}: give one under [rates], in dollars a unit")
    budget = file.data.get("budget", {})
    for place, amount in _budgets(budget):
        if not 0 <= amount < _MOST:
            raise file.wrong(place, "a budget is 0 or more; leave it out for no bound")
    if (warn := budget.get("warn")) is not None and not 0 < warn <= 1:
        raise file.wrong(("budget", "warn"), "must be a share of the month's budget, above 0 and at most 1")
    if file.data.get("embeddings", {}).get("cache_mb", 0) < 0:
        raise file.wrong(("embeddings", "cache_mb"), "must be 0 or more (megabytes); 0 keeps nothing")


def _currencies(file: TomlFile) -> Iterator[tuple[Place, str | None]]:
    yield ("budget", "currency"), file.data.get("budget", {}).get("currency")
    for name, entry in file.data.get("models", {}).items():
        yield ("models", name, "currency"), entry.get("price", {}).get("currency")


def _budgets(budget: Mapping[str, Any]) -> Iterator[tuple[Place, float]]:
    if budget.get("month") is not None:
        yield ("budget", "month"), budget["month"]
    for field in ("users", "agents"):
        for name, amount in budget.get(field, {}).items():
            yield ("budget", field, name), amount


def _known(file: TomlFile, place: Place, name: str | None, known: Sequence[str] | Mapping[str, Any]) -> None:
    if name is not None and name not in known:
        raise file.wrong(place, f"unknown {place[-1]} {name!r}. The known ones are {', '.join(known)}")


def _near(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
