"""One document of the sources and the overlay, and a word for each place where they do not agree."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from roost.llm.catalog.reader import Data
from roost.testing.catalog.sources import GenaiPrices, Json, Litellm

OVERLAY = Path(__file__).with_name("overlay.toml")
SOURCES = (
    "genai-prices 0.2.3 (Pydantic Services Inc., MIT): prices",
    "litellm 1.109.1 (Berri AI, MIT): windows, prices, abilities",
    "the providers' own documentation, read in November 2026",
)
_HERE = {"litellm", "genai", "prefix", "strip", "pick", "own"}
_ABILITIES = ("window", "max_output", "images", "audio", "video", "files", "parallel_calls", "thinks", "kind")
_SAME = 1e-4


class Maker:
    """`said` are the disagreements; what two sources say otherwise is left out."""

    def __init__(self, overlay: Json, litellm: Litellm, genai: GenaiPrices) -> None:
        self._overlay = overlay
        self._litellm = litellm
        self._genai = genai
        self._traits: dict[str, Any] = dict(overlay["traits"])
        self._made: dict[str, dict[str, Json]] = {}
        self.said: list[str] = []

    def data(self) -> Data:
        accounts: dict[str, Json] = self._overlay["accounts"]
        document = {
            "dated": self._overlay["dated"],
            "sources": SOURCES,
            "rates": _rates(self._overlay["rates"]),
            "accounts": {
                name: {
                    **{field: value for field, value in account.items() if field not in _HERE},
                    "models": self._models(name),
                }
                for name, account in accounts.items()
            },
            "traits": self._traits,
        }
        return msgspec.convert(document, Data)

    def _models(self, account: str) -> dict[str, Json]:
        if account not in self._made:
            at = self._overlay["accounts"][account]
            self._made[account] = {}
            for name in at.get("pick", ()):
                made = self._model(account, at, name)
                if (made.get("retired") or "9999") <= self._overlay["dated"]:
                    self.said.append(f"{account}/{name}: retired on {made['retired']}, left out")
                else:
                    self._made[account][name] = made
        return self._made[account]

    def _model(self, account: str, at: Json, name: str) -> Json:
        own: Json = dict(at.get("own", {}).get(name, {}))
        known = {field: own.pop(field, None) for field in ("litellm", "genai", "like")}
        entry = None
        if "litellm" in at:
            entry = self._litellm.entry(at["litellm"], at.get("prefix", ""), known["litellm"] or name)
        facts = {**self._like(account, known["like"]), **(self._litellm.facts(entry) if entry else {})}
        provider, model = at.get("genai", ""), (known["genai"] or name).removeprefix(at.get("strip", ""))
        if known["genai"] and ":" in known["genai"]:
            provider, _, model = known["genai"].partition(":")
        if "window" not in facts and (window := self._genai.window(provider, model)):
            facts["window"] = window
        if "price" not in own:
            self._price(facts, f"{account}/{name}", entry, provider, model)
        own = {field: value for field, value in own.items() if not (field == "price" and value is False)}
        traits = [*own.pop("traits", ()), *self._by_flags(account, name, entry, facts)]
        if account == "google" or any(self._traits[trait].get("facts", {}).get("thinks") for trait in traits):
            facts.pop("thinks", None)
        made = {**facts, **own, **({"traits": list(dict.fromkeys(traits))} if traits else {})}
        if entry is None and not known["like"] and "window" not in made:
            self.said.append(f"{account}/{name}: in no source")
        return made

    def _like(self, account: str, name: str | None) -> Json:
        if name is None:
            return {}
        other, _, model = name.partition(":")
        like = self._made[account][model] if other == account else self._models(other)[model]
        traits = [self._traits[trait].get("facts", {}) for trait in like.get("traits", ())]
        parts = (like, *traits, self._overlay["accounts"][other].get("facts", {}))
        told = [part["thinks"] for part in parts if "thinks" in part]
        thinks = {"thinks": told[0]} if told else {}
        return {**{field: like[field] for field in _ABILITIES if field in like}, **thinks}

    def _price(self, facts: Json, name: str, entry: Json | None, provider: str, model: str) -> None:
        ours = self._litellm.price(entry) if entry else None
        prices = self._genai.prices(provider, model)
        theirs = prices.pop("", None)
        if theirs and facts.get("kind") == "embedding":
            theirs["output"] = 0.0
        price = _agreed(ours, theirs, facts.get("window"))
        if price is not None:
            facts["price"] = price
            if prices:
                facts["later"] = prices
        elif ours or theirs:
            self.said.append(f"{name}: prices differ: {ours} and {theirs}")
        else:
            self.said.append(f"{name}: no price")

    def _by_flags(self, account: str, name: str, entry: Json | None, facts: Json) -> list[str]:
        """The settings that the first source's flags tell of."""
        if entry is None or facts.get("kind") == "embedding":
            return []
        if account == "openai":
            return self._openai(name, entry, facts)
        if account == "anthropic":
            traits = [] if entry.get("supports_sampling_params") is False else ["anthropic-sampling"]
            if entry.get("thinking_always_on"):
                return [*traits, "anthropic-always"]
            return traits if entry.get("supports_adaptive_thinking") else [*traits, "anthropic-budget"]
        if account == "google":
            return self._google(name, entry)
        return []

    def _openai(self, name: str, entry: Json, facts: Json) -> list[str]:
        if not entry.get("supports_reasoning"):
            self._traits.setdefault("openai-plain", _PLAIN)
            facts["thinks"] = "never"
            return ["openai-plain"]
        off = next((word for word in ("none", "minimal") if entry.get(f"supports_{word}_reasoning_effort")), None)
        # Of GPT-5.6 the source does not say that it has max; the server's own refusal lists it.
        most = "max" if entry.get("supports_max_reasoning_effort") or name.startswith("gpt-5.6") else None
        most = most or ("xhigh" if entry.get("supports_xhigh_reasoning_effort") else None)
        facts["thinks"] = "optional" if off == "none" else "always"
        chat = "/v1/chat/completions" in entry.get("supported_endpoints", ())
        # The server refuses tools together with an effort for these by chat completions.
        if not chat or name >= "gpt-5.4":
            facts["wire"] = "openai_responses"
        values = {"low": "low", "medium": "medium", "high": "high"}
        values = {**({"off": off} if off else {}), **values, **({"max": most} if most else {})}
        trait = "-".join(filter(None, ("openai", off or "always", most)))
        self._traits.setdefault(trait, _efforts(values))
        return [trait]

    def _google(self, name: str, entry: Json) -> list[str]:
        if "2.5" in name:
            return ["gemini-25-pro" if "pro" in name else "gemini-25"]
        traits = ["gemini-3"]
        if entry.get("supports_minimal_reasoning_effort") is False or "pro" in name:
            traits.append("gemini-no-minimal")
        if entry.get("supports_sampling_params") is False:
            traits.append("no-sampling")
        return traits


