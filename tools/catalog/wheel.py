"""Turns the Python data of the genai-prices wheel into the JSON that the project publishes."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any, cast

import msgspec

_FIELDS = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")


def as_json(folder: Path) -> bytes:
    """The data of the package genai_prices in `folder`, with the fields that the catalog uses. Runs the package."""
    sys.path.insert(0, str(folder))
    providers = importlib.import_module("genai_prices.data").providers
    return msgspec.json.encode(
        [{"id": provider.id, "models": [_model(model) for model in provider.models]} for provider in providers]
    )


def _model(model: Any) -> dict[str, Any]:
    prices: Any = model.prices
    conditional = [
        {
            "prices": _amounts(each.prices),
            **({} if each.constraint is None else {"constraint": dataclasses.asdict(each.constraint)}),
        }
        for each in (cast("list[Any]", prices) if isinstance(prices, list) else ())
    ]
    return {
        "id": model.id,
        "match": _match(model.match),
        "prices": conditional or _amounts(prices),
        "context_window": model.context_window,
    }


def _match(clause: Any) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for field in dataclasses.fields(clause):
        value = getattr(clause, field.name)
        made[field.name.rstrip("_")] = (
            [_match(part) for part in cast("list[Any]", value)] if isinstance(value, list) else value
        )
    return made


def _amounts(prices: Any) -> dict[str, Any]:
    return {field: _amount(value) for field in _FIELDS if (value := getattr(prices, field, None)) is not None}


def _amount(value: Any) -> Any:
    if not hasattr(value, "base"):
        return float(value)
    steps = [{"start": tier.start, "price": float(tier.price)} for tier in value.tiers]
    return {"base": float(value.base), "tiers": steps}
