"""The directory of accounts and models: the catalog, overlaid by the user's entries."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from roost.errors import ConfigError
from roost.models.catalog.card import Card
from roost.models.catalog.facts import FREE, Account
from roost.models.compile import family_of
from roost.models.hooks import AccountHooks, make_hooks
from roost.models.http import is_loopback
from roost.models.key_helpers import Helper
from roost.models.profile import Profile
from roost.models.wire import Endpoint, Options
from roost.providers import secret_refs
from roost.providers.config import AccountEntry, ModelEntry, ModelsConfig
from roost.providers.dotenv import Environment

_VARIABLE = re.compile(r"\{([A-Z][A-Z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?")
"""Allowed values of a variable in a URL: a part of a host's name, and nothing that ends the host."""
OWN_IDLE = 900.0
"""Idle timeout in seconds: a server on the user's own machine may have to load the model first."""


class Place(NamedTuple):
    """An account after overlays. `url`: set at `where`. `at_home`: the URL is the provider's own or a host below it.
    `priced`: it is exactly the URL that the catalog's prices are for. `lacks`: the variable that should hold its key
    and does not. `unset`: a missing variable of its URL. `stray`: the URL is another party's, from a `.env` file, and a
    secret is not from that file."""

    name: str
    account: Account
    url: str
    where: str
    key: str | None
    at_home: bool
    priced: bool
    lacks: str | None
    stray: bool
    unset: str | None = None

    @property
    def foreign(self) -> bool:
        """True for another party's server that speaks the account's protocol: the account's own options do not apply
        there."""
        return self.account.common and not self.at_home

    @property
    def slow(self) -> bool:
        """True when reading the key may block."""
        return any(map(secret_refs.may_block, filter(None, [self.key, *self.account.headers.values()])))


