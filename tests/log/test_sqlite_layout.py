"""Files that an older version wrote are brought up to date in place, all or nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roost.errors import Fenced, StoreFailed
from roost.log.content import Text
from roost.log.dispatch import NodeCard
from roost.log.documents import DocumentQuery, Put
from roost.log.inputs import TimerInput
from roost.log.ledger import CallNote
from roost.log.protocols import Append, Delivery, NewSession, SessionQuery, Snapshot
from roost.stores.call_rows import encode_note
from roost.stores.conditions import Conditions
from roost.stores.session_rows import sessions_sql
from roost.stores.sqlite import migrations
from roost.stores.sqlite.store import open_sqlite
from roost.testing.stores import bodies, names, new, own, said

GOLDEN = Path(__file__).parents[1] / "golden"


def layout(folder: Path, number: int) -> Path:
    path = folder / "roost.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript((GOLDEN / f"store.v{number}.sql").read_text())
    connection.close()
    return path


def first_layout(folder: Path) -> Path:
    """As the first version left it when it was killed: one session asleep, one with work, one in mid-turn."""
    return layout(folder, 1)


def shape(path: Path) -> list[tuple[str, ...]]:
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
    columns = [(str(name), *connection.execute(f"PRAGMA table_info({name})").fetchall()) for _, name, _, _ in found]
    connection.close()
    return [(*row[:3], " ".join((row[3] or "").split())) for row in found] + columns


async def test_everything_is_there_after_the_upgrade(tmp_path: Path) -> None:
    journal = await open_sqlite(first_layout(tmp_path))
    assert [session async for session in journal.portable.sessions()] == ["lived", "busy", "owned"]
    info = await journal.sessions.get("lived")
    assert (info.needs, info.home, info.format, info.epoch, info.pending) == ((), None, 0, 1, 2)
    assert (info.title, info.parent, info.labels, info.head) == ("A title", "p", {"user": "ann"}, 3)
    assert [one.id for one in await journal.sessions.find(SessionQuery(label=("user", "ann")))] == ["lived"]
    assert (await new(journal, "again", key="first")).id == "lived"
    assert (await journal.inboxes.accept("lived", said("1"), key="k1"))[:2] == (3, True)
    assert (await journal.inboxes.accept("lived", said("3"), key="k2"))[:2] == (7, True)
    assert [item.id for item in await journal.inboxes.pending("lived")] == [5, 7]
    assert [item.input for item in await journal.inboxes.pending("busy")] == [said(f"b{n}") for n in range(4)]
    assert await journal.logs.snapshot("lived") == Snapshot(2, 9, b"\x00folded\xff")
    assert (await journal.inboxes.accept("busy", said("new"))).id > 9
    await journal.close()


async def test_work_goes_on_after_the_upgrade(tmp_path: Path) -> None:
    journal = await open_sqlite(first_layout(tmp_path))
    assert await journal.dispatch.fire(200.0) is None
    await journal.dispatch.beat(NodeCard(id="n", home="h"), ttl=60)
    backlog = await journal.dispatch.backlog()
    assert backlog.sessions == 3
    claims = {claim.info.id: claim for claim in await journal.dispatch.claim("n")}
    assert claims.keys() == {"lived", "busy", "owned"}
    assert claims["lived"].inbox[-1].input == TimerInput("wake", (Text("up"),))
    assert (claims["owned"].info.phase, claims["owned"].epoch) == ("working", 2)
    items = [item.id for item in claims["lived"].inbox]
    done = Append(session="lived", epoch=claims["lived"].epoch, expected=3, bodies=bodies("on"), consume=items)
    assert await journal.logs.append(done) == 4
    with pytest.raises(Fenced):
        await journal.logs.append(Append(session="owned", epoch=1, expected=1, bodies=bodies("late")))
    assert names(await journal.logs.read("lived")) == ["on"]
    await journal.close()


async def test_what_the_second_layout_holds_goes_on(tmp_path: Path) -> None:
    """It was killed in the midst of a deletion."""
    path = layout(tmp_path, 2)
    journal = await open_sqlite(path)
    await journal.sessions.purge()
    assert [session async for session in journal.portable.sessions()] == ["lived", "busy"]
    assert names(await journal.logs.read("lived")) == ["one", "two", "three"]
    assert await journal.logs.snapshot("lived", at=2) == Snapshot(2, 9, b"\x00folded\xff")
    assert await journal.logs.snapshot("lived", at=1) is None
    assert await journal.logs.checkpoints("lived") == []
    assert (await new(journal, "again", key="first")).id == "lived"
    claim = await own(journal, "lived", "n")
    assert [record.seq for record in claim.tail] == [3, 4]
    assert [item.input for item in claim.inbox] == [said("2")]
    sent = [Delivery("busy", said("end"), "end")]
    write = Append(session="lived", epoch=claim.epoch, expected=4, bodies=bodies("on"), deliver=sent)
    assert await journal.logs.append(write) == 5
    assert [item.input for item in await journal.inboxes.pending("busy")] == [said("b0"), said("end")]
    fresh = NewSession(id="f", agent="clerk", version="7")
    assert (await journal.sessions.fork("lived", 3, fresh, Snapshot(3, 9, b"f"), [])).head == 3
    await journal.sessions.delete("lived", epoch=claim.epoch)
    await journal.sessions.purge()
    assert names(await journal.logs.read("f")) == ["one", "two"]
    assert await journal.coordination.setting("name") == "value"
    await journal.close()
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT s, seq FROM events ORDER BY s, seq").fetchall()
    connection.close()
    assert rows == [(1, 1), (1, 2), (1, 3), (2, 1)]


@pytest.mark.parametrize("number", [1, 2])
async def test_an_upgraded_file_is_like_a_new_one(tmp_path: Path, number: int) -> None:
    (tmp_path / "new").mkdir()
    path = layout(tmp_path, number)
    for one in (path, tmp_path / "new" / "roost.db"):
        await (await open_sqlite(one)).close()
        await (await open_sqlite(one)).close()
    assert shape(path) == shape(tmp_path / "new" / "roost.db")


async def test_a_search_by_a_label_reads_no_other_sessions(tmp_path: Path) -> None:
    path = tmp_path / "roost.db"
    await (await open_sqlite(path)).close()
    where = Conditions()
    sql = sessions_sql(SessionQuery(agent="clerk", label=("user", "ann"), before="s9", limit=50), where)
    connection = sqlite3.connect(path)
    plan = [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", where.values)]
    connection.close()
    assert plan[0] == "SEARCH l USING PRIMARY KEY (key=? AND value=? AND s<?)"
    assert not any("SCAN" in step or "TEMP B-TREE" in step for step in plan if "SCALAR" not in step)


async def test_lost_calls_of_the_fourth_layout_are_found_by_their_start(tmp_path: Path) -> None:
    path = layout(tmp_path, 2)
    connection = sqlite3.connect(path)
    for old in migrations._LAYOUTS[2:4]:
        connection.executescript(old)
    connection.execute("PRAGMA user_version = 4")
    note = encode_note(CallNote(owner="n", started=700.5, lasting=("month:a",)))
    connection.execute("INSERT INTO calls VALUES ('call:s:1', 900.0, 5, 60, 900.0, 5, NULL, 1, ?)", (note,))
    connection.execute("INSERT INTO calls VALUES ('call:s:2', 900.0, 5, 60, NULL, NULL, NULL, 0, ?)", (note,))
    connection.commit()
    connection.close()
    journal = await open_sqlite(path)
    (call,) = await journal.ledger.lost("call:", started=(700.0, 701.0))
    assert (call.id, call.started, call.cost, call.provider_id) == ("call:s:1", 700.5, 5, None)
    assert await journal.ledger.lost("call:", started=(701.0, 1000.0)) == []
    await journal.close()


async def test_documents_come_into_a_file_of_the_sixth_layout(tmp_path: Path) -> None:
    path = layout(tmp_path, 2)
    connection = sqlite3.connect(path)
    for old in migrations._LAYOUTS[2:6]:
        connection.executescript(old)
    connection.execute("PRAGMA user_version = 6")
    connection.commit()
    connection.close()
    journal = await open_sqlite(path)
    assert await journal.documents.find(DocumentQuery(kind="k")) == []
    (made,) = await journal.documents.write([Put(kind="k", id="i", body=b"x", keys={"a": "1"})])
    assert await journal.documents.find(DocumentQuery(kind="k", key=("a", "1"))) == [made]
    assert [session async for session in journal.portable.sessions()] == ["lived", "busy"]
    await journal.close()


async def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path) -> None:
    path = first_layout(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE buckets (in_the_way)")
    before = list(connection.iterdump())
    with pytest.raises(StoreFailed):
        await open_sqlite(path)
    assert list(connection.iterdump()) == before
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.execute("DROP TABLE buckets")
    connection.close()
    journal = await open_sqlite(path)
    assert (await journal.sessions.get("lived")).head == 3
    await journal.close()


async def test_an_upgrade_that_is_killed_is_done_by_the_next_start(tmp_path: Path) -> None:
    path = first_layout(tmp_path)
    connection = sqlite3.connect(path)
    rows = ((f"key{number}", b"", b"x" * 200) for number in range(60_000))
    connection.executemany(
        "INSERT INTO inbox (s, key, digest, urgency, accepted_at, taken, body) VALUES (1, ?, ?, 0, 1.0, 1, ?)", rows
    )
    connection.commit()
    script = (
        "import asyncio, sys\n"
        "from roost.stores.sqlite.store import Store\n"
        "print('ready', flush=True)\n"
        "asyncio.run(open_sqlite(sys.argv[1]))\n"
    )
    versions: list[int] = []
    for delay in (0.0, 0.02, 0.04, 0.06):
        opener = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
        assert opener.stdout is not None
        assert await asyncio.to_thread(opener.stdout.readline) == b"ready\n"
        time.sleep(delay)
        opener.kill()
        opener.wait()
        opener.stdout.close()
        versions += connection.execute("PRAGMA user_version").fetchone()
        assert connection.execute("SELECT count(*) FROM inbox").fetchone() == (60_008,)
    connection.close()
    assert versions == sorted(versions)
    journal = await open_sqlite(path)
    assert (await journal.inboxes.accept("lived", said("3"), key="k2")).duplicate
    await journal.close()
