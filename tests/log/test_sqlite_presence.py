"""A database file that is deleted, emptied, replaced or robbed of its log is noticed, and nothing is accepted into
nothing."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from roost.errors import StoreFailed, StoreLost
from roost.log.protocols import SessionQuery
from roost.log.store import Store
from roost.stores.sqlite.store import open_sqlite
from roost.testing.stores import new, said

_KILLED = """
import asyncio, os, signal, sys
from roost.stores.sqlite.store import open_sqlite
from roost.log.store import Store
from roost.testing.stores import new

async def main():
    journal = await open_sqlite(sys.argv[1])
    await journal.coordination.setting("store_id", "store-1")
    await new(journal, "kept")
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def killed(path: Path) -> None:
    """A process writes the file and dies before SQLite moves its log into the database."""
    done = subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL


async def sessions(journal: Store) -> list[str]:
    return [info.id for info in await journal.sessions.find(SessionQuery())]


def _remove_log(path: Path) -> None:
    path.with_name("roost.db-wal").unlink()


def _remove_all(path: Path) -> None:
    for each in ("roost.db", "roost.db-wal", "roost.db-shm"):
        path.with_name(each).unlink(missing_ok=True)


def _empty(path: Path) -> None:
    _remove_all(path)
    path.touch()


def _cut(path: Path) -> None:
    sqlite3.connect(path).close()
    os.truncate(path, 2048)
    _remove_log(path)


def _replace(path: Path) -> None:
    _remove_all(path)
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
    other.execute("INSERT INTO settings VALUES ('store_id', 'store-2')")
    other.commit()
    other.execute("PRAGMA journal_mode = WAL")
    path.with_name("roost.db-wal").touch()


@pytest.mark.parametrize("damage", [_remove_log, _remove_all, _empty, _cut, _replace])
async def test_a_store_that_was_lost_while_nothing_ran_is_refused(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    path = tmp_path / "roost.db"
    first = await open_sqlite(path)
    await first.coordination.setting("store_id", "store-1")
    await first.close()  # the file has its tables, only the log has the session
    killed(path)
    damage(path)
    for _ in range(2):  # the refusal itself changes nothing
        with pytest.raises(StoreFailed, match=r"roost\.db\.state") as told:
            await open_sqlite(path)
        assert told.value.code == "store_lost"
    path.with_name("roost.db.state").unlink()  # as the error says: what is there is to be used
    if damage in (_remove_log, _remove_all, _empty):
        journal = await open_sqlite(path)
        assert await sessions(journal) == []
        await journal.close()


async def test_a_killed_process_leaves_a_store_that_opens(tmp_path: Path) -> None:
    path = tmp_path / "roost.db"
    killed(path)
    for _ in range(2):
        journal = await open_sqlite(path)
        assert await sessions(journal) == ["kept"]
        await journal.close()
        assert not path.with_name("roost.db-wal").exists()


async def test_a_store_that_another_program_opened_after_a_kill_says_so(tmp_path: Path) -> None:
    """It has moved the log into the database and removed it: nothing is lost, and a backup would be older."""
    path = tmp_path / "roost.db"
    killed(path)
    other = sqlite3.connect(path)
    other.execute("SELECT * FROM settings").fetchall()
    other.close()
    with pytest.raises(StoreLost, match=r"sqlite3.*remove '.*roost\.db\.state'"):
        await open_sqlite(path)
    path.with_name("roost.db.state").unlink()
    journal = await open_sqlite(path)
    assert await sessions(journal) == ["kept"]
    await journal.close()


async def test_a_backup_of_the_same_store_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "roost.db"
    killed(path)
    journal = await open_sqlite(path)
    await journal.close()
    backup = path.read_bytes()
    path.write_bytes(backup)
    journal = await open_sqlite(path)
    assert await sessions(journal) == ["kept"]
    await journal.close()


async def test_two_processes_may_close_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "roost.db"
    for first in (0, 1):
        both = [await open_sqlite(path), await open_sqlite(path)]
        await both[0].coordination.setting(f"a{first}", "1")
        await both[first].close()
        await both[1 - first].coordination.setting(f"b{first}", "1")
        await both[1 - first].close()
    await (await open_sqlite(path)).close()


@pytest.mark.parametrize("how", [_remove_all, _remove_log, _empty])
async def test_a_store_lost_in_use_accepts_nothing_and_is_rescued(tmp_path: Path, how: Callable[[Path], None]) -> None:
    path = tmp_path / "roost.db"
    journal = await open_sqlite(path)
    await new(journal, "kept")
    how(path)
    for _ in range(2):
        with pytest.raises(StoreLost, match="rename"):
            await journal.inboxes.accept("kept", said("lost?"))
    await journal.close()
    saved = list(tmp_path.glob("roost.db.rescued-*"))
    assert len(saved) == 1
    assert saved[0].stat().st_mode & 0o777 == 0o600
    if how is not _remove_log:
        with pytest.raises(StoreLost, match="rescued"):
            await open_sqlite(path)
    _remove_all(path)
    saved[0].rename(path)
    journal = await open_sqlite(path)
    assert await sessions(journal) == ["kept"]
    assert await journal.inboxes.pending("kept") == []
    await journal.close()
