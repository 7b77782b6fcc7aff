"""The format of facts about models and accounts, in the catalog's data and in `models.toml`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

from roost.models.catalog.card import Kind
from roost.models.profile import Knob, MediaKind, MediaLimit, Price, Profile, ThinkingBack, Thinks, Tier
from roost.models.wires import DEFAULT_WIRE

Rate: TypeAlias = Callable[[str], float | None]
"""Returns the worth of one unit of a currency in dollars, None if unknown."""

FREE = Price(0, 0)
_PER_MILLION = 1_000.0


class PriceTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Prices of a million tokens, in `currency`. cached, written: tokens read from and written to a prompt cache; None
    means the price of `input`. tiers: in rising order of `above`."""

    input: float
    output: float
    cached: float | None = None
    written: float | None = None
    tiers: tuple[Tier, ...] = ()
    currency: str = "USD"

    def price(self, rate: Rate) -> Price:
        """Return the prices of a token."""
        return msgspec.structs.replace(
            FREE,
            **_per_token(self),
            tiers=tuple(msgspec.structs.replace(tier, **_per_token(tier)) for tier in self.tiers),
            currency=self.currency,
            rate=None if self.currency == "USD" else rate(self.currency),
        )


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Partial facts about a model, merged over a base `Profile`; None keeps the base's value.

    window: tokens of prompt and answer together. knobs: merged over the base's by name; false removes a knob. options:
    those of the model's wire, merged over the account's; with another `wire` the base's options are dropped.
    """

    window: int | None = None
    max_output: int | None = None
    price: PriceTable | None = None
    images: bool | None = None
    audio: bool | None = None
    video: bool | None = None
    files: bool | None = None
    media: dict[MediaKind, MediaLimit] = {}
    tools: bool | None = None
    parallel_calls: bool | None = None
    json_schema: bool | None = None
    thinks: Thinks | None = None
    thinking_back: ThinkingBack | None = None
    family: str | None = None
    wire: str | None = None
    knobs: dict[str, Knob | Literal[False]] = {}
    options: dict[str, Any] = {}

    def over(self, base: Profile, rate: Rate) -> Profile:
        """Return `base` with these facts merged over it. Without a `max_output` of its own the answer gets at most half
        of the window."""
        changes = {name: value for name in _PLAIN if (value := getattr(self, name)) is not None}
        if self.price is not None:
            changes["price"] = self.price.price(rate)
        if self.media:
            changes["media"] = {**base.media, **self.media}
        if self.knobs:
            changes["knobs"] = {**base.knobs, **{name: knob or None for name, knob in self.knobs.items()}}
        if self.options or self.wire not in (None, base.wire):
            changes["options"] = {**(base.options if self.wire in (None, base.wire) else {}), **self.options}
        made = msgspec.structs.replace(base, **changes)
        if self.max_output is None and made.max_output > made.window // 2:
            made = msgspec.structs.replace(made, max_output=max(1, made.window // 2))
        return made


_PLAIN = (
    "window", "max_output", "images", "audio", "video", "files", "tools", "parallel_calls", "json_schema", "thinks",
    "thinking_back", "family", "wire",
)  # fmt: skip


class ModelFacts(Facts, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model in the catalog. aliases: other names of the same model at the same account. traits: names of facts that
    several models share; the model's own facts are merged over them. later: announced prices, by the day (YYYY-MM-DD,
    UTC) from which each applies."""

    kind: Kind = "chat"
    aliases: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    retired: str | None = None
    later: dict[str, PriceTable] = {}

    def on(self, day: str) -> ModelFacts:
        """Return these facts with the price of that day."""
        begun = [since for since in self.later if since <= day]
        return msgspec.structs.replace(self, price=self.later[max(begun)], later={}) if begun else self


class SignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Sign-in for people (OAuth with PKCE). authorize: the page. token: the address that exchanges its code for a
    key."""

    authorize: str
    token: str


class Account(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An endpoint. keys, urls: environment variables, the first one set is used; without `keys` no key is needed.
    base_url: `{NAME}` in it is replaced by that environment variable. hooks: a class of `roost.models.hooks`. default:
    the model to use when a name gives none. options: those of its `wire`.

    facts: defaults of its models. shared: the account whose models it serves too. free: its models cost nothing.
    common: its protocol is a common one, so its knobs, options and models do not apply at another URL. implied: an
    agent without a model may get it when its key is set. site: where to create keys. sign_in: any program may sign
    people in. listing: the path under the base URL that lists models, where it is not the wire's own; empty if there is
    none.
    """

    title: str
    base_url: str
    keys: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    default: str | None = None
    wire: str = DEFAULT_WIRE
    options: dict[str, Any] = {}
    headers: dict[str, str] = {}
    hooks: str = ""
    idle_timeout: float | None = None
    facts: Facts = Facts()
    models: dict[str, ModelFacts] = {}
    shared: str | None = None
    free: bool = False
    common: bool = False
    implied: bool = True
    site: str | None = None
    sign_in: SignIn | None = None
    listing: str | None = None


class Trait(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Shared facts. wires: merged over `facts` for a model used by that wire."""

    facts: Facts = Facts()
    wires: dict[str, Facts] = {}


def _per_token(prices: PriceTable | Tier) -> dict[str, float | None]:
    values = {name: getattr(prices, name) for name in ("input", "output", "cached", "written")}
    return {name: None if value is None else value * _PER_MILLION for name, value in values.items()}
