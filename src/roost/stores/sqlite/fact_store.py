"""Facts in the SQLite store. As in `session_logs`, each write checks before it writes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

from roost.errors import Conflict, NotFound, RoostError
from roost.log.fact_rows import (
    CANDIDATES,
    COLUMNS,
    COMMON,
    FACT_COLUMNS,
    LATE,
    RESTORING,
    Origin,
    StoredFact,
    about_of,
    best_first,
    fact_of,
    no_session,
    session_of,
    words_of,
)
from roost.log.facts import EndFact, Fact, FactChange, FactQuery, FactWrite, Hit, MemoryRevert, NewFact, PutFact, Space
from roost.log.search_terms import bm25, words
from roost.log.shared import beginning

_CURRENT = "ended_version IS NULL"
_INDEXED = f"{_CURRENT} AND proposed = 0"
_BEST, _NEWEST = "bm25(fact_words, 0.0, 1.0)", "fact_words.rowid DESC"
_JOINED = 5
"""Number of a query's rarest words that are searched for in combination."""
_UNINDEX = "INSERT INTO fact_words (fact_words, rowid, place, words)"
_LISTED = ", ".join(f"facts.{name.strip()}" for name in FACT_COLUMNS.split(","))


def apply_facts(connection: sqlite3.Connection, session: str, before: int, writes: Sequence[FactWrite]) -> None:
    """Write the fact changes of an append whose first event is `before + 1`."""
    now = time.time()
    for event, change in writes:
        _apply(connection, change, Origin(f"session:{session}", now, session, before + event))


def change(connection: sqlite3.Connection, changes: Sequence[FactChange], by: str) -> int:
    origin = Origin(by, time.time())
    if len(changes) == 1:
        return _apply(connection, changes[0], origin)
    connection.execute("SAVEPOINT many")
    try:
        done = sum(_apply(connection, one, origin) for one in changes)
    except RoostError:
        connection.execute("ROLLBACK TO many")
        connection.execute("RELEASE many")
        raise
    connection.execute("RELEASE many")
    return done


_ERASED = "ended_version IS NOT NULL AND (text <> '' OR key IS NOT NULL OR words <> '')"


def purge(connection: sqlite3.Connection, names: Sequence[str], ids: Sequence[str] | None) -> tuple[int, set[str]]:
    """Empty the rows of ended facts. Returns their number, and the sessions whose logs contain them."""
    where, values = f"n IN (SELECT n FROM spaces WHERE name IN ({_marks(names)})) AND {_ERASED}", list[object](names)
    if ids is not None:
        where, values = f"{where} AND id IN ({_marks(ids)})", [*values, *ids]
    told = connection.execute(f"SELECT session, ended_session FROM facts WHERE {where}", values).fetchall()
    empty = "text = '', key = NULL, words = '', ended_session = NULL, ended_seq = NULL"
    connection.execute(f"UPDATE facts SET {empty} WHERE {where}", values)
    return len(told), {session for row in told for session in row if session is not None}


def compact(connection: sqlite3.Connection) -> None:
    """Remove what deleted entries left in the word index, in free pages and in the log. Must run outside a
    transaction."""
    connection.execute("INSERT INTO fact_words (fact_words) VALUES ('optimize')")
    connection.execute("VACUUM")


def forget_session(connection: sqlite3.Connection, session: str) -> None:
    """Delete the private space of a deleted session."""
    clear_space(connection, f"session:{session}")


def clear_space(connection: sqlite3.Connection, space: str) -> None:
    for (n,) in connection.execute("SELECT n FROM spaces WHERE name = ?", (space,)).fetchall():
        connection.execute(f"{_UNINDEX} SELECT 'delete', f, place, words FROM facts WHERE n = ? AND {_INDEXED}", (n,))
        connection.execute("DELETE FROM facts WHERE n = ?", (n,))
        connection.execute("DELETE FROM spaces WHERE n = ?", (n,))


