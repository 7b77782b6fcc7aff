"""The two published sources, each converted to the shape of `roost.models.catalog.facts.ModelFacts`."""

from __future__ import annotations

import datetime
import re
from typing import Any, TypeAlias

import msgspec

Json: TypeAlias = dict[str, Any]

_MILLION = 1_000_000
_ABOVE = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")
_GENAI_PRICES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached": "cache_read_mtok",
    "written": "cache_write_mtok",
}
_LITELLM_PRICES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cached": "cache_read_input_token_cost",
    "written": "cache_creation_input_token_cost",
}


class Litellm:
    """LiteLLM's `model_prices_and_context_window.json`. Raises `msgspec.MsgspecError` for another shape."""

    def __init__(self, document: bytes) -> None:
        self._data = msgspec.json.decode(document, type=dict[str, Json])

    def entry(self, provider: str, prefix: str, name: str) -> Json | None:
        for key in (name if "/" in name and not prefix else prefix + name, name):
            entry = self._data.get(key)
            if entry is not None and str(entry.get("litellm_provider", "")).startswith(provider):
                return entry
        return None

    @staticmethod
    def facts(entry: Json) -> Json:
        """Return only stated facts. An answer limit equal to the whole window is not a fact."""
        facts: Json = {}
        window, answer = entry.get("max_input_tokens"), entry.get("max_output_tokens")
        if window:
            facts["window"] = int(window)
        if entry.get("mode") == "embedding":
            facts["kind"] = "embedding"
        elif answer and window and answer < window:
            facts["max_output"] = int(answer)
        for field, flag in (
            ("images", "supports_vision"),
            ("audio", "supports_audio_input"),
            ("video", "supports_video_input"),
            ("files", "supports_pdf_input"),
        ):
            if entry.get(flag):
                facts[field] = True
        if entry.get("supports_parallel_function_calling") is False:
            facts["parallel_calls"] = False
        if entry.get("supports_reasoning"):
            facts["thinks"] = "always" if entry.get("thinking_always_on") else "optional"
        if day := entry.get("deprecation_date"):
            facts["retired"] = day
        return facts

    @staticmethod
    def price(entry: Json) -> Json | None:
        def at(suffix: str) -> Json:
            aboves = {name: entry.get(field + suffix) for name, field in _LITELLM_PRICES.items()}
            return {name: _short(value * _MILLION) for name, value in aboves.items() if value}

        price = at("")
        if "input" not in price:
            return None
        tiers = [
            {"above": int(above[1]) * 1000, **at(f"_above_{above[1]}k_tokens")}
            for above in map(_ABOVE.fullmatch, sorted(entry))
            if above
        ]
        return _whole(price, tiers)


class Match(msgspec.Struct, frozen=True):
    """A rule of genai-prices on a model's name in lower case."""

    equals: str | None = None
    starts_with: str | None = None
    ends_with: str | None = None
    contains: str | None = None
    regex: str | None = None
    any_of: tuple[Match, ...] = msgspec.field(default=(), name="or")
    all_of: tuple[Match, ...] = msgspec.field(default=(), name="and")

    def holds(self, name: str) -> bool:
        return (
            (self.equals is not None and name == self.equals.lower())
            or (self.starts_with is not None and name.startswith(self.starts_with.lower()))
            or (self.ends_with is not None and name.endswith(self.ends_with.lower()))
            or (self.contains is not None and self.contains.lower() in name)
            or (self.regex is not None and re.search(self.regex, name) is not None)
            or any(part.holds(name) for part in self.any_of)
            or (bool(self.all_of) and all(part.holds(name) for part in self.all_of))
        )


class Step(msgspec.Struct, frozen=True):
    """The price from `start` tokens of input on."""

    start: int
    price: float


class Stepped(msgspec.Struct, frozen=True):
    base: float
    tiers: tuple[Step, ...] = ()


Amounts: TypeAlias = dict[str, float | Stepped | None]


class Constraint(msgspec.Struct, frozen=True):
    start_date: datetime.date | None = None


class Conditional(msgspec.Struct, frozen=True):
    prices: Amounts
    constraint: Constraint | None = None


class GenaiModel(msgspec.Struct, frozen=True):
    id: str
    match: Match
    prices: Amounts | list[Conditional]
    context_window: int | None = None


class GenaiProvider(msgspec.Struct, frozen=True):
    id: str
    models: list[GenaiModel]


class GenaiPrices:
    """The `data.json` of genai-prices. day: the day whose prices count as today's. Raises `msgspec.MsgspecError` for
    another shape."""

    def __init__(self, document: bytes, day: datetime.date) -> None:
        providers = msgspec.json.decode(document, type=list[GenaiProvider])
        self._models = {provider.id: provider.models for provider in providers}
        self._day = day

    def prices(self, provider: str, name: str) -> dict[str, Json]:
        """Return prices by the day from which each applies; "" is today. Of prices by the hour, the highest is used."""
        model = self._find(provider, name)
        if model is None:
            return {}
        if not isinstance(model.prices, list):
            price = _genai_price(model.prices)
            return {"": price} if price else {}
        now: Json | None = None
        later: dict[str, Json] = {}
        for conditional in model.prices:
            price, constraint = _genai_price(conditional.prices), conditional.constraint
            start = constraint and constraint.start_date
            if price is None:
                continue
            if start is not None and start > self._day:
                later[start.isoformat()] = price
            elif constraint is None or start is not None or now is None or price["input"] > now["input"]:
                now = price
        return {"": now, **later} if now else later

    def window(self, provider: str, name: str) -> int | None:
        model = self._find(provider, name)
        return None if model is None else model.context_window

    def _find(self, provider: str, name: str) -> GenaiModel | None:
        models, name = self._models.get(provider, []), name.lower()
        exact = next((model for model in models if model.id.lower() == name), None)
        return exact or next((model for model in models if model.match.holds(name)), None)


def _genai_price(prices: Amounts) -> Json | None:
    price: Json = {}
    tiers: dict[int, Json] = {}
    for name, field in _GENAI_PRICES.items():
        value = prices.get(field)
        if value is None:
            continue
        price[name] = _short(value.base if isinstance(value, Stepped) else value)
        for tier in value.tiers if isinstance(value, Stepped) else ():
            tiers.setdefault(tier.start, {"above": tier.start})[name] = _short(tier.price)
    return _whole(price, list(tiers.values())) if "input" in price else None


def _whole(price: Json, tiers: list[Json]) -> Json:
    """Complete a price. Some hosts give a storage fee below the input price as the cache-write price; that is
    dropped."""
    price.setdefault("output", 0.0)
    for one in (price, *tiers):
        if one.get("written", one.get("input", 0)) < one.get("input", 0):
            del one["written"]
    full = [tier for tier in tiers if "input" in tier]
    for tier in full:
        tier.setdefault("output", price["output"])
    return {**price, **({"tiers": sorted(full, key=lambda tier: tier["above"])} if full else {})}


def _short(value: float) -> float:
    return float(f"{value:.6g}")
