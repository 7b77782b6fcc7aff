"""The shape in which facts about models and accounts are written down: in the catalog's data and in `models.toml`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import msgspec

from roost.models.catalog.card import Kind
from roost.models.profile import Knob, MediaKind, MediaLimit, Price, Profile, ThinkingBack, Thinks, Tier

Rate: TypeAlias = Callable[[str], float | None]
"""What one unit of a currency is worth in dollars; None where nobody knows."""

FREE = Price(0, 0)
_PER_MILLION = 1_000.0


class TierTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Prices of a request whose input is more than `above` tokens; they hold for all of it."""

    above: int
    input: float
    output: float
    cached: float | None = None
    written: float | None = None


class PriceTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Of a million tokens, in `currency`. `cached` and `written`: read from and written to a prompt cache; without them
    both cost as `input`. `tiers` are in rising order of `above`."""

    input: float
    output: float
    cached: float | None = None
    written: float | None = None
    tiers: tuple[TierTable, ...] = ()
    currency: str = "USD"

    def price(self, rate: Rate) -> Price:
        return Price(
            self.input * _PER_MILLION,
            self.output * _PER_MILLION,
            _scaled(self.cached),
            _scaled(self.written),
            tuple(
                Tier(
                    above=tier.above,
                    input=tier.input * _PER_MILLION,
                    output=tier.output * _PER_MILLION,
                    cached=_scaled(tier.cached),
                    written=_scaled(tier.written),
                )
                for tier in self.tiers
            ),
            self.currency,
            None if self.currency == "USD" else rate(self.currency),
        )


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is to be known of a model; what is left out stays as what it is laid over has it.

    `window` is the prompt and the answer together. `knobs` are laid over those below, name by name; false takes one
    away. `options` are those of the model's wire, laid over the account's; another `wire` has none of those below.
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
        """`base` with these facts laid over it. A smaller window keeps the answer within half of it."""
        given = {name: value for name in _PLAIN if (value := getattr(self, name)) is not None}
        if self.price is not None:
            given["price"] = self.price.price(rate)
        if self.media:
            given["media"] = {**base.media, **self.media}
        if self.knobs:
            given["knobs"] = {**base.knobs, **{name: knob or None for name, knob in self.knobs.items()}}
        if self.options or self.wire not in (None, base.wire):
            given["options"] = {**(base.options if self.wire in (None, base.wire) else {}), **self.options}
        made = msgspec.structs.replace(base, **given)
        if self.max_output is None and made.max_output > made.window // 2:
            made = msgspec.structs.replace(made, max_output=max(1, made.window // 2))
        return made


_PLAIN = (
    "window", "max_output", "images", "audio", "video", "files", "tools", "parallel_calls", "json_schema", "thinks",
    "thinking_back", "family", "wire",
)  # fmt: skip


class ModelFacts(Facts, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A model in the catalog. `aliases` are other names of the very same model at the same account. `traits` name
    facts that several models share; the model's own are laid over them. `later` are prices that are announced, by the
    day (YYYY-MM-DD, UTC) from which each counts."""

    kind: Kind = "chat"
    aliases: tuple[str, ...] = ()
    traits: tuple[str, ...] = ()
    retired: str | None = None
    later: dict[str, PriceTable] = {}

    def on(self, day: str) -> ModelFacts:
        """With the price of that day."""
        begun = [since for since in self.later if since <= day]
        return msgspec.structs.replace(self, price=self.later[max(begun)], later={}) if begun else self


class SignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where people sign in (OAuth with PKCE): the page, and the address that turns its code into a key."""

    authorize: str
    token: str


class Account(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An endpoint. `keys` and `urls` name environment variables, the first one set counts; without `keys` no key is
    needed. `{NAME}` in `base_url` stands for an environment variable. `hooks` names a class of `roost.models.hooks`.
    `default` is the model when the name gives none. `options` are those of its `wire`.

    `facts` are the common ground of its models. `shared` names the account whose models it serves too. `free`: what is
    served there costs nothing. `common`: its protocol is everybody's, so at another URL its knobs, options and models
    do not count. `implied` lets it be picked for an agent without a model when its key is set. `site` is where
    keys are made; `sign_in`: the account lets any program sign people in. `listing` is the path under the
    base URL that lists models; empty: it has none.
    """

    title: str
    base_url: str
    keys: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    default: str | None = None
    wire: str = "openai_chat"
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
    listing: str | None = "models"


class Trait(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`wires` are laid over `facts` for a model that is spoken to by this wire."""

    facts: Facts = Facts()
    wires: dict[str, Facts] = {}


def _scaled(value: float | None) -> float | None:
    return None if value is None else value * _PER_MILLION
