"""The documents of both stores: the conformance suite, copies, checks, and kills between."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from pathlib import Path

import asyncpg
import pytest

from roost.log.documents import Document, DocumentQuery, Put, Remove
from roost.log.store import Store
from roost.stores.admin import row_faults
from roost.stores.conditions import Conditions, numbered
from roost.stores.copy import copy
from roost.stores.document_rows import documents_sql
from roost.stores.open import open_store
from roost.stores.postgres.database import Address
from roost.stores.sqlite.store import open_sqlite
from roost.testing.documents import ODD, DocumentConformance, put
from tests.harness.postgres.server import PostgresServer
from tests.log.test_facts import Lent

_QUERIES = (
    DocumentQuery(kind="k", after="d5"),
    DocumentQuery(kind="k", owner="o", after="d5", newest=True),
    DocumentQuery(kind="k", key=("n", "1"), after="d5"),
    DocumentQuery(kind="k", key=("n", "1"), owner="o", after="d5", newest=True),
)


class TestSqlite(DocumentConformance):
    async def open(self, folder: Path) -> Store:
        return await open_sqlite(folder / "roost.db", durability="relaxed")


class TestPostgres(Lent, DocumentConformance):
    pass


@pytest.fixture(params=["sqlite", "postgres"])
async def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "roost.db")
    server: PostgresServer = request.getfixturevalue("postgres")
    return await server.database()


async def everything(store: Store) -> list[Document]:
    found: list[Document] = []
    after = ("", "")
    while page := await store.portable.documents(after):
        found += page
        after = page[-1].kind, page[-1].id
    return found


async def test_documents_move_with_the_store(where: str, tmp_path: Path) -> None:
    source, target = await open_store(tmp_path / "from.db"), await open_store(where)
    try:
        await source.documents.write([Put(kind=one, id=one, body=b"1", keys={one: one}) for one in ODD])
        await source.documents.write([put(f"i{n:04}", b"x" * n, owner="ann") for n in range(1000)])
        await source.documents.write([put("i0001", b"again"), Put(kind=ODD[0], id="token", body=b"secret")])
        done = await copy(source, target)
        assert (done.documents, done.problems, done.extra_documents) == (len(ODD) + 1001, [], 0)
        assert await everything(target) == await everything(source)
        assert await target.documents.find(DocumentQuery(kind=ODD[1], key=(ODD[1], ODD[1]))) != []
        assert (await copy(source, target)).documents == 0
        await source.documents.write([put("i0002", b"new"), Remove(kind=ODD[0], id="token")])
        done = await copy(source, target)
        assert [problem.detail for problem in done.problems] == [
            "k 'i0002' is another in the target: --replace puts the source's there"
        ]
        assert (done.documents, done.extra_documents) == (0, 1)
        done = await copy(source, target, replace=True)
        assert (done.documents, done.problems, done.extra_documents) == (1, [], 0)
        assert await everything(target) == await everything(source)
    finally:
        await source.close()
        await target.close()


async def test_a_restored_document_is_seen_by_those_who_watch(where: str) -> None:
    here, there = await open_store(where), await open_store(where)
    heard = asyncio.Event()
    there.documents.watch("k", heard.set)
    one = Document(kind="k", id="i", body=b"", revision=7, created=1.0, changed=2.0)
    await here.portable.restore_documents([one])
    await asyncio.wait_for(heard.wait(), 60)
    assert await there.documents.get("k", "i") == one
    (changed,) = await there.documents.write([put("i", revision=7)])
    assert changed is not None
    assert (changed.revision, changed.created) == (8, 1.0)
    await here.close()
    await there.close()


async def test_keys_that_lead_elsewhere_are_found(where: str) -> None:
    store = await open_store(where)
    await store.documents.write([put("i", keys={"a": "1"}), put("j", keys={"a": "1"}), put("bare")])
    await store.close()
    assert await row_faults(where) == []
    spoil = "DELETE FROM document_keys WHERE id = 'i'"
    stray = "INSERT INTO document_keys VALUES ('k', 'gone', 'a', '1', '')"
    if where[0] == "/":
        connection = sqlite3.connect(where)
        for sql in (spoil, stray):
            connection.execute(sql)
        connection.commit()
        connection.close()
    else:
        link = await asyncpg.connect(where, server_settings={"search_path": "roost"})
        for sql in (spoil, stray):
            await link.execute(sql)
        await link.close()
    found = await row_faults(where)
    assert sorted(one.detail for one in found) == [
        "the keys of k 'gone' are not those that it is found by",
        "the keys of k 'i' are not those that it is found by",
    ]


def test_sqlite_reads_no_more_than_the_page(tmp_path: Path) -> None:
    asyncio.run(_open_and_close(str(tmp_path / "roost.db")))
    connection = sqlite3.connect(tmp_path / "roost.db")
    for query in _QUERIES:
        where = Conditions()
        sql = documents_sql(query, where)
        plan = [step for *_, step in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (*where.values, 10))]
        assert not any("SCAN" in step or "TEMP B-TREE" in step for step in plan), plan
        filters = 1 + (query.owner is not None) + 2 * (query.key is not None)
        assert plan[0].count("=?") == filters, plan
        assert plan[0].count("id<?") + plan[0].count("id>?") == 1, plan
    connection.close()


async def test_postgresql_reads_no_more_than_the_page(postgres: PostgresServer) -> None:
    async with postgres.borrowed() as url:
        await _open_and_close(url)
        link = await Address.parse(url, "full").connect("test")
        await link.execute(
            "INSERT INTO documents SELECT 'k', 'd' || n, 'o' || n % 50, 1, 0, 0, '{}', 'x'"
            " FROM generate_series(1, 5000) n;"
            "INSERT INTO document_keys SELECT 'k', 'd' || n, 'n', (n % 2)::text, 'o' || n % 50"
            " FROM generate_series(1, 5000) n; ANALYZE documents, document_keys"
        )
        for query in _QUERIES:
            where = Conditions()
            sql = numbered(documents_sql(query, where))
            plan = await link.fetch(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {sql}", *where.values, 10)
            text = "\n".join(row[0] for row in plan)
            assert "Sort" not in text, text
            assert "Seq Scan" not in text, text
            assert "Filter" not in text, text
        await link.close()


async def _open_and_close(where: str) -> None:
    await (await open_store(where)).close()


_WRITER = """
import asyncio, sys
from roost.log.documents import Put, Remove
from roost.stores.open import open_store

