"""Search facts by words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

from roost.log.fact_rows import CANDIDATES, COMMON, FACT_COLUMNS, best_first, fact_of
from roost.log.facts import Hit
from roost.log.search_terms import bm25, words
from roost.stores.sqlite.fact_writes import marks

LISTED = ", ".join(f"facts.{name.strip()}" for name in FACT_COLUMNS.split(","))
_BEST, _NEWEST = "bm25(fact_words, 0.0, 1.0)", "fact_words.rowid DESC"
_JOINED = 5
"""Number of a query's rarest words that are searched for in combination."""


def search(connection: sqlite3.Connection, names: Sequence[str], query: str, limit: int) -> list[Hit]:
    asked = list(dict.fromkeys(words(query)))[:32]
    where = f"SELECT n, name, facts FROM spaces WHERE facts > 0 AND name IN ({marks(names)})"
    found = {n: (name, count) for n, name, count in connection.execute(where, tuple(names))}
    if not found:
        return []
    total = sum(count for _, count in found.values())
    counts = _counts_in(connection, asked, list(found)) if total <= COMMON else _counts(connection, asked)
    if not counts:
        return []
    rows = _candidates(connection, list(found), counts, max(CANDIDATES, limit), few=total <= COMMON)
    scores = bm25(asked, [row[2] for row in rows], counts, total)
    return best_first([Hit(fact_of(found[row[1]][0], row[3:]), s) for s, row in zip(scores, rows, strict=True)])[:limit]


def _candidates(
    connection: sqlite3.Connection, ns: Sequence[int], counts: dict[str, int], limit: int, *, few: bool
) -> list[tuple[Any, ...]]:
    """Return candidate rows for scoring. If the spaces have `few` facts, every word is searched for.

    In large spaces, first find facts that share several of the query's rarest words: this stays cheap however common
    the other words are. If that yields too few, add the newest facts with one rare word, the rarest word first. Facts
    that share one word differ in score only by length, and scoring thousands of them is most of the cost of a search.
    The space is filtered last, because matching a whole space costs as much as its size.
    """
    if few:
        places = " OR ".join(f"s{n}" for n in ns)
        return _matching(connection, ns, f"words : ({_any(counts)}) AND place : ({places})", limit, _BEST)
    rarest = sorted(counts, key=lambda word: counts[word])[:_JOINED]
    rare = {word for word in rarest if counts[word] <= COMMON} or set(rarest)
    found: dict[int, tuple[Any, ...]] = {}
    for size in range(min(3, len(rarest)), 1, -1):
        if len(found) < limit:
            chosen = [group for group in combinations(rarest, size) if not rare.isdisjoint(group)]
            groups = " OR ".join(f"({' AND '.join(map(_quoted, group))})" for group in chosen)
            found |= {row[0]: row for row in _matching(connection, ns, f"words : ({groups})", 2 * limit, _NEWEST)}
    for word in _rare(counts):
        if len(found) < limit:
            found |= {row[0]: row for row in _matching(connection, ns, f"words : {_quoted(word)}", limit, _NEWEST)}
    return list(found.values())


def _matching(
    connection: sqlite3.Connection, ns: Sequence[int], match: str, limit: int, order: str
) -> list[tuple[Any, ...]]:
    best = (  # sort on narrow rows; fetch whole rows for the best only
        "SELECT fact_words.rowid AS best FROM fact_words JOIN facts ON f = fact_words.rowid"
        f" WHERE fact_words MATCH ? AND n IN ({marks(ns)}) ORDER BY {order} LIMIT ?"
    )
    return connection.execute(
        f"SELECT f, n, facts.words, {LISTED} FROM ({best}) JOIN facts ON f = best", (match, *ns, limit)
    ).fetchall()


def _any(asked: Iterable[str]) -> str:
    return " OR ".join(map(_quoted, asked))


def _quoted(word: str) -> str:
    return f'"{word}"'


def _counts(connection: sqlite3.Connection, asked: Iterable[str]) -> dict[str, int]:
    """Return in how many current facts, of any space, each word occurs; words without any are left out."""
    counts: dict[str, int] = {}
    for word in asked:
        row = connection.execute("SELECT doc FROM fact_vocab WHERE term = ?", (word,)).fetchone()
        if row is not None:
            counts[word] = row[0]
    return counts


def _counts_in(connection: sqlite3.Connection, asked: Iterable[str], ns: Sequence[int]) -> dict[str, int]:
    """Like `_counts`, within these spaces, which must be small."""
    places = " OR ".join(f"s{n}" for n in ns)
    counts: dict[str, int] = {}
    for word in asked:
        match = f"words : {_quoted(word)} AND place : ({places})"
        ((count,),) = connection.execute("SELECT count(*) FROM fact_words WHERE fact_words MATCH ?", (match,))
        if count:
            counts[word] = count
    return counts


def _rare(counts: dict[str, int]) -> list[str]:
    """Return the rarest words until their facts exceed `COMMON` in total; at least one word."""
    kept: list[str] = []
    sum_ = 0
    for word, count in sorted(counts.items(), key=lambda item: item[1]):
        if kept and sum_ + count > COMMON:
            break
        kept.append(word)
        sum_ += count
    return kept
