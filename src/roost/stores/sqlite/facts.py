"""Facts in the SQLite store."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from roost.errors import NotFound, RoostError
from roost.log.fact_rows import RESTORING, Origin, fact_of
from roost.log.facts import Fact, FactChange, FactQuery, Hit, Purged, Space
from roost.stores.conditions import Conditions, starting_with
from roost.stores.sqlite import fact_search
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.database import Part, reads, writes
from roost.stores.sqlite.fact_search import LISTED
from roost.stores.sqlite.fact_writes import CURRENT, apply, marks

_ERASED = "ended_version IS NOT NULL AND (text <> '' OR key IS NOT NULL OR words <> '')"


class SqliteFacts(Part):
    @writes
    def change(self, group: Group, changes: Sequence[FactChange], *, by: str) -> int:
        connection, origin = group.connection, Origin(by, time.time())
        if len(changes) == 1:
            return apply(connection, changes[0], origin)
        connection.execute("SAVEPOINT many")
        try:
            done = sum(apply(connection, one, origin) for one in changes)
        except RoostError:
            connection.execute("ROLLBACK TO many")
            connection.execute("RELEASE many")
            raise
        connection.execute("RELEASE many")
        return done

    async def purge(self, spaces: Sequence[str], *, ids: Sequence[str] | None = None) -> Purged:
        facts, logs = await self._erase(spaces, ids)
        left = await self.database.scrub(_compact)
        return Purged(facts=facts, logs=tuple(sorted(logs)), left=left)

    @writes
    def _erase(self, group: Group, spaces: Sequence[str], ids: Sequence[str] | None) -> tuple[int, set[str]]:
        """Empty the rows of ended facts. Returns their number, and the sessions whose logs contain them."""
        where, values = f"n IN (SELECT n FROM spaces WHERE name IN ({marks(spaces)})) AND {_ERASED}", [*spaces]
        if ids is not None:
            where, values = f"{where} AND id IN ({marks(ids)})", [*values, *ids]
        told = group.connection.execute(f"SELECT session, ended_session FROM facts WHERE {where}", values).fetchall()
        empty = "text = '', key = NULL, words = '', ended_session = NULL, ended_seq = NULL"
        group.connection.execute(f"UPDATE facts SET {empty} WHERE {where}", values)
        return len(told), {session for row in told for session in row if session is not None}

    @reads
    def get(self, connection: sqlite3.Connection, id: str) -> Fact:
        row = connection.execute(
            f"SELECT name, {LISTED} FROM facts JOIN spaces USING (n) WHERE facts.id = ? ORDER BY f DESC LIMIT 1", (id,)
        ).fetchone()
        if row is None:
            raise NotFound(f"there is no fact {id!r}")
        return fact_of(row[0], row[1:])

    @reads
    def find(self, connection: sqlite3.Connection, query: FactQuery) -> list[Fact]:
        where = Conditions()
        where.add(f"name IN ({marks(query.spaces)})", *query.spaces)
        for column in ("category", "key"):
            if (value := getattr(query, column)) is not None:
                where.add(f"facts.{column} = ?", value)
        if query.ids is not None:
            where.add(f"facts.id IN ({marks(query.ids)})", *query.ids)
        if query.proposed is not None:
            where.add("proposed = ?", int(query.proposed))
        if query.text is not None:
            where.add("substr(facts.text, 1, 64) = substr(?, 1, 64) AND +facts.text = ?", query.text, query.text)
        if query.at is not None:
            where.add("facts.version <= ? AND (ended_version IS NULL OR ended_version > ?)", query.at, query.at)
        elif not query.ended:
            where.add(CURRENT)
        if query.before is not None:
            where.add("f < (SELECT max(f) FROM facts WHERE id = ?)", query.before)
        join = "spaces ON spaces.n = facts.n" if query.ids is None else "spaces ON spaces.n = +facts.n"  # by id
        sql = f"SELECT name, {LISTED} FROM facts JOIN {join} WHERE {where} ORDER BY f DESC LIMIT ?"
        return [fact_of(row[0], row[1:]) for row in connection.execute(sql, (*where.values, query.limit))]

    @reads
    def search(
        self, connection: sqlite3.Connection, spaces: Sequence[str], query: str, *, limit: int = 20
    ) -> list[Hit]:
        return fact_search.search(connection, spaces, query, limit)

    @reads
    def spaces(self, connection: sqlite3.Connection, prefix: str = "") -> list[Space]:
        where = starting_with("name", prefix)
        rows = connection.execute(f"SELECT name, version, facts FROM spaces WHERE {where} ORDER BY name", where.values)
        return [Space(*row) for row in rows if not row[0].startswith(RESTORING)]

    @reads
    def history(self, connection: sqlite3.Connection, space: str, *, after: int, limit: int = 1000) -> list[Fact]:
        rows = connection.execute(
            f"SELECT {LISTED} FROM facts JOIN spaces USING (n) WHERE name = ? AND changed > ? AND proposed = 0"
            " ORDER BY changed LIMIT ?",
            (space, after, limit),
        )
        return [fact_of(space, row) for row in rows]


def _compact(connection: sqlite3.Connection) -> None:
    """Remove what deleted entries left in the word index, in free pages and in the log. Must run outside a
    transaction."""
    connection.execute("INSERT INTO fact_words (fact_words) VALUES ('optimize')")
    connection.execute("VACUUM")
