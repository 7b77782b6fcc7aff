from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import settings

from roost.errors import Fenced, NotFound, SequenceConflict, StoreCorrupt, StoreFailed
from roost.log.dispatch import NodeCard
from roost.log.protocols import Append
from roost.log.store import Store
from roost.stores.sqlite.commit_group import Group
from roost.stores.sqlite.store import open_sqlite
from roost.testing.deliveries import DeliveryConformance
from roost.testing.dispatch import DispatchConformance
from roost.testing.forks import ForkConformance, fork, grown, log_of
from roost.testing.journal import JournalConformance
from roost.testing.journal_model import JournalMachine
from roost.testing.shared import SharedConformance
from roost.testing.shared_model import SharedMachine
from roost.testing.stores import bodies, new, own, said
from tests.examples import examples


class TestSqliteJournal(JournalConformance):
    async def open(self, folder: Path) -> Store:
        return await open_sqlite(folder / "roost.db")


class TestSqliteDeliveries(DeliveryConformance):
    async def open(self, folder: Path) -> Store:
        return await open_sqlite(folder / "roost.db")


class TestSqliteForks(ForkConformance):
    async def open(self, folder: Path) -> Store:
        return await open_sqlite(folder / "roost.db")


async def test_a_fork_has_no_row_of_what_it_shares(tmp_path: Path) -> None:
    """And what no session's log contains any more goes."""
    journal = await open_sqlite(tmp_path / "roost.db")
    file = sqlite3.connect(tmp_path / "roost.db")

    def rows() -> list[tuple[int, int]]:
        return file.execute("SELECT s, count(*) FROM events GROUP BY s ORDER BY s").fetchall()

    async def gone(session: str) -> list[tuple[int, int]]:
        await journal.sessions.delete(session)
        await journal.sessions.purge()
        return rows()

    await grown(journal, "s", 5000)
    await fork(journal, "s", 4000, "f")
    await fork(journal, "f", 4001, "g")
    await fork(journal, "f", 1000, "h")
    assert rows() == [(1, 5000), (2, 1), (3, 1), (4, 1)]
    assert await gone("s") == [(1, 4000), (2, 1), (3, 1), (4, 1)]
    assert await gone("f") == [(1, 4000), (2, 1), (3, 1), (4, 1)]
    assert await gone("g") == [(1, 1000), (4, 1)]
    assert file.execute("SELECT s FROM garbage").fetchall() == [(1,)]
    assert await log_of(journal, "h") == [*(f"s{number}" for number in range(2, 1001)), "h1001"]
    assert await gone("h") == []
    for table in ("garbage", "lineage", "snapshots", "sessions"):
        assert file.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
    file.close()
    await journal.close()


class TestSqliteDispatch(DispatchConformance):
    async def open(self, folder: Path) -> Store:
        return await open_sqlite(folder / "roost.db")


class TestSqliteShared(SharedConformance):
    async def open(self, folder: Path) -> Store:
        return await open_sqlite(folder / "roost.db")


class _Machine(JournalMachine):
    async def open(self, folder: Path) -> Store:
        return await open_sqlite(folder / "roost.db", durability="relaxed")


TestMachine = _Machine.TestCase
TestMachine.settings = settings(max_examples=examples(25), stateful_step_count=30, deadline=None)


class _SharedMachine(SharedMachine):
    async def open(self, folder: Path) -> Store:
        return await open_sqlite(folder / "roost.db", durability="relaxed")


TestSharedMachine = _SharedMachine.TestCase
TestSharedMachine.settings = settings(max_examples=examples(15), stateful_step_count=30, deadline=None)


