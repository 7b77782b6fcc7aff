"""Facts in the PostgreSQL store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from roost.errors import Conflict, NotFound, StoreFailed
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
from roost.log.facts import EndFact, Fact, FactChange, FactQuery, Hit, MemoryRevert, Purged, PutFact, Space
from roost.log.protocols import Append
from roost.log.search_terms import bm25, weight, words
from roost.log.shared import beginning
from roost.stores.postgres.database import ANSWER, Link, Pool

_EACH = 0.05
"""Seconds allowed per change when there are many, on a slow disk."""
_PUT = "SELECT put_fact_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
_ERASE = """
WITH gone AS (
    SELECT f, session, ended_session FROM facts WHERE n = ANY (SELECT n FROM spaces WHERE name = ANY ($1::text[]))
        AND ended_version IS NOT NULL AND (text <> '' OR key IS NOT NULL OR words <> '')
        AND ($2::text[] IS NULL OR id = ANY ($2)) FOR UPDATE
), erased AS (
    UPDATE facts x SET text = '', key = NULL, words = '', ended_session = NULL, ended_seq = NULL
    FROM gone WHERE x.f = gone.f
) SELECT session, ended_session FROM gone"""
_REWRITE = 600.0
"""Seconds allowed to rewrite a table."""
_LEFT = (
    "the write-ahead log of PostgreSQL, its archive and its replicas, until they are recycled: CHECKPOINT, and wait",
    "backups of the database: delete those that are older than this purge",
)
_KEEP = "SELECT 1 FROM sessions WHERE id = $1 FOR KEY SHARE"
"""Locks the session against deletion until the facts are committed; a later deletion then removes them."""
_END = "SELECT end_fact_1($1, $2, $3)"
_REVERT = "SELECT revert_facts_1($1, $2, $3, $4, $5)"
_PLACES = ", ".join(f"${place}" for place in range(1, 3 + len(StoredFact._fields)))
_INSERT = f"INSERT INTO facts (n, words, {COLUMNS}) VALUES ({_PLACES}) RETURNING f"
_INDEX = """
INSERT INTO fact_words SELECT DISTINCT $1::bigint, word, $2::bigint FROM unnest(string_to_array($3, ' ')) AS w (word)"""
_LISTED = ", ".join(f"x.{name.strip()}" for name in FACT_COLUMNS.split(","))
_FROM = "FROM facts x JOIN spaces s ON s.n = x.n"
_COUNTS = """
SELECT q.word, (SELECT count(*) FROM (
    SELECT FROM fact_words w WHERE w.n = ANY ($1) AND w.word = q.word LIMIT $3) AS counted)
