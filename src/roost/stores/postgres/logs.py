"""Logs and snapshots in the PostgreSQL store."""

from __future__ import annotations

from typing import Any

from roost.errors import NotFound, StoreFailed
from roost.log.protocols import READ_BYTES, Append, Checkpoint, Record, Snapshot
from roost.stores.postgres.database import Pool
from roost.stores.postgres.writer import GroupWriter

_READ = "SELECT head, bodies, seqs FROM read_1($1, $2, $3, $4)"
_CHECKPOINTS = """
SELECT c.seq, c.label, c.made_at, c.cause, c.files, c.memory FROM sessions x LEFT JOIN checkpoints c ON c.s = x.s
WHERE x.id = $1 ORDER BY c.seq DESC"""
_END = 2**62


class PostgresLogs:
    def __init__(self, pool: Pool, writer: GroupWriter) -> None:
        self._pool, self._writer = pool, writer

    async def append(self, append: Append) -> int:
        return await self._writer.submit(append)

    async def read(self, session: str, *, after: int = 0, limit: int = 1000) -> list[Record]:
        row: Any = await self._pool.run(lambda link: link.fetchrow(_READ, session, after, limit, READ_BYTES))
        head, bodies, seqs = row
        if head is None:
            raise NotFound(f"there is no session {session!r}")
        if head > after and limit > 0 and not bodies:
            raise StoreFailed(
                f"events after {after} of session {session!r} are not there: attach their partition again",
                code="events_detached",
            )
        return list(map(Record, seqs or (), bodies or ()))

    async def snapshot(self, session: str, *, at: int | None = None) -> Snapshot | None:
        row: Any = await self._pool.run(
            lambda link: link.fetchrow(
                "SELECT s, seq, version, body FROM snapshot_2($1, $2)", session, _END if at is None else at
            )
        )
        if row[0] is None:
            raise NotFound(f"there is no session {session!r}")
        return None if row[1] is None else Snapshot(*row[1:])

    async def checkpoints(self, session: str) -> list[Checkpoint]:
        found = await self._pool.run(lambda link: link.fetch(_CHECKPOINTS, session))
        if not found:
            raise NotFound(f"there is no session {session!r}")
        return [Checkpoint(*row) for row in found if row[0] is not None]
