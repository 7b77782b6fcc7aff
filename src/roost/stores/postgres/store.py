"""The store for several nodes: a PostgreSQL database, or a schema in it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from roost.log.store import Durability, Store
from roost.stores.postgres.changes import PostgresChanges
from roost.stores.postgres.coordination import PostgresCoordination
from roost.stores.postgres.database import Address, Pool, shut
from roost.stores.postgres.dispatch import PostgresDispatcher
from roost.stores.postgres.documents import PostgresDocuments
from roost.stores.postgres.errors import FAILURES, failure
from roost.stores.postgres.facts import PostgresFacts
from roost.stores.postgres.inboxes import PostgresInboxes
from roost.stores.postgres.ledger import PostgresLedger
from roost.stores.postgres.logs import PostgresLogs
from roost.stores.postgres.migrate import MIGRATIONS, Migration, migrate
from roost.stores.postgres.portable import PostgresPortable
from roost.stores.postgres.sessions import PostgresSessions
from roost.stores.postgres.upkeep import Upkeep
from roost.stores.postgres.writer import GroupWriter

_CONNECTIONS = 4
_WRITERS = 2


class PostgresDatabase:
    """What the objects of the store share. Uses up to seven connections: one that lasts as long as its nodes, two that
    append, four for the rest. When the database does not answer, every method raises `StoreUnreachable` after at most
    six seconds."""

    def __init__(self, address: Address) -> None:
        token = secrets.token_hex(8)
        self._address = address
        self.pool = Pool(address, _CONNECTIONS, name=f"roost-{token}")
        self._appends = Pool(address, _WRITERS, name=f"roost-append-{token}")
        self.changes = PostgresChanges(address, self.pool, token)
        self.writer = GroupWriter(self._appends, _WRITERS, self.changes.appended)
        self.upkeep = Upkeep(self.pool)
        self._closed = False

    async def start(self, migrations: Sequence[Migration]) -> None:
        link = await self._address.connect("roost-open")
        try:
            await migrate(link, self._address.schema, migrations)
            await self.upkeep.start(link)
        finally:
            await shut(link)
        await self.changes.start()

    async def close(self) -> None:
        """Commit queued appends, then release everything. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self.changes.stop()
        await self.writer.close()
        await self.upkeep.close()
        await asyncio.gather(self.changes.live.close(), self.pool.close(), self._appends.close())
        self.changes.close()


async def open_postgres(
    url: str, *, durability: Durability = "full", migrations: Sequence[Migration] = MIGRATIONS
) -> Store:
    """Bring the tables up to date, then connect. `?schema=` in the address names the schema to use. Raises
    `StoreFailed`, and `ConfigError` for a bad address."""
    database = PostgresDatabase(Address.parse(url, durability))
    try:
        await database.start(migrations)
    except BaseException as error:
        await database.close()
        if isinstance(error, FAILURES):
            raise failure(error) from error
        raise
    pool, changes, upkeep, writer = database.pool, database.changes, database.upkeep, database.writer
    return Store(
        sessions=PostgresSessions(pool, changes, upkeep, writer),
        logs=PostgresLogs(pool, writer),
        inboxes=PostgresInboxes(pool, changes),
        changes=changes,
        dispatch=PostgresDispatcher(pool, changes, writer),
        ledger=PostgresLedger(pool),
        coordination=PostgresCoordination(pool),
        facts=PostgresFacts(pool),
        documents=PostgresDocuments(pool, changes),
        portable=PostgresPortable(pool, changes, upkeep),
        database=database,
    )
