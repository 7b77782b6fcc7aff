"""Build the conditions of a query, for every store."""

from __future__ import annotations

import itertools
import re
import sys
from typing import Any

_SURROGATES = 0xD800
_PAST_SURROGATES = 0xE000
_PLACE = re.compile(r"\?")


class Conditions:
    """Conditions that rows must all meet, and their values in order. Each value's place in the text is a `?`."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.values: list[Any] = []

    def add(self, text: str, *values: object) -> None:
        self._texts.append(text)
        self.values += values

    def starts_with(self, column: str, prefix: str) -> None:
        """Add a range of names, which uses the index of the column."""
        first, past = name_range(prefix)
        self.add(f"{column} >= ?", first)
        if past is not None:
            self.add(f"{column} < ?", past)

    def __str__(self) -> str:
        return " AND ".join(self._texts) or "true"


def starting_with(column: str, prefix: str) -> Conditions:
    where = Conditions()
    where.starts_with(column, prefix)
    return where


def numbered(sql: str) -> str:
    """Replace each `?` by `$1`, `$2` and so on, as PostgreSQL wants it."""
    places = itertools.count(1)
    return _PLACE.sub(lambda _: f"${next(places)}", sql)


def name_range(prefix: str) -> tuple[str, str | None]:
    """Return the range of names that start with `prefix`, in code-point order, which is also UTF-8 order: from the
    first text up to, not including, the second. A second of None means no upper end."""
    for place in range(len(prefix) - 1, -1, -1):
        after = ord(prefix[place]) + 1
        if after <= sys.maxunicode:
            return prefix, prefix[:place] + chr(_PAST_SURROGATES if after == _SURROGATES else after)
    return prefix, None
