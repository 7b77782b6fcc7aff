"""What a model can do and what it costs, as data. What is not known is None, never a guess."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from roost.log.content import Usage

MediaKind: TypeAlias = Literal["image", "audio", "video", "file"]
MEDIA_KINDS: tuple[MediaKind, ...] = ("image", "audio", "video", "file")
Thinks: TypeAlias = Literal["never", "optional", "always"]
ThinkingBack: TypeAlias = Literal["none", "turn", "all"]


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of a request whose input is more than `above` tokens; they hold for all of it."""

    above: int
    input: float
    output: float
    cached: float | None = None
    written: float | None = None


class Price(msgspec.Struct, frozen=True):
    """A billionth of `currency` a token (1 USD a million tokens = 1000).

    `cached` is what a token read from a prompt cache costs, `written` one written to it; None means as `input`.
    `tiers` are in rising order of `above`. `rate` is the worth of one `currency` in dollars.
    """

    input: float
    output: float
    cached: float | None = None
    written: float | None = None
    tiers: tuple[Tier, ...] = ()
    currency: str = "USD"
    rate: float | None = None

    def cost(self, usage: Usage) -> int | None:
        """Whole nano-dollars. None where the currency is another one and its rate is not known."""
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
        """The prices of a request of so many input tokens."""
        return next((tier for tier in reversed(self.tiers) if tokens > tier.above), self)


class Knob(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is told a setting.

    `field` is the place in the request's body, with dots between the levels. `values` says what each value is sent as:
    with a `field` what goes there, without one an object that is merged into the body; None sends nothing. A value that
    is not listed is not sent, but an effort other than off becomes the nearest listed one below, else above. Without
    `values` a value goes as it is, a number within `low` and `high`. `default` counts where nothing is asked for.
    """

    field: str | None = None
    values: dict[str, Any] | None = None
    low: float | None = None
    high: float | None = None
    default: Any = None


class MediaLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Of one kind of media. None means no known limit; `types` empty means every type that its kind has.

    `bytes` before base64, of one item and of all together; `side` the longest side in pixels; `seconds` of playing
    time; `urls` whether the provider fetches a URL by itself.
    """

    types: tuple[str, ...] = ()
    count: int | None = None
    bytes: int | None = None
    total_bytes: int | None = None
    side: int | None = None
    seconds: float | None = None
    urls: bool = False


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a model can do, as data.

    `price` None means unknown. `thinks` and `thinking_back` None leave it to the wire: whether the model reasons, and
    which of its own reasoning it must be sent again (none, that of the running turn, all). `knobs` adds to the wire's
    own or takes one away with None; the names in use: temperature, top_p, top_k, seed, effort, thinking_budget, speed,
    verbosity, cache.
    """

    window: int = 32_768
    max_output: int = 4_096
    images: bool = False
    price: Price | None = None
    local: bool = False
    """Runs in this process; small, so the default policy asks before it writes."""
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
    """The name of the compiler that shapes its prompts."""
    wire: str | None = None
    """The name of the wire that it is spoken to by; None leaves it to the account."""
    options: dict[str, Any] = {}
    """Those of its wire, over the account's."""

    def takes(self, kind: MediaKind) -> bool:
        return {"image": self.images, "audio": self.audio, "video": self.video, "file": self.files}[kind]
