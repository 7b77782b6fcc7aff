"""The two sources, each as the shape of `roost.llm.catalog.facts.ModelFacts`."""

from __future__ import annotations

import datetime
import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any, TypeAlias

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
    """`model_prices_and_context_window_backup.json` of the package litellm."""

    def __init__(self, path: Path) -> None:
        self._data: dict[str, Json] = json.loads(path.read_bytes())

    def entry(self, provider: str, prefix: str, name: str) -> Json | None:
        for key in (name if "/" in name and not prefix else prefix + name, name):
            found = self._data.get(key)
            if found is not None and str(found.get("litellm_provider", "")).startswith(provider):
                return found
        return None

    @staticmethod
    def facts(entry: Json) -> Json:
        """Only what is said; a limit of the answer that is the whole window says nothing."""
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
            found = {name: entry.get(field + suffix) for name, field in _LITELLM_PRICES.items()}
            return {name: _short(value * _MILLION) for name, value in found.items() if value}

        price = at("")
        if "input" not in price:
            return None
        tiers = [
            {"above": int(found[1]) * 1000, **at(f"_above_{found[1]}k_tokens")}
            for found in map(_ABOVE.fullmatch, sorted(entry))
            if found
        ]
        return _whole(price, tiers)


class GenaiPrices:
    """The package genai-prices, unpacked in `folder`: its data is Python."""

    def __init__(self, folder: Path, day: datetime.date) -> None:
        sys.path.insert(0, str(folder))
        providers = importlib.import_module("genai_prices.data").providers
        self._models: dict[str, list[Any]] = {provider.id: provider.models for provider in providers}
        self._day = day

    def prices(self, provider: str, name: str) -> dict[str, Json]:
        """By the day from which each counts; the first is the one of today. Prices by the hour count as the dearest."""
        model = self._find(provider, name)
        if model is None:
            return {}
        prices: Any = model.prices
        if not hasattr(prices, "append"):
            price = _genai_price(prices)
            return {"": price} if price else {}
        now: Json | None = None
        later: dict[str, Json] = {}
        for conditional in prices:
            price, constraint = _genai_price(conditional.prices), conditional.constraint
            start = getattr(constraint, "start_date", None)
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

    def _find(self, provider: str, name: str) -> Any:
        models = self._models.get(provider, [])
        exact = next((model for model in models if model.id.lower() == name.lower()), None)
        return exact or next((model for model in models if model.match.is_match(name.lower())), None)


def _genai_price(prices: Any) -> Json | None:
    price: Json = {}
    tiers: dict[int, Json] = {}
    for name, field in _GENAI_PRICES.items():
        value = getattr(prices, field, None)
        if value is None:
            continue
        price[name] = _short(float(getattr(value, "base", value)))
        for tier in getattr(value, "tiers", ()):
            tiers.setdefault(tier.start, {"above": tier.start})[name] = _short(float(tier.price))
    return _whole(price, list(tiers.values())) if "input" in price else None


def _whole(price: Json, tiers: list[Json]) -> Json:
    """Some hosts name what keeping costs beside the input's price: that is not the price of a token written."""
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