def fact(connection: sqlite3.Connection, id: str) -> Fact:
    row = connection.execute(
        f"SELECT name, {_LISTED} FROM facts JOIN spaces USING (n) WHERE facts.id = ? ORDER BY f DESC LIMIT 1", (id,)
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no fact {id!r}")
    return fact_of(row[0], row[1:])


def find(connection: sqlite3.Connection, query: FactQuery) -> list[Fact]:
    where, values = [f"name IN ({_marks(query.spaces)})"], list[object](query.spaces)

    def condition(text: str, *given: object) -> None:
        where.append(text)
        values.extend(given)

    for column in ("category", "key"):
        if (value := getattr(query, column)) is not None:
            condition(f"facts.{column} = ?", value)
    if query.ids is not None:
        condition(f"facts.id IN ({_marks(query.ids)})", *query.ids)
    if query.proposed is not None:
        condition("proposed = ?", int(query.proposed))
    if query.text is not None:
        condition("substr(facts.text, 1, 64) = substr(?, 1, 64) AND +facts.text = ?", query.text, query.text)
    if query.at is not None:
        condition("facts.version <= ? AND (ended_version IS NULL OR ended_version > ?)", query.at, query.at)
    elif not query.ended:
        condition(_CURRENT)
    if query.before is not None:
        condition("f < (SELECT max(f) FROM facts WHERE id = ?)", query.before)
    join = "JOIN spaces ON spaces.n = facts.n" if query.ids is None else "JOIN spaces ON spaces.n = +facts.n"  # by id
    sql = f"SELECT name, {_LISTED} FROM facts {join} WHERE {' AND '.join(where)} ORDER BY f DESC LIMIT ?"
    return [fact_of(row[0], row[1:]) for row in connection.execute(sql, (*values, query.limit))]


def spaces(connection: sqlite3.Connection, prefix: str) -> list[Space]:
    first, past = beginning(prefix)
    where, values = ("name >= ?", [first]) if past is None else ("name >= ? AND name < ?", [first, past])
    sql = f"SELECT name, version, facts FROM spaces WHERE {where} ORDER BY name"
    return [Space(*row) for row in connection.execute(sql, values) if not row[0].startswith(RESTORING)]


def changes(connection: sqlite3.Connection, space: str, after: int, limit: int) -> list[Fact]:
    rows = connection.execute(
        f"SELECT {_LISTED} FROM facts JOIN spaces USING (n) WHERE name = ? AND changed > ? AND proposed = 0"
        " ORDER BY changed LIMIT ?",
        (space, after, limit),
    )
    return [fact_of(space, row) for row in rows]


def stored(connection: sqlite3.Connection, space: str, after: int, limit: int) -> list[StoredFact]:
    """Return all rows, by the version at which they were added."""
    columns = ", ".join(f"facts.{name}" for name in StoredFact._fields)
    rows = connection.execute(
        f"SELECT {columns} FROM facts JOIN spaces USING (n) WHERE name = ? AND facts.version > ?"
        " ORDER BY facts.version LIMIT ?",
        (space, after, limit),
    )
    return [StoredFact(*row)._replace(proposed=bool(row[5])) for row in rows]


def begin_space(connection: sqlite3.Connection, space: str) -> None:
    clear_space(connection, space)
    clear_space(connection, RESTORING + space)
    connection.execute("INSERT INTO spaces (name) VALUES (?)", (RESTORING + space,))


def add_rows(connection: sqlite3.Connection, space: str, rows: Sequence[StoredFact]) -> None:
    (n,) = connection.execute("SELECT n FROM spaces WHERE name = ?", (RESTORING + space,)).fetchone()
    for row in rows:
        insert(connection, n, row)


def finish_space(connection: sqlite3.Connection, space: Space) -> None:
    connection.execute(
        "UPDATE spaces SET name = ?, version = ?, facts = ? WHERE name = ?", (*space, RESTORING + space.name)
    )


def search(connection: sqlite3.Connection, names: Sequence[str], query: str, limit: int) -> list[Hit]:
    asked = list(dict.fromkeys(words(query)))[:32]
    where = f"SELECT n, name, facts FROM spaces WHERE facts > 0 AND name IN ({_marks(names)})"
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
        f" WHERE fact_words MATCH ? AND n IN ({_marks(ns)}) ORDER BY {order} LIMIT ?"
    )
    return connection.execute(
        f"SELECT f, n, facts.words, {_LISTED} FROM ({best}) JOIN facts ON f = best", (match, *ns, limit)
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


def _apply(connection: sqlite3.Connection, change: FactChange, origin: Origin) -> int:
    match change:
        case PutFact():
            return _put(connection, change.fact, origin)
        case EndFact():
            return _end_where(connection, "id = ?", (change.id,), origin)
        case MemoryRevert():
            return _revert(connection, change, origin)


def _put(connection: sqlite3.Connection, fact: NewFact, origin: Origin) -> int:
    if connection.execute("SELECT 1 FROM facts WHERE id = ? LIMIT 1", (fact.id,)).fetchone():
        return 0
    of = session_of(fact.space)
    if of is not None and not connection.execute("SELECT 1 FROM sessions WHERE id = ?", (of,)).fetchone():
        if origin.session is None:
            raise no_session(of)
        return 0
    late = not fact.proposed and any(_is_late(connection, former, fact.key) for former in fact.supersedes)
    if late and origin.session is None:
        raise Conflict(LATE, code="fact_ended")
    connection.execute("INSERT OR IGNORE INTO spaces (name) VALUES (?)", (fact.space,))
    (n,) = connection.execute("SELECT n FROM spaces WHERE name = ?", (fact.space,)).fetchone()
    told = _is_told(connection, n, fact)
    gone = 0 if late else _give_way(connection, n, fact, origin, told=told)
    about, at = about_of(fact, origin), origin.at
    made = (fact.id, fact.key, fact.category, fact.text, about, fact.proposed, at)
    by = (origin.session, origin.seq)
    if not (late or told):
        version = _bump(connection, n, 0 if fact.proposed else 1)
        insert(connection, n, StoredFact(*made, None, version, None, version, *by, None, None))
        return gone + 1
    if origin.session is not None:
        version, ended = _bump(connection, n, 0), _bump(connection, n, 0)
        insert(connection, n, StoredFact(*made, at, version, ended, ended, *by, *by))
    return gone


def _is_late(connection: sqlite3.Connection, former: str, key: str | None) -> bool:
    """Whether the superseded fact has ended without a successor that shares its key."""
    sql = "SELECT ended_version, proposed, key FROM facts WHERE id = ? ORDER BY ended_version IS NOT NULL LIMIT 1"
    row = connection.execute(sql, (former,)).fetchone()
    return row is not None and row[0] is not None and bool(row[1] or key is None or row[2] != key)


_SAYING = f"n = ? AND substr(text, 1, 64) = substr(?, 1, 64) AND +text = ? AND category = ? AND {_CURRENT}"
"""Matches facts with the same text. The plus stops SQLite from substituting the value, which would hide the index."""


def _is_told(connection: sqlite3.Connection, n: int, fact: NewFact) -> bool:
    where = f"{_SAYING} AND (? IS NULL OR key = ?) AND proposed <= ? AND id NOT IN ({_marks(fact.supersedes)})"
    values = (n, fact.text, fact.text, fact.category, fact.key, fact.key, fact.proposed, *fact.supersedes)
    return connection.execute(f"SELECT 1 FROM facts WHERE {where} LIMIT 1", values).fetchone() is not None


def _give_way(connection: sqlite3.Connection, n: int, fact: NewFact, origin: Origin, *, told: bool) -> int:
    """End the facts that this one replaces. This happens even if the fact itself is a duplicate (`told`)."""
    gone = 0
    for former in fact.supersedes:
        gone += _end_where(connection, "id = ? AND proposed >= ?", (former, fact.proposed), origin)
    if fact.key is not None and not told:
        gone += _end_where(connection, f"n = ? AND key = ? AND proposed = {fact.proposed:d}", (n, fact.key), origin)
    if not fact.proposed:
        same = (n, fact.text, fact.text, fact.category, fact.key)
        gone += _end_where(connection, f"{_SAYING} AND key IS ? AND proposed = 1", same, origin)
    return gone


def insert(connection: sqlite3.Connection, n: int, row: StoredFact) -> None:
    indexed = (f"s{n}", words_of(row.text, row.key))
    cursor = connection.execute(
        f"INSERT INTO facts (n, place, words, {COLUMNS}) VALUES (?, ?, ?, {_marks(StoredFact._fields)})",
        (n, *indexed, *row),
    )
    if row.ended_version is None and not row.proposed:
        connection.execute(
            "INSERT INTO fact_words (rowid, place, words) VALUES (?, ?, ?)", (cursor.lastrowid, *indexed)
        )


def _end_where(connection: sqlite3.Connection, where: str, values: tuple[object, ...], origin: Origin) -> int:
    columns = "f, n, proposed, place, words"
    rows = connection.execute(f"SELECT {columns} FROM facts WHERE {where} AND {_CURRENT}", values).fetchall()
    for f, n, proposed, *indexed in rows:
        if not proposed:
            connection.execute(f"{_UNINDEX} VALUES ('delete', ?, ?, ?)", (f, *indexed))
        version = _bump(connection, n, 0 if proposed else -1)
        connection.execute(
            "UPDATE facts SET ended = ?, ended_version = ?, changed = ?, ended_session = ?, ended_seq = ? WHERE f = ?",
            (origin.at, version, version, origin.session, origin.seq, f),
        )
    return len(rows)


def _revert(connection: sqlite3.Connection, change: MemoryRevert, origin: Origin) -> int:
    session = change.session or origin.session
    until = change.until if change.until is not None else (origin.seq or 1 << 62) - 1
    span = (session, change.since, until)
    back = connection.execute(
        f"SELECT n, {COLUMNS} FROM facts WHERE ended_session = ?1 AND ended_seq > ?2 AND ended_seq <= ?3"
        " AND NOT (session IS ?1 AND seq > ?2 AND seq <= ?3) ORDER BY f DESC",
        span,
    ).fetchall()
    changed = _end_where(connection, "session = ? AND seq > ? AND seq <= ?", span, origin)
    seen: set[str] = set()
    for n, *values in back:
        row = StoredFact(*values)
        if row.id not in seen and _is_free(connection, n, row):
            seen.add(row.id)
            version = _bump(connection, n, 0 if row.proposed else 1)
            insert(connection, n, _again(row, version, origin))
            changed += 1
    return changed


def _is_free(connection: sqlite3.Connection, n: int, row: StoredFact) -> bool:
    """Whether the fact is still ended and its key unused."""
    sql = f"SELECT 1 FROM facts WHERE {_CURRENT} AND (id = ? OR n = ? AND key = ? AND proposed = 0)"
    return connection.execute(sql, (row.id, n, row.key)).fetchone() is None


def _again(row: StoredFact, version: int, origin: Origin) -> StoredFact:
    return row._replace(
        ended=None,
        version=version,
        ended_version=None,
        changed=version,
        session=origin.session,
        seq=origin.seq,
        ended_session=None,
        ended_seq=None,
    )


def _bump(connection: sqlite3.Connection, n: int, more: int) -> int:
    ((version,),) = connection.execute(
        "UPDATE spaces SET version = version + 1, facts = facts + ? WHERE n = ? RETURNING version", (more, n)
    )
    return version


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