class Directory:
    """Accounts and models by name. Not thread-safe: the caller locks. Entries may be set at any time. `env` is the
    environment with `.env`."""

    def __init__(self, config: ModelsConfig) -> None:
        self.accounts: dict[str, AccountEntry] = dict(config.accounts)
        self.models: dict[str, ModelEntry] = dict(config.models)
        self.keys: dict[str, str] = {}
        self._config = config

    def lay(self, over: Directory) -> None:
        """Overlay the other directory's entries on those of the same names."""
        self.accounts |= over.accounts
        self.models |= over.models
        self.keys |= over.keys

    def names(self) -> list[str]:
        return list(dict.fromkeys([*self._config.known.accounts, *self.accounts]))

    def account(self, name: str) -> Account | None:
        entry, known = self.accounts.get(name), self._config.known.accounts.get(name)
        return known if entry is None else _laid(name, known, entry)

    def rate(self, currency: str) -> float | None:
        return self._config.rates.get(currency) or self._config.known.rate(currency)

    def place(self, name: str, env: Environment) -> Place | None:
        """Return an account's place; None for an unknown name."""
        account, entry = self.account(name), self.accounts.get(name)
        if account is None:
            return None
        url, what = account.base_url, f"the base_url of the account {name!r}"
        variable = next((variable for variable in account.urls if variable in env), None)
        if variable is not None and not (entry and entry.base_url):
            url, what = env[variable], variable
        named = _VARIABLE.findall(url)
        unset = next((each for each in named if not _NAME.fullmatch(env.get(each, ""))), None)
        url, what = _expanded(url, env), next((each for each in named if each in env.filed), what)
        known = self._config.known.accounts.get(name)
        home = _expanded(known.base_url, env) if known else url
        key = self._key(name, account, env)
        at_home, priced = _distance(url, home)
        lacks = key.removeprefix("env:") if key and key.startswith("env:") else None
        if lacks is not None and lacks.strip() in env:
            lacks = None
        elif key is None and account.keys and at_home:
            lacks = account.keys[0]
        # A variable in the URL chooses whose server it is, also below the provider's host.
        trusted = at_home and url.startswith("https:") and not named
        stray = what in env.filed and not trusted and self._keeps(name, key, env)
        return Place(name, account, url, what, key, at_home, priced, lacks, stray, unset)

    def options(self, place: Place, wire: str, profile: Profile) -> Options:
        """Return the wire options for a model of the account that uses this wire."""
        options: Options = {}
        if place.foreign:
            entry = self.accounts.get(place.name)
            options = entry.options if entry else {}
        elif wire == place.account.wire:
            options = place.account.options
        return {**options, **profile.options}

    def endpoint(self, place: Place, env: Environment) -> Endpoint:
        """Return the endpoint with its key. May block where `place.slow`. Raises `ConfigError`."""
        url = checked_url(place.url, place.where)
        key = self.keys.get(place.name)
        if key is None and place.key and secret_refs.command_of(place.key) is None:
            key = secret_refs.read(place.key, env, where=f"the key of the account {place.name!r}")
        headers = dict(place.account.headers)
        for name, value in headers.items():
            if secret_refs.is_reference(value):
                headers[name] = secret_refs.read(value, env, where=f"the header {name!r} of the account {place.name!r}")
        idle = place.account.idle_timeout
        if idle is None and is_loopback(url):
            idle = OWN_IDLE
        entry = self.accounts.get(place.name)
        ca = str(Path(entry.ca).expanduser()) if entry and entry.ca else None
        return Endpoint(base_url=url, key=key, headers=headers, idle_timeout=idle, ca=ca)

    def hooks(self, place: Place, env: Environment) -> AccountHooks:
        """Return the account's hooks, with its key helper. Raises `ConfigError`."""
        command = secret_refs.command_of(place.key) if place.key else None
        where = f"the key of the account {place.name!r}"
        # Without the folder's `.env`, which could name another program.
        own = {name: value for name, value in env.items() if name not in env.filed}
        helper = Helper(command, where=where, env=own) if command is not None else None
        return make_hooks(place.account.hooks, env=env, helper=helper, where=f"the account {place.name!r}")

    def card(self, name: str, env: Environment, seen: tuple[str, ...] = ()) -> Card | None:
        """Return the card of `account/model`, `account` or `URL#model`; None for an unknown account. Raises
        `ConfigError`."""
        if "://" in name:
            card = _at_url(name)
        else:
            prefix, _, model = name.partition("/")
            place = self.place(prefix, env)
            if place is None:
                return None
            card = self._known(place, model)
        entry = self.models.get(card.name)
        return card if entry is None else self._own(card, entry, env, (*seen, card.name))

    def cards(self, account: str, env: Environment) -> Iterator[Card]:
        known = [card.name for card in self._config.known.cards(account)]
        own = [name for name in self.models if name.partition("/")[0] == account]
        for name in dict.fromkeys([*known, *own]):
            if card := self.card(name, env):
                yield card

    def _key(self, name: str, account: Account, env: Environment) -> str | None:
        entry = self.accounts.get(name)
        if name in self.keys:
            return ""
        if entry is not None and entry.key:
            return entry.key
        variable_name = next((variable for variable in account.keys if variable in env), None)
        return variable_name and f"env:{variable_name}"

    def _keeps(self, name: str, key: str | None, env: Environment) -> bool:
        """Return whether a secret of the account is not from the `.env` file."""
        entry = self.accounts.get(name)
        secrets = [key or "", *(entry.headers.values() if entry else ())]
        known = {f"env:{variable}" for variable in env.filed}
        return name in self.keys or any(secret and secret.replace(" ", "") not in known for secret in secrets)

    def _known(self, place: Place, model: str) -> Card:
        account = place.account
        model = model or account.default or ""
        if not model:
            raise ConfigError(f"{place.name!r} has no default model: name one, as in '{place.name}/MODEL'")
        card = None if place.foreign else self._config.known.card(place.name, model, self.rate)
        if card is None:
            ground = account.facts.over(Profile(wire=account.wire, family=family_of(model)), self.rate)
            ground = msgspec.structs.replace(ground, knobs={}, options={}) if place.foreign else ground
            card = Card(account=place.name, model=model, profile=ground, source="account")
        entry = self.accounts.get(place.name)
        priced = place.priced or (entry is not None and bool(entry.priced))
        price = FREE if account.free else card.profile.price if priced else None
        return msgspec.structs.replace(card, profile=msgspec.structs.replace(card.profile, price=price))

    def _own(self, card: Card, entry: ModelEntry, env: Environment, seen: tuple[str, ...]) -> Card:
        profile = card.profile
        if entry.like is not None:
            profile = self._like(entry.like, profile, env, seen)
        return msgspec.structs.replace(card, profile=entry.over(profile, self.rate), source="config", dated=None)

    def _like(self, name: str, profile: Profile, env: Environment, seen: tuple[str, ...]) -> Profile:
        if name in seen:
            raise ConfigError(f"{' and '.join(map(repr, seen))} are like each other: give one facts of its own")
        card = self.card(name, env, seen)
        if card is None:
            raise ConfigError(f"the model {seen[-1]!r} is like {name!r}, which no account has")
        other = card.profile
        # Knobs are fields of a wire's body.
        shape = other if other.wire == profile.wire else profile
        price = other.price if profile.price is None else profile.price
        return msgspec.structs.replace(other, wire=profile.wire, knobs=shape.knobs, options=shape.options, price=price)