async def test_full_durability_is_the_default(tmp_path: Path) -> None:
    journal = await open_sqlite(tmp_path / "roost.db")
    await new(journal, "s")
    await journal.close()
    connection = sqlite3.connect(tmp_path / "roost.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


async def test_process_that_dies_loses_its_sessions_at_once(tmp_path: Path) -> None:
    """The owner holds a lease of an hour; its death is seen by its file lock, not by the lease."""
    script = (
        "import asyncio, sys\n"
        "from roost.log.dispatch import NodeCard\n"
        "from roost.stores.sqlite.store import open_sqlite\n"
        "from roost.testing.stores import new, own, said\n"
        "async def main():\n"
        "    journal = await open_sqlite(sys.argv[1])\n"
        "    await new(journal, 's')\n"
        "    await journal.inboxes.accept('s', said())\n"
        "    await journal.dispatch.beat(NodeCard(id='gone'), ttl=3600)\n"
        "    assert await journal.dispatch.claim('gone')\n"
        "    print('owned', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "roost.db")], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert await asyncio.to_thread(owner.stdout.readline) == b"owned\n"
    journal = await open_sqlite(tmp_path / "roost.db")
    await journal.dispatch.beat(NodeCard(id="heir"), ttl=60)
    assert await journal.dispatch.claim("heir") == []
    owner.kill()
    owner.wait()
    owner.stdout.close()
    claims = await journal.dispatch.claim("heir")
    assert [claim.info.id for claim in claims] == ["s"]
    await journal.close()


async def test_only_the_owner_reads_the_files_whatever_the_folder_allows(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    journal = await open_sqlite(tmp_path / "roost.db")
    await new(journal, "one")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("roost.db*") if path.is_file()}
    assert modes == dict.fromkeys(("roost.db", "roost.db-wal", "roost.db-shm", "roost.db.state"), 0o600)
    await journal.close()


async def test_newer_layout_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "roost.db"
    await (await open_sqlite(path)).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(StoreFailed, match="upgrade Roost"):
        await open_sqlite(path)


async def test_a_name_that_no_file_can_have_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="null"):
        await asyncio.wait_for(open_sqlite(tmp_path / "no\0where"), 30)


async def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "roost.db"
    path.write_bytes(b"this is not a database" * 1000)
    with pytest.raises(StoreCorrupt):
        await open_sqlite(path)


async def test_torn_end_of_the_write_ahead_log_keeps_what_was_committed(tmp_path: Path) -> None:
    """A power loss may tear the last frames; SQLite's checksums cut them off, and what came before stays."""
    path = tmp_path / "roost.db"
    journal = await open_sqlite(path)
    await new(journal, "s")
    claim = await own(journal, "s")
    head = 1
    for number in range(20):
        head = await journal.logs.append(
            Append(session="s", epoch=claim.epoch, expected=head, bodies=bodies(str(number)))
        )
    torn = tmp_path / "torn"
    torn.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", torn / f"roost.db{suffix}")
    await journal.close()
    with open(torn / "roost.db-wal", "r+b") as wal:
        wal.seek(-100, os.SEEK_END)
        wal.write(b"\xff" * 100)
    again = await open_sqlite(torn / "roost.db")
    seqs = [record.seq for record in await again.logs.read("s")]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) in (head - 1, head)
    await again.close()


async def test_corrupt_page_is_an_error_and_the_rest_works(tmp_path: Path) -> None:
    path = tmp_path / "roost.db"
    journal = await open_sqlite(path)
    for name in ("a", "b"):
        await new(journal, name)
        claim = await own(journal, name)
        await journal.logs.append(Append(session=name, epoch=claim.epoch, expected=1, bodies=bodies("x" * 300_000)))
    await journal.close()
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(size - size % 4096 - 4096)
        file.write(b"\xff" * 4096)
    again = await open_sqlite(path)
    assert (await again.sessions.get("a")).head == 2
    assert len((await again.logs.read("a"))[1].body) > 300_000
    await again.close()


