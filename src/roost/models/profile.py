"""A model's abilities and prices, as data. An unknown value is None, never a guess."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from roost.log.content import Usage

MediaKind: TypeAlias = Literal["image", "audio", "video", "file"]
MEDIA_KINDS: tuple[MediaKind, ...] = ("image", "audio", "video", "file")
Thinks: TypeAlias = Literal["never", "optional", "always"]
ThinkingBack: TypeAlias = Literal["none", "turn", "all"]


class Tier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Prices of a request whose input exceeds `above` tokens; they hold for all of its tokens."""

    above: int
    input: float
    output: float
    cached: float | None = None
    written: float | None = None


class Price(msgspec.Struct, frozen=True):
    """Prices of a token in billionths of `currency` (1 USD per million tokens = 1000).

    cached, written: price of a token read from or written to a prompt cache; None means as `input`. tiers: in rising
    order of `above`. rate: worth of one `currency` in dollars.
    """

    input: float
    output: float
    cached: float | None = None
    written: float | None = None
    tiers: tuple[Tier, ...] = ()
    currency: str = "USD"
    rate: float | None = None

    def cost(self, usage: Usage) -> int | None:
        """Return the cost in whole nano-dollars; None if the currency's rate is unknown."""
        rate = 1 if self.currency == "USD" else self.rate
        if rate is None:
            return None
        at = self.at(usage.input)
        cached = at.input if at.cached is None else at.cached
        written = at.input if at.written is None else at.written
        plain = max(0, usage.input - usage.cached - usage.written)
        total = plain * at.input + usage.cached * cached + usage.written * written + usage.output * at.output
        return round(total * rate)

    def at(self, tokens: int) -> Price | Tier:
        """Return the prices of a request with this many input tokens."""
        return next((tier for tier in reversed(self.tiers) if tokens > tier.above), self)


class Knob(msgspec.Struct, frozen=True, kw_only=True):
    """How a setting is sent to a model.

    field: the place in the request's body, levels separated by dots. values: what each value is sent as: the content of
    `field`, or, without a field, an object merged into the body; None sends nothing. A value that is not listed is not
    sent; an unlisted effort other than off becomes the nearest listed one below, else above. Without `values` a value
    is sent as it is, a number clamped to `low` and `high`. default: used when the request sets nothing.
    """

    field: str | None = None
    values: dict[str, Any] | None = None
    low: float | None = None
    high: float | None = None
    default: Any = None


class MediaLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one kind of media. None means no known limit; empty `types` means every type of the kind.

    bytes: before base64, of one item. total_bytes: of all items together. side: the longest side in pixels. seconds:
    playing time. urls: whether the provider itself fetches a URL.
    """

    types: tuple[str, ...] = ()
    count: int | None = None
    bytes: int | None = None
    total_bytes: int | None = None
    side: int | None = None
    seconds: float | None = None
    urls: bool = False


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A model's abilities, as data.

    price: None means unknown. thinks: whether the model reasons. thinking_back: which of its own reasoning it must be
    sent again (none, that of the running turn, all). None leaves either to the wire. knobs: added to the wire's own;
    None removes one. Names in use: temperature, top_p, top_k, seed, effort, thinking_budget, speed, verbosity,
    cache.
    """

    window: int = 32_768
    max_output: int = 4_096
    images: bool = False
    price: Price | None = None
    local: bool = False
    """Runs in this process. Such a model is small, so the default policy asks before it writes."""
    audio: bool = False
    video: bool = False
    files: bool = False
    media: dict[MediaKind, MediaLimit] = {}
    tools: bool = True
    parallel_calls: bool = True
    json_schema: bool = True
    thinks: Thinks | None = None
    thinking_back: ThinkingBack | None = None
    knobs: dict[str, Knob | None] = {}
    family: str = "default"
    """Name of the compiler that shapes its prompts."""
    wire: str | None = None
    """Name of its wire; None leaves it to the account."""
    options: dict[str, Any] = {}
    """Options of its wire, merged over the account's."""

    def takes(self, kind: MediaKind) -> bool:
        return {"image": self.images, "audio": self.audio, "video": self.video, "file": self.files}[kind]
