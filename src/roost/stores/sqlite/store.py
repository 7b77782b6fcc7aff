"""The embedded store: one SQLite file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from roost.log.store import Durability, Store
from roost.stores.sqlite.coordination import SqliteCoordination
from roost.stores.sqlite.database import SqliteDatabase
from roost.stores.sqlite.dispatch import SqliteDispatcher
from roost.stores.sqlite.documents import SqliteDocuments
from roost.stores.sqlite.facts import SqliteFacts
from roost.stores.sqlite.inboxes import SqliteInboxes
from roost.stores.sqlite.ledger import SqliteLedger
from roost.stores.sqlite.logs import SqliteLogs
from roost.stores.sqlite.portable import SqlitePortable
from roost.stores.sqlite.sessions import SqliteSessions


async def open_sqlite(
    path: str | Path, *, durability: Durability = "full", on_full: Callable[[], bool] = lambda: False
) -> Store:
    """Open or create the file. on_full: as in `open_store`. Raises `StoreFailed`.

    Several processes may open the same file; changes of another process are noticed within 0.2 s.
    """
    database = SqliteDatabase(Path(path), durability, on_full)
    try:
        await database.open()
    except BaseException:
        await database.close()
        raise
    return Store(
        sessions=SqliteSessions(database),
        logs=SqliteLogs(database),
        inboxes=SqliteInboxes(database),
        changes=database.watchers,
        dispatch=SqliteDispatcher(database),
        ledger=SqliteLedger(database),
        coordination=SqliteCoordination(database),
        facts=SqliteFacts(database),
        documents=SqliteDocuments(database),
        portable=SqlitePortable(database),
        database=database,
    )