async def test_full_disk_refuses_and_recovers(tmp_path: Path) -> None:
    """`max_page_count` makes SQLite answer exactly as a full disk does, without filling one."""
    path = tmp_path / "roost.db"
    journal = await open_sqlite(path)
    await new(journal, "s")
    claim = await own(journal, "s")

    def limit(pages: int) -> object:
        pragma = f"PRAGMA max_page_count = {pages}"
        return journal.database.write(lambda group: group.connection.execute(pragma).fetchone())  # type: ignore[attr-defined]

    await limit(1)  # type: ignore[misc]
    big = Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies("x" * 1_000_000))
    with pytest.raises(StoreFailed) as refused:
        await journal.logs.append(big)
    assert refused.value.code == "disk_full"
    assert (await journal.sessions.get("s")).head == 1
    with pytest.raises(StoreFailed):
        await journal.inboxes.accept("s", said("y" * 1_000_000))
    await limit(1_000_000)  # type: ignore[misc]
    assert await journal.logs.append(big) == 2
    await journal.close()


async def test_appends_do_not_slow_down_as_a_session_grows(tmp_path: Path) -> None:
    """Counted in SQLite's virtual machine steps, which no busy machine can disturb."""
    journal = await open_sqlite(tmp_path / "roost.db", durability="relaxed")
    await new(journal, "s")
    claim = await own(journal, "s")
    head, ticks = 1, [0]

    def count(steps: list[int]) -> object:
        def install(group: Group) -> None:
            def tick() -> int:
                steps[0] += 1
                return 0

            group.connection.set_progress_handler(tick, 1)

        return journal.database.write(install)  # type: ignore[attr-defined]

    async def cost() -> int:
        nonlocal head
        before = ticks[0]
        head = await journal.logs.append(Append(session="s", epoch=claim.epoch, expected=head, bodies=bodies("x")))
        return ticks[0] - before

    async def grow(to: int) -> None:
        nonlocal head
        while head < to:
            batch = bodies(*["x"] * 500)
            head = await journal.logs.append(Append(session="s", epoch=claim.epoch, expected=head, bodies=batch))

    await count(ticks)  # type: ignore[misc]
    early = await cost()
    await grow(20_000)
    assert await cost() <= early * 1.2
    await journal.close()


async def test_many_processes_open_a_new_file_at_once(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from roost.log.dispatch import NodeCard\n"
        "from roost.stores.sqlite.store import open_sqlite\n"
        "async def main():\n"
        "    journal = await open_sqlite(sys.argv[1])\n"
        "    await journal.dispatch.beat(NodeCard(id=sys.argv[2]), ttl=5)\n"
        "    await journal.close()\n"
        "asyncio.run(main())\n"
    )
    path = str(tmp_path / "roost.db")
    openers = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", script, path, f"node-{number}")
        for number in range(6)
    ]
    assert [await opener.wait() for opener in openers] == [0] * 6


async def test_one_commit_takes_some_appends_and_refuses_others(tmp_path: Path) -> None:
    """All of these are handed over in one pass of the loop; what is claimed in it has what was appended in it."""
    journal = await open_sqlite(tmp_path / "roost.db")
    for name in "abc":
        await new(journal, name)
    epochs = {name: (await own(journal, name)).epoch for name in "abc"}
    heads = {name: (await journal.sessions.get(name)).head for name in "abc"}

    def write(name: str, count: int, *, late: int = 0, release: bool = False) -> Append:
        at = heads[name] + late
        return Append(session=name, epoch=epochs[name], expected=at, bodies=bodies(*"xyz"[:count]), release=release)

    results = await asyncio.gather(
        journal.logs.append(write("a", 2)),
        journal.logs.append(write("b", 2, late=7)),
        journal.logs.append(write("b", 1)),
        journal.logs.append(write("c", 3, release=True)),
        journal.dispatch.claim("node", session="c"),
        journal.logs.append(write("a", 1, late=2)),
        return_exceptions=True,
    )
    assert results[0] == heads["a"] + 2
    assert isinstance(results[1], SequenceConflict)
    assert results[2] == heads["b"] + 1
    assert isinstance(results[4], list)
    assert [record.seq for record in results[4][0].tail] == list(range(1, heads["c"] + 4))
    for name, count in (("a", 3), ("b", 1), ("c", 3)):
        assert [record.seq for record in await journal.logs.read(name)] == list(range(1, heads[name] + count + 1))
    await journal.close()


