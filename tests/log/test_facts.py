"""The memory of both stores, and moving house with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from roost.log.facts import EndFact
from roost.log.store import Store
from roost.stores import copy
from roost.stores.open import open_store
from roost.stores.sqlite.store import open_sqlite
from roost.testing.facts import HERE, FactsConformance, ids, put
from tests.harness.postgres.server import PostgresServer


class TestSqlite(FactsConformance):
    async def open(self, folder: Path) -> Store:
        return await open_sqlite(folder / "roost.db", durability="relaxed")


class Lent:
    """A database for each folder."""

    @pytest.fixture(autouse=True)
    async def lend(self, postgres: PostgresServer) -> AsyncIterator[None]:
        self._urls: dict[Path, str] = {}
        async with contextlib.AsyncExitStack() as self._lent:
            self._server = postgres
            yield

    async def open(self, folder: Path) -> Store:
        if folder not in self._urls:
            self._urls[folder] = await self._lent.enter_async_context(self._server.borrowed())
        return await open_store(self._urls[folder])


class TestPostgres(Lent, FactsConformance):
    pass


async def test_purged_text_is_in_no_file(tmp_path: Path) -> None:
    """Also while the daemon goes on, with a reader on another connection."""
    needle, words = "Zanzibarian harpsichord", ("zanzibarian", "harpsichord")
    store = await open_sqlite(tmp_path / "roost.db", durability="relaxed")
    await store.facts.change([put(f"n{n}", f"note {n}") for n in range(500)], by="p")
    await store.facts.change([put("a", needle, key=needle), put("b", f"{needle} again"), put("c", "kept")], by="p")
    await store.facts.change([put("d", "other", key=needle), EndFact("b"), EndFact("d")], by="p")
    assert any(_holding(tmp_path, *words))
    other = await open_sqlite(tmp_path / "roost.db", durability="relaxed")
    assert (await other.facts.get("a")).text == needle
    assert (await store.facts.purge([HERE])).facts == 3
    assert _holding(tmp_path, *words) == []
    assert await ids(other, "kept") == ["c"]
    await store.facts.change([put("later")], by="p")
    assert (await other.facts.get("later")).version > 0
    await other.close()
    await store.close()
    assert _holding(tmp_path, *words) == []


def _holding(folder: Path, *words: str) -> list[Path]:
    """Files in which one of the words is, whatever its case."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(word.encode() in path.read_bytes().lower() for word in words)]


async def test_purged_text_is_in_no_table_file_of_postgresql(postgres: PostgresServer) -> None:
    needle = "zanzibarian harpsichord"
    async with postgres.borrowed() as url:
        store = await open_store(url)
        await store.facts.change([put(f"n{n}", f"note {n}") for n in range(50)], by="p")
        await store.facts.change([put("a", needle), put("b", "kept")], by="p")
        await store.facts.change([EndFact("a")], by="p")
        done = await store.facts.purge([HERE])
        assert done.facts == 1
        assert not any("dead rows" in one for one in done.left)
        link = await asyncpg.connect(url)
        try:
            await link.execute("CHECKPOINT")
            folder = Path(await link.fetchval("SHOW data_directory"))
            oid = await link.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
        finally:
            await link.close()
        assert await ids(store, "kept") == ["b"]
        await store.close()
        if os.access(folder / "base" / str(oid), os.R_OK):
            assert _holding(folder / "base" / str(oid), *needle.split()) == []


class TestMoves(Lent):
    async def test_memory_moves_with_the_house(self, tmp_path: Path) -> None:
        source, target = await open_store(tmp_path / "roost.db"), await self.open(tmp_path)
        await source.facts.change([put("a", "tea"), put("b", "mate", supersedes=("a",))], by="p")
        assert (await copy.copy(source, target)).facts == 1
        again = await copy.copy(source, target)
        assert (again.facts, again.problems) == (0, [])
        await target.facts.change([put("c", "coffee")], by="p")
        assert [problem.detail[:24] for problem in (await copy.copy(source, target)).problems] == [
            "the memory 'agent:clerk'"
        ]
        await copy.copy(source, target, replace=True)
        assert await ids(target, "tea mate coffee") == ["b"]
        await source.close()
        await target.close()