_PLAIN: Json = {
    "facts": {"knobs": {"temperature": {"field": "temperature"}, "top_p": {"field": "top_p"}, "effort": False}}
}


def _efforts(values: Json) -> Json:
    return {
        "facts": {"knobs": {"temperature": False, "top_p": False}},
        "wires": {
            "openai_chat": {"knobs": {"effort": {"field": "reasoning_effort", "values": values}}},
            "openai_responses": {"knobs": {"effort": {"field": "reasoning.effort", "values": values}}},
        },
    }


def _rates(given: Json) -> Json:
    euro: dict[str, float] = given["euro"]
    worth = {name: float(f"{euro['USD'] / rate:.6g}") for name, rate in euro.items() if name != "USD"}
    return {"dated": given["dated"], "source": given["source"], "usd": {"EUR": euro["USD"], **worth}}


def _agreed(ours: Json | None, theirs: Json | None, window: int | None) -> Json | None:
    """What both say, or one alone; None where they differ. A tier beyond the window says nothing."""
    both = [price for price in (_within(ours, window), _within(theirs, window)) if price]
    if len(both) < 2:
        return both[0] if both else None
    first, second = both
    tiers = list(zip(first.get("tiers", ()), second.get("tiers", ()), strict=False))
    same_tiers = len(first.get("tiers", ())) == len(second.get("tiers", ())) and all(
        _same(one, other) for one, other in tiers
    )
    if not (_same(first, second) and same_tiers):
        return None
    merged = {**second, **first}
    if tiers:
        merged["tiers"] = [{**two, **one, "above": min(one["above"], two["above"])} for one, two in tiers]
    return merged


def _within(price: Json | None, window: int | None) -> Json | None:
    if price is None:
        return None
    tiers = [tier for tier in price.get("tiers", ()) if window is None or tier["above"] < window]
    return {**{name: value for name, value in price.items() if name != "tiers"}, **({"tiers": tiers} if tiers else {})}


def _same(one: Json, other: Json) -> bool:
    shared = [name for name in one if name in other and name != "tiers"]
    return all(abs(one[name] - other[name]) <= _SAME * max(abs(one[name]), abs(other[name])) for name in shared)


def make(genai: Path, litellm: Path) -> tuple[Data, list[str]]:
    """The catalog's data, and where the sources do not agree."""
    overlay: Json = tomllib.loads(OVERLAY.read_text(encoding="utf-8"))
    day = datetime.date.fromisoformat(overlay["dated"])
    maker = Maker(overlay, Litellm(litellm), GenaiPrices(genai, day))
    return maker.data(), maker.said
