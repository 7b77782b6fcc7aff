"""What rounds of durable steps have in common."""

from __future__ import annotations

from typing import Any

from bench.contest import Played
from bench.numbers import median


def rate(answers: list[dict[str, Any]]) -> float:
    """Steps a second."""
    return median([answer["steps"] / answer["wall"] for answer in answers])


def ratio(played: Played, name: str, other: str) -> float:
    """Of the rates: the median of the rounds' ratios, since the two of a round ran next to each other."""
    pairs = zip(played.get(name, []), played.get(other, []), strict=False)
    good = [(a, b) for a, b in pairs if "error" not in a and "error" not in b]
    return median([(a["steps"] / a["wall"]) / (b["steps"] / b["wall"]) for a, b in good])


def cpu(answers: list[dict[str, Any]]) -> float:
    """Microseconds a step, of the contestant's processes."""
    return median([answer["cpu"] / answer["steps"] * 1e6 for answer in answers])


def failure(answers: list[dict[str, Any]]) -> list[str]:
    return [f"failed: {answer['error']}" for answer in answers if "error" in answer]