def _expanded(url: str, env: Environment) -> str:
    """Expand the variables of a URL; those that are not set, or hold no part of a host's name, stay."""
    values = {name: env.get(name, "") for name in _VARIABLE.findall(url)}
    for name, value in values.items():
        if _NAME.fullmatch(value):
            url = url.replace(f"{{{name}}}", value)
    return url


def _at_url(name: str) -> Card:
    """Return the card of `URL#model`. Raises `ConfigError`."""
    url, _, model = name.partition("#")
    checked_url(url, "the model's URL")
    if not model:
        raise ConfigError(f"{name!r} names no model: put it after '#', as in 'http://host:port/v1#model'")
    own = is_loopback(url)
    # The user's own server may run the model without a parser for its calls.
    options = {"text_calls": True} if own else {}
    profile = Profile(family=family_of(model), price=FREE if own else None, options=options)
    return Card(account=url, model=model, profile=profile)


def _laid(name: str, known: Account | None, entry: AccountEntry) -> Account:
    base = known or Account(title=name, base_url=entry.base_url or "", free=is_loopback(entry.base_url or ""))
    changes = {
        field: value
        for field in ("base_url", "wire", "default", "idle_timeout", "free", "hooks", "sign_in")
        if (value := getattr(entry, field)) is not None
    }
    options = entry.options if entry.wire not in (None, base.wire) else {**base.options, **entry.options}
    return msgspec.structs.replace(base, **changes, options=options, headers={**base.headers, **entry.headers})


def checked_url(url: str, what: str) -> str:
    """Check a URL. Raises `ConfigError` without showing the URL's user part, which may be a secret."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
        parts = urlsplit("")
    if not fine:
        raise ConfigError(f"{what} is not an http or https URL; it looks like 'http://host:port/v1'")
    if parts.username or parts.password:
        raise ConfigError(f"{what} holds a user or a password: put the key into ROOST_API_KEY instead")
    return url


def origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


def _distance(url: str, home: str) -> tuple[bool, bool]:
    """Return whether a URL is at the provider's host or below, and whether it has the same origin."""
    try:
        here, there = urlsplit(url).netloc.lower(), urlsplit(home).netloc.lower()
    except ValueError:  # the later request reports it
        return False, False
    return here == there or here.endswith(f".{there}"), origin(url) == origin(home)
