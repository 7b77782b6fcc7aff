"""Facts in the PostgreSQL store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from roost.errors import NotFound, StoreFailed
from roost.log.fact_rows import CANDIDATES, COMMON, FACT_COLUMNS, RESTORING, Origin, best_first, fact_of
from roost.log.facts import Fact, FactChange, FactQuery, Hit, Purged, Space
from roost.log.search_terms import bm25, weight, words
from roost.stores.conditions import Conditions, numbered, starting_with
from roost.stores.postgres.database import ANSWER, Link, Pool
from roost.stores.postgres.fact_writes import apply

_EACH = 0.05
"""Seconds allowed per change when there are many, on a slow disk."""
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


class PostgresFacts:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def change(self, changes: Sequence[FactChange], *, by: str) -> int:
        async def write(link: Link) -> int:
            async with link.transaction():
                return sum([await apply(link, one, Origin(by, 0.0)) for one in changes])

        return await self._pool.do(write, seconds=ANSWER + _EACH * len(changes))

    async def purge(self, spaces: Sequence[str], *, ids: Sequence[str] | None = None) -> Purged:
        async def erase(link: Link) -> list[Any]:
            return await link.fetch(_ERASE, list(spaces), None if ids is None else list(ids))

        rows = await self._pool.run(erase)
        left: list[str] = [*_LEFT]
        for table in ("facts", "fact_words"):
            try:
                await self._pool.run(lambda link, table=table: link.execute(f"VACUUM FULL {table}"), seconds=_REWRITE)
            except StoreFailed as error:
                left.append(f"dead rows of the table {table}, which was not rewritten ({error}): VACUUM FULL {table}")
        logs = {session for row in rows for session in row if session is not None}
        return Purged(facts=len(rows), logs=tuple(sorted(logs)), left=tuple(left))

    async def get(self, id: str) -> Fact:
        row: Any = await self._pool.run(
            lambda link: link.fetchrow(f"SELECT s.name, {_LISTED} {_FROM} WHERE x.id = $1 ORDER BY f DESC LIMIT 1", id)
        )
        if row is None:
            raise NotFound(f"there is no fact {id!r}")
        return fact_of(row[0], row[1:])

    async def find(self, query: FactQuery) -> list[Fact]:
        where = Conditions()
        where.add("x.n = ANY (SELECT n FROM spaces WHERE name = ANY (?::text[]))", list(query.spaces))
        for column in ("category", "key", "proposed"):
            if (value := getattr(query, column)) is not None:
                where.add(f"x.{column} = ?", value)
        if query.ids is not None:
            where.add("x.id = ANY (?::text[])", list(query.ids))
        if query.text is not None:
            where.add('"left"(x.text, 64) = "left"(?, 64) AND x.text = ?', query.text, query.text)
        if query.at is not None:
            where.add("x.version <= ? AND (x.ended_version IS NULL OR x.ended_version > ?)", query.at, query.at)
        elif not query.ended:
            where.add("x.ended_version IS NULL")
        if query.before is not None:
            where.add("x.f < (SELECT max(f) FROM facts WHERE id = ?)", query.before)
        sql = numbered(f"SELECT s.name, {_LISTED} {_FROM} WHERE {where} ORDER BY x.f DESC LIMIT ?")
        rows: list[Any] = await self._pool.run(lambda link: link.fetch(sql, *where.values, query.limit))
        return [fact_of(row[0], row[1:]) for row in rows]

    async def search(self, spaces: Sequence[str], query: str, *, limit: int = 20) -> list[Hit]:
        asked = list(dict.fromkeys(words(query)))[:32]
        found = await self._pool.run(
            lambda link: link.fetch("SELECT n, facts FROM spaces WHERE name = ANY ($1) AND facts > 0", list(spaces))
        )
        if not found or not asked:
            return []
        ns, total = [n for n, _ in found], sum(count for _, count in found)
        rows = await self._pool.run(lambda link: link.fetch(_COUNTS, ns, asked, COMMON + 1))
        counts = {word: count for word, count in rows if count}
        if not counts:
            return []
        rarest = min(counts, key=lambda word: counts[word])
        rare = [word for word, count in counts.items() if count <= COMMON or word == rarest]
        weights = [weight(counts[word], total) for word in rare]
        best: list[Any] = await self._pool.run(
            lambda link: link.fetch(_SEARCH, ns, rare, weights, max(CANDIDATES, limit))
        )
        scores = bm25(asked, [row[1] for row in best], counts, total)
        hits = [Hit(fact_of(row[0], row[2:]), score) for row, score in zip(best, scores, strict=True)]
        return best_first(hits)[:limit]

    async def spaces(self, prefix: str = "") -> list[Space]:
        where = starting_with("name", prefix)
        sql = numbered(f"SELECT name, version, facts FROM spaces WHERE {where} ORDER BY name")
        rows: list[Any] = await self._pool.run(lambda link: link.fetch(sql, *where.values))
        return [Space(*row) for row in rows if not row[0].startswith(RESTORING)]

    async def history(self, space: str, *, after: int, limit: int = 1000) -> list[Fact]:
        sql = f"SELECT {_LISTED} {_FROM} WHERE s.name = $1 AND changed > $2 AND NOT proposed ORDER BY changed LIMIT $3"
        rows: list[Any] = await self._pool.run(lambda link: link.fetch(sql, space, after, limit))
        return [fact_of(space, row) for row in rows]
