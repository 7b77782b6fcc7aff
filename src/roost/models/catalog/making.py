"""Merge the two sources and the overlay into the catalog's data, and report where the sources disagree."""

from __future__ import annotations

import datetime
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from roost.models.catalog.reader import Data
from roost.models.catalog.sources import GenaiPrices, Json, Litellm

OVERLAY = Path(__file__).with_name("overlay.toml")
_HERE = {"litellm", "genai", "prefix", "strip", "pick", "own"}
_ABILITIES = ("window", "max_output", "images", "audio", "video", "files", "parallel_calls", "thinks", "kind")
_SAME = 1e-4


class Made(NamedTuple):
    """The result. remarks, silent: as in `Maker`."""

    data: Data
    remarks: list[str]
    silent: list[str]


class Maker:
    """Merges the sources under the overlay. remarks: reports of disagreements; a disputed fact is left out. before: the
    previous data; with it a known price stays when the sources have none, or when they disagree and one of them
    confirms it. silent: names of the models whose price stayed because the sources have none."""

    def __init__(
        self,
        overlay: Json,
        litellm: Litellm,
        genai: GenaiPrices,
        *,
        sources: tuple[str, ...] = (),
        before: Data | None = None,
    ) -> None:
        self._overlay = overlay
        self._sources = sources
        self._before = before
        self._litellm = litellm
        self._genai = genai
        self._traits: dict[str, Any] = dict(overlay["traits"])
        self._made: dict[str, dict[str, Json]] = {}
        self.remarks: list[str] = []
        self.silent: list[str] = []

    def data(self) -> Data:
        accounts: dict[str, Json] = self._overlay["accounts"]
        document = {
            "dated": self._overlay["dated"],
            "sources": self._sources,
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
                    self.remarks.append(f"{account}/{name}: retired on {made['retired']}, left out")
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
        elif own["price"]:
            self._by_hand(own["price"], f"{account}/{name}", entry, provider, model)
        own = {field: value for field, value in own.items() if not (field == "price" and value is False)}
        traits = [*own.pop("traits", ()), *self._by_flags(account, name, entry, facts)]
        if account == "google" or any(self._traits[trait].get("facts", {}).get("thinks") for trait in traits):
            facts.pop("thinks", None)
        made = {**facts, **own, **({"traits": list(dict.fromkeys(traits))} if traits else {})}
        if entry is None and not known["like"] and "window" not in made:
            self.remarks.append(f"{account}/{name}: in no source")
        return made

    def _like(self, account: str, name: str | None) -> Json:
        if name is None:
            return {}
        other, _, model = name.partition(":")
        like = self._made[account][model] if other == account else self._models(other)[model]
        traits = [self._traits[trait].get("facts", {}) for trait in like.get("traits", ())]
        parts = (like, *traits, self._overlay["accounts"][other].get("facts", {}))
        known = [part["thinks"] for part in parts if "thinks" in part]
        thinks = {"thinks": known[0]} if known else {}
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
            return
        rivals = [one for one in (ours, theirs) if one]
        stays = self._stays(facts, name, rivals)
        if rivals:
            one = "; the price so far stays, which one of them confirms" if stays else ""
            self.remarks.append(f"{name}: prices differ: {ours} and {theirs}{one}")
        else:
            self.remarks.append(f"{name}: no price" + ("; the price so far stays" if stays else ""))
            if stays:
                self.silent.append(name)

    def _by_hand(self, price: Json, name: str, entry: Json | None, provider: str, model: str) -> None:
        """Report an overlay price that both sources contradict with the same other price. The overlay's price is
        used."""
        ours = self._litellm.price(entry) if entry else None
        theirs = self._genai.prices(provider, model).get("")
        agreed = _agreed(ours, theirs, None) if ours and theirs else None
        if agreed and price.get("currency", "USD") == "USD" and not _agreed(price, agreed, None):
            self.remarks.append(f"{name}: the overlay says {price}, which counts, and both sources {agreed}")

    def _stays(self, facts: Json, name: str, rivals: list[Json]) -> bool:
        """Keep the previous price in `facts`, unless every source gives another one. Returns whether it was kept."""
        account, _, model = name.partition("/")
        at = self._before.accounts.get(account) if self._before else None
        old = at.models.get(model) if at else None
        if old is None or old.price is None:
            return False
        was: Json = msgspec.to_builtins(old.price)
        if rivals and not any(_agreed(was, one, facts.get("window")) for one in rivals):
            return False
        facts["price"] = was
        if old.later:
            facts["later"] = msgspec.to_builtins(old.later)
        return True

    def _by_flags(self, account: str, name: str, entry: Json | None, facts: Json) -> list[str]:
        """Return the traits that the first source's flags imply."""
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
        # The source does not list max for GPT-5.6, but the server's error message does.
        most = "max" if entry.get("supports_max_reasoning_effort") or name.startswith("gpt-5.6") else None
        most = most or ("xhigh" if entry.get("supports_xhigh_reasoning_effort") else None)
        facts["thinks"] = "optional" if off == "none" else "always"
        chat = "/v1/chat/completions" in entry.get("supported_endpoints", ())
        # With chat completions the server refuses tools together with an effort for these models.
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


def _rates(table: Json) -> Json:
    euro: dict[str, float] = table["euro"]
    worth = {name: float(f"{euro['USD'] / rate:.6g}") for name, rate in euro.items() if name != "USD"}
    return {"dated": table["dated"], "source": table["source"], "usd": {"EUR": euro["USD"], **worth}}


def _agreed(ours: Json | None, theirs: Json | None, window: int | None) -> Json | None:
    """Return the price that both give, or that only one gives; None if they differ. A tier above the window is
    ignored."""
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


def read_overlay() -> Json:
    return tomllib.loads(OVERLAY.read_text(encoding="utf-8"))


def make(
    genai: bytes, litellm: bytes, *, dated: str, sources: tuple[str, ...] = (), before: Data | None = None
) -> Made:
    """Merge the two documents into the catalog's data, as of the day `dated` (YYYY-MM-DD). before: as in `Maker`.
    Raises `msgspec.MsgspecError`, or another `ValueError`, for documents of another shape."""
    overlay = {**read_overlay(), "dated": dated}
    day = datetime.date.fromisoformat(dated)
    maker = Maker(overlay, Litellm(litellm), GenaiPrices(genai, day), sources=sources, before=before)
    return Made(maker.data(), maker.remarks, maker.silent)