async def test_what_comes_while_a_group_is_written_shares_its_commit(tmp_path: Path) -> None:
    journal = await open_sqlite(tmp_path / "roost.db")
    for name in "ab":
        await new(journal, name)
    claims = [await own(journal, name) for name in "ab"]
    other = sqlite3.connect(tmp_path / "roost.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # the writer waits at the beginning of its group
    told: list[int] = []
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(count)

    stop = journal.changes.watch(lambda change: told.append(turns) if change.records else None)
    writes = []
    for claim in claims:
        write = Append(session=claim.info.id, epoch=claim.epoch, expected=claim.info.head, bodies=bodies("x"))
        writes.append(asyncio.ensure_future(journal.logs.append(write)))
        await asyncio.sleep(0.05)  # the second is handed over when the writer has the first
    assert not any(write.done() for write in writes)
    asyncio.get_running_loop().call_soon(count)
    await asyncio.sleep(0)
    other.execute("ROLLBACK")
    other.close()
    assert await asyncio.gather(*writes) == [claim.info.head + 1 for claim in claims]
    assert len(told) == 2
    assert told[0] == told[1]  # told in one turn of the loop: it was one commit
    stop()
    await journal.close()


async def test_session_made_anew_by_another_process_is_not_written_by_its_former_owner(tmp_path: Path) -> None:
    journal, other = [await open_sqlite(tmp_path / "roost.db") for _ in range(2)]
    await new(journal, "s")
    claim = await own(journal, "s")
    head = await journal.logs.append(
        Append(session="s", epoch=claim.epoch, expected=claim.info.head, bodies=bodies("x"))
    )
    await other.sessions.delete("s", epoch=claim.epoch)
    with pytest.raises(NotFound):
        await journal.logs.append(Append(session="s", epoch=claim.epoch, expected=head, bodies=bodies("x")))
    await new(other, "s")
    with pytest.raises(Fenced):
        await journal.logs.append(Append(session="s", epoch=claim.epoch, expected=head, bodies=bodies("x")))
    again = await own(journal, "s")
    await journal.logs.append(Append(session="s", epoch=again.epoch, expected=again.info.head, bodies=bodies("x")))
    await other.close()
    await journal.close()


async def test_a_file_that_another_program_holds_refuses_all_that_waits_at_once(tmp_path: Path) -> None:
    path = tmp_path / "roost.db"
    journal = await open_sqlite(path)
    await new(journal, "s")
    await journal.database.write(lambda group: group.connection.execute("PRAGMA busy_timeout = 300"))  # type: ignore[attr-defined]
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    refused = await asyncio.gather(*(journal.inboxes.accept("s", said()) for _ in range(50)), return_exceptions=True)
    assert time.monotonic() - began < 50 * 0.3, "one time-out, not one after the other"
    assert all(isinstance(one, StoreFailed) for one in refused)
    other.execute("ROLLBACK")
    other.close()
    await journal.inboxes.accept("s", said())
    assert (await journal.sessions.get("s")).pending == 1
    await journal.close()


async def test_what_a_process_that_died_left_of_a_log_is_removed_by_another(tmp_path: Path) -> None:
    journal, dying = [await open_sqlite(tmp_path / "roost.db") for _ in range(2)]
    await new(dying, "s")
    claim = await own(dying, "s")
    await dying.logs.append(
        Append(session="s", epoch=claim.epoch, expected=1, bodies=bodies(*["x"] * 9000), release=True)
    )
    await dying.sessions.delete("s")
    await dying.close()
    connection = sqlite3.connect(tmp_path / "roost.db")
    assert connection.execute("SELECT count(*) FROM events").fetchone()[0] > 0
    await asyncio.gather(journal.sessions.purge(), journal.sessions.purge())
    assert connection.execute("SELECT count(*) FROM events").fetchone()[0] == 0
    assert connection.execute("SELECT count(*) FROM garbage").fetchone()[0] == 0
    await journal.sessions.purge()
    connection.close()
    await journal.close()
