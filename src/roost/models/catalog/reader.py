"""The catalog: facts about providers and their models, from a dated file that is read at first use."""

from __future__ import annotations

import datetime
import functools
import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from roost.models.catalog.card import Card
from roost.models.catalog.facts import FREE, Account, ModelFacts, Rate, Trait
from roost.models.compile import family_of
from roost.models.profile import Profile

_EMBEDS = Profile(max_output=0, tools=False, parallel_calls=False, json_schema=False, thinks="never")
_DATED = re.compile(r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d)$")


class Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Currency rates. usd: the worth of one unit in dollars. source: published them for the day `dated`."""

    dated: str
    source: str
    usd: dict[str, float]


class Data(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. dated: the day (YYYY-MM-DD) of its facts. sources: where the facts come from."""

    dated: str
    sources: tuple[str, ...]
    rates: Rates
    traits: dict[str, Trait] = {}
    accounts: dict[str, Account]


class Catalog:
    """The catalog's facts. Immutable; safe to use from any thread."""

    def __init__(self, data: Data, *, digest: str = "", refreshed: str | None = None) -> None:
        self._data = data
        self.digest = digest
        """SHA-256 of the packaged file; empty for any other catalog."""
        self.refreshed = refreshed
        """When the user refreshed it (UTC, ISO 8601); None for the packaged one."""
        self._names: dict[str, dict[str, str]] = {}

    @property
    def data(self) -> Data:
        return self._data

    @property
    def dated(self) -> str:
        return self._data.dated

    @property
    def sources(self) -> tuple[str, ...]:
        return self._data.sources

    @property
    def rates(self) -> Rates:
        return self._data.rates

    @property
    def accounts(self) -> Mapping[str, Account]:
        return self._data.accounts

    def rate(self, currency: str) -> float | None:
        """Return the worth of one unit in dollars; None for a currency that the file does not have."""
        return 1.0 if currency == "USD" else self._data.rates.usd.get(currency)

    def card(self, account: str, model: str, rate: Rate | None = None) -> Card | None:
        """Find a model by its exact name, an alias, or one of these with a date appended (`-20260120`, `-2026-01-20`),
        ignoring case. Returns None if the catalog has no such model: a similar name proves nothing. rate: overrides the
        file's rates."""
        entry = self._find(account, model)
        if entry is None:
            return None
        name, facts = entry
        return self._card(account, model, name, facts, rate or self.rate)

    def cards(self, account: str | None = None, rate: Rate | None = None) -> Iterator[Card]:
        """Yield the cards of one account or of all, in file order, each model once."""
        for name in self.accounts if account is None else [account]:
            for model, facts in self._models(name).items():
                yield self._card(name, model, model, facts, rate or self.rate)

    def ground(self, account: str) -> Profile:
        """Return the default profile of a known account's models; its price is 0 or unknown."""
        at = self.accounts[account]
        base = Profile(wire=at.wire, price=FREE if at.free else None)
        return at.facts.over(base, self.rate)

    def _models(self, account: str) -> Mapping[str, ModelFacts]:
        at = self.accounts.get(account)
        if at is None:
            return {}
        return {**self.accounts[at.shared].models, **at.models} if at.shared else at.models

    def _find(self, account: str, model: str) -> tuple[str, ModelFacts] | None:
        models = self._models(account)
        names = self._names.get(account)
        if names is None:
            names = {other.lower(): name for name, facts in models.items() for other in (*facts.aliases, name)}
            self._names[account] = names
        wanted = model.lower()
        name = names.get(wanted) or names.get(_DATED.sub("", wanted))
        return None if name is None else (name, models[name])

    def _card(self, account: str, model: str, name: str, facts: ModelFacts, rate: Rate) -> Card:
        ground = _EMBEDS if facts.kind == "embedding" else self.ground(account)
        profile = msgspec.structs.replace(ground, family=family_of(name))
        # A model shared from another account uses this account's wire.
        facts = facts.on(datetime.datetime.now(datetime.UTC).date().isoformat())
        own = name in self.accounts[account].models
        wire = facts.wire if own and facts.wire else self.accounts[account].wire
        for trait in map(self._data.traits.__getitem__, facts.traits):
            for part in (trait.facts, trait.wires.get(wire)):
                profile = profile if part is None else part.over(profile, rate)
        profile = msgspec.structs.replace(facts.over(profile, rate), wire=wire)
        return Card(
            account=account,
            model=model,
            profile=profile,
            kind=facts.kind,
            source="catalog",
            dated=self.dated,
            retired=facts.retired,
        )


decoding = threading.Lock()
"""Hold this while decoding catalog types. Two threads that decode the same type for the first time can crash the
process (msgspec 0.22)."""


def catalog() -> Catalog:
    """Return the packaged catalog of this version. A home may have a refreshed one: see `ModelsConfig.known`."""
    with decoding:
        return read()


@functools.cache
def read() -> Catalog:
    """Read the packaged catalog; called only by `catalog`."""
    data = Path(__file__).with_name("data.json").read_bytes()
    return Catalog(msgspec.json.decode(data, type=Data), digest=hashlib.sha256(data).hexdigest())
