"""Pairwise cases in place of a full product of three factors or more: nearly every fault of a combination is one of two
values, and the number of cases grows with the two largest factors alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any


def pairwise(*factors: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return cases in which every value of each factor meets every value of every other factor at least once. The same
    factors give the same cases, in the order of the product. Values may repeat and need not be hashable."""
    every = list(itertools.product(*(range(len(factor)) for factor in factors)))
    missing = set().union(*map(_pairs, every))
    chosen: set[tuple[int, ...]] = set()
    while missing:
        best = max(every, key=lambda case: len(_pairs(case) & missing))
        chosen.add(best)
        missing -= _pairs(best)
    return [tuple(factor[at] for factor, at in zip(factors, case, strict=True)) for case in sorted(chosen)]


def _pairs(case: Sequence[int]) -> set[tuple[tuple[int, int], ...]]:
    return set(itertools.combinations(enumerate(case), 2))
