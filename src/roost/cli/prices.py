"""Describe prices, context windows and abilities in words."""

from __future__ import annotations

from typing import Any, get_args

from roost.models.profile import MediaKind, Price, Profile, Tier

_MILLION = 1_000
"""Converts billionths per token to units per million tokens."""
_SIGNS = {"USD": "$", "CNY": "¥", "EUR": "€", "GBP": "£"}
_MEDIA: dict[str, MediaKind] = {f"{kind}s" if kind in ("image", "file") else kind: kind for kind in get_args(MediaKind)}
ABILITIES = (*_MEDIA, "tools", "thinking")


def can(profile: Profile, ability: str) -> bool:
    if ability == "tools":
        return profile.tools
    if ability == "thinking":
        return profile.thinks in ("optional", "always")
    return profile.takes(_MEDIA[ability])


def is_free(price: Price) -> bool:
    return not (price.input or price.output)


def within(price: Price | None, most: float) -> bool:
    """True when output costs at most so many dollars per million tokens; False for an unknown price."""
    rate = 1.0 if price is None or price.currency == "USD" else price.rate
    return price is not None and rate is not None and price.output * rate / _MILLION <= most


def money(amount: float, currency: str) -> str:
    number = f"{amount / _MILLION:.6f}".rstrip("0").rstrip(".")
    return f"{_SIGNS[currency]}{number}" if currency in _SIGNS else f"{number} {currency}"


def brief(price: Price | None) -> tuple[str, str]:
    """Return the input and output price in short; `+` where long requests cost more."""
    if price is None:
        return "?", "?"
    if is_free(price):
        return "free", "free"
    more = "+" if price.tiers else ""
    return money(price.input, price.currency) + more, money(price.output, price.currency) + more


def in_words(price: Price | None) -> list[str]:
    """Return a line, and one for each tier."""
    if price is None:
        return ["unknown"]
    if is_free(price):
        return ["free"]
    tiers = [f"from {tier.above + 1:,} tokens on: {_line(tier, price.currency)}" for tier in price.tiers]
    return [f"{_line(price, price.currency)} for a million tokens", *tiers]


def as_table(price: Price | Tier) -> dict[str, Any]:
    """Return prices per million tokens, as in models.toml."""
    amounts = {name: getattr(price, name) for name in ("input", "output", "cached", "written")}
    given = {name: round(amount / _MILLION, 9) for name, amount in amounts.items() if amount is not None}
    if isinstance(price, Tier):
        return {"above": price.above, **given}
    return {**given, "tiers": [as_table(tier) for tier in price.tiers], "currency": price.currency, "rate": price.rate}


def window(tokens: int) -> str:
    return f"{tokens / 1_000_000:.1f}m".replace(".0m", "m") if tokens >= 1_000_000 else f"{tokens // 1_000}k"


def _line(price: Price | Tier, currency: str) -> str:
    parts = [f"{money(price.input, currency)} in", f"{money(price.output, currency)} out"]
    for word, amount in (("from the cache", price.cached), ("into the cache", price.written)):
        if amount is not None:
            parts.append(f"{money(amount, currency)} {word}")
    return ", ".join(parts)