async def main():
    store = await open_store(sys.argv[1])
    n = 0
    while True:
        n += 1
        body = b"%d" % n
        await store.documents.write([
            Put(kind="k", id="a", body=body, keys={"n": str(n)}), Put(kind="k", id="b", body=body, keys={"n": str(n)}),
            Put(kind="log", id=f"{n:06}", body=body), Remove(kind="log", id=f"{n - 1:06}"),
        ])
        print(n, flush=True)

asyncio.run(main())
"""


async def test_a_kill_leaves_each_batch_whole(where: str) -> None:
    last = 0
    for delay in (1, 7, 30):
        writer = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _WRITER, where, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
        )
        assert writer.stdout is not None
        said = 0
        for _ in range(delay):
            said = int(await writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        await writer.wait()
        rest = (await writer.stdout.read()).split()
        said = int(rest[-1]) if rest else said
        store = await open_store(where)
        a, b = await store.documents.get("k", "a"), await store.documents.get("k", "b")
        assert a is not None
        assert b is not None
        assert (a.body, a.revision) == (b.body, b.revision)
        assert int(a.body) in (said, said + 1), "what was acknowledged is there"
        assert a.revision == last + int(a.body)
        found = await store.documents.find(DocumentQuery(kind="k", key=("n", a.body.decode())))
        assert [one.id for one in found] == ["a", "b"]
        assert f"{int(a.body):06}" in [one.id for one in await store.documents.find(DocumentQuery(kind="log"))]
        last = a.revision
        await store.documents.write([Remove(kind="log", id=f"{int(a.body):06}")])
        await store.close()
        assert await row_faults(where) == []