FROM unnest($2::text[]) AS q (word)"""
_SEARCH = f"""
SELECT s.name, x.words, {_LISTED} FROM (
    SELECT w.f, sum(q.weight) AS score FROM unnest($2::text[], $3::float8[]) AS q (word, weight)
    JOIN fact_words w ON w.n = ANY ($1) AND w.word = q.word GROUP BY w.f ORDER BY score DESC, w.f DESC LIMIT $4
) AS best JOIN facts x ON x.f = best.f JOIN spaces s ON s.n = x.n"""


async def write_facts(link: Link, appends: Sequence[Append]) -> None:
    """Write the fact changes of appends, in their transaction."""
    for append in appends:
        for event, change in append.facts:
            origin = Origin(f"session:{append.session}", 0.0, append.session, append.expected + event)
            await _apply(link, change, origin)


async def change(pool: Pool, changes: Sequence[FactChange], by: str) -> int:
    async def write(link: Link) -> int:
        async with link.transaction():
            return sum([await _apply(link, one, Origin(by, 0.0)) for one in changes])

    return await pool.do(write, seconds=ANSWER + _EACH * len(changes))


async def purge(pool: Pool, names: Sequence[str], ids: Sequence[str] | None) -> Purged:
    async def erase(link: Link) -> list[Any]:
        return await link.fetch(_ERASE, list(names), None if ids is None else list(ids))

    rows = await pool.run(erase)
    left: list[str] = [*_LEFT]
    for table in ("facts", "fact_words"):
        try:
            await pool.run(lambda link, table=table: link.execute(f"VACUUM FULL {table}"), seconds=_REWRITE)
        except StoreFailed as error:
            left.append(f"dead rows of the table {table}, which was not rewritten ({error}): VACUUM FULL {table}")
    logs = {session for row in rows for session in row if session is not None}
    return Purged(facts=len(rows), logs=tuple(sorted(logs)), left=tuple(left))


async def fact(pool: Pool, id: str) -> Fact:
    row: Any = await pool.run(
        lambda link: link.fetchrow(f"SELECT s.name, {_LISTED} {_FROM} WHERE x.id = $1 ORDER BY f DESC LIMIT 1", id)
    )
    if row is None:
        raise NotFound(f"there is no fact {id!r}")
    return fact_of(row[0], row[1:])


async def find(pool: Pool, query: FactQuery) -> list[Fact]:
    where: list[str] = []
    values: list[Any] = []

    def condition(text: str, value: object) -> None:
        values.append(value)
        where.append(text.replace("?", f"${len(values)}"))

    condition("x.n = ANY (SELECT n FROM spaces WHERE name = ANY (?::text[]))", list(query.spaces))
    for column in ("category", "key", "proposed"):
        if (value := getattr(query, column)) is not None:
            condition(f"x.{column} = ?", value)
    if query.ids is not None:
        condition("x.id = ANY (?::text[])", list(query.ids))
    if query.text is not None:
        condition('"left"(x.text, 64) = "left"(?, 64) AND x.text = ?', query.text)
    if query.at is not None:
        condition("x.version <= ? AND (x.ended_version IS NULL OR x.ended_version > ?)", query.at)
    elif not query.ended:
        where.append("x.ended_version IS NULL")
    if query.before is not None:
        condition("x.f < (SELECT max(f) FROM facts WHERE id = ?)", query.before)
    values.append(query.limit)
    sql = f"SELECT s.name, {_LISTED} {_FROM} WHERE {' AND '.join(where)} ORDER BY x.f DESC LIMIT ${len(values)}"
    rows: list[Any] = await pool.run(lambda link: link.fetch(sql, *values))
    return [fact_of(row[0], row[1:]) for row in rows]


async def spaces(pool: Pool, prefix: str) -> list[Space]:
    names = [name for name in beginning(prefix) if name is not None]
    where = "name >= $1" + (" AND name < $2" if len(names) > 1 else "")
    sql = f"SELECT name, version, facts FROM spaces WHERE {where} ORDER BY name"
    rows: list[Any] = await pool.run(lambda link: link.fetch(sql, *names))
    return [Space(*row) for row in rows if not row[0].startswith(RESTORING)]


async def changes(pool: Pool, space: str, after: int, limit: int) -> list[Fact]:
    sql = f"SELECT {_LISTED} {_FROM} WHERE s.name = $1 AND changed > $2 AND NOT proposed ORDER BY changed LIMIT $3"
    rows: list[Any] = await pool.run(lambda link: link.fetch(sql, space, after, limit))
    return [fact_of(space, row) for row in rows]


async def stored(pool: Pool, space: str, after: int, limit: int) -> list[StoredFact]:
    """Return all rows, by the version at which they were added."""
    columns = ", ".join(f"x.{name}" for name in StoredFact._fields)
    sql = f"SELECT {columns} {_FROM} WHERE s.name = $1 AND x.version > $2 ORDER BY x.version LIMIT $3"
    rows: list[Any] = await pool.run(lambda link: link.fetch(sql, space, after, limit))
    return [StoredFact(*row) for row in rows]


async def restore(pool: Pool, space: Space, pages: AsyncIterator[list[StoredFact]]) -> None:
    n: int = await pool.run(lambda link: _begin(link, space.name))
    async for rows in pages:
        await pool.run(lambda link, rows=rows: _add(link, n, rows), repeat=False)
    await pool.run(
        lambda link: link.execute("UPDATE spaces SET name = $2, version = $3, facts = $4 WHERE n = $1", n, *space)
    )


async def _begin(link: Link, space: str) -> int:
    async with link.transaction():
        for name in (space, RESTORING + space):
            await link.execute("SELECT clear_space_1($1)", name)
        return await link.fetchval("SELECT space_1($1)", RESTORING + space)


async def _add(link: Link, n: int, rows: list[StoredFact]) -> None:
    async with link.transaction():
        for row in rows:
            indexed = words_of(row.text, row.key)
            f = await link.fetchval(_INSERT, n, indexed, *row)
            if row.ended_version is None and not row.proposed:
                await link.execute(_INDEX, n, f, indexed)


async def search(pool: Pool, names: Sequence[str], query: str, limit: int) -> list[Hit]:
    asked = list(dict.fromkeys(words(query)))[:32]
    found = await pool.run(
        lambda link: link.fetch("SELECT n, facts FROM spaces WHERE name = ANY ($1) AND facts > 0", list(names))
    )
    if not found or not asked:
        return []
    ns, total = [n for n, _ in found], sum(count for _, count in found)
    rows = await pool.run(lambda link: link.fetch(_COUNTS, ns, asked, COMMON + 1))
    counts = {word: count for word, count in rows if count}
    if not counts:
        return []
    rarest = min(counts, key=lambda word: counts[word])
    rare = [word for word, count in counts.items() if count <= COMMON or word == rarest]
    weights = [weight(counts[word], total) for word in rare]
    best: list[Any] = await pool.run(lambda link: link.fetch(_SEARCH, ns, rare, weights, max(CANDIDATES, limit)))
    scores = bm25(asked, [row[1] for row in best], counts, total)
    hits = [Hit(fact_of(row[0], row[2:]), score) for row, score in zip(best, scores, strict=True)]
    return best_first(hits)[:limit]


async def _apply(link: Link, change: FactChange, origin: Origin) -> int:
    session, seq = origin.session, origin.seq
    match change:
        case PutFact(fact=new):
            of = session_of(new.space)
            if of not in (None, session) and await link.fetchval(_KEEP, of) is None:
                if session is None:
                    raise no_session(of)
                return 0
            values = (new.space, new.id, new.key, new.category, new.text, words_of(new.text, new.key))
            about = about_of(new, origin)
            done = await link.fetchval(_PUT, *values, about, new.proposed, list(new.supersedes), session, seq)
            if done < 0:
                raise Conflict(LATE, code="fact_ended")
            return done
        case EndFact(id=id):
            return await link.fetchval(_END, id, session, seq)
        case MemoryRevert():
            until = change.until if change.until is not None else (seq or 1 << 62) - 1
            return await link.fetchval(_REVERT, change.session or session, change.since, until, session, seq)
