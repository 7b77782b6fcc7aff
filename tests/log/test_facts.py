"""The memory of both stores, and moving house with it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost.log import move
from roost.log.sqlite import SqliteJournal
from roost.log.store import Store, open_store
from roost.testing.facts import FactsConformance, ids, put
from roost.testing.postgres import PostgresServer


class TestSqlite(FactsConformance):
    async def open(self, folder: Path) -> Store:
        return await SqliteJournal.open(folder / "roost.db", durability="relaxed")


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


class TestMoves(Lent):
    async def test_memory_moves_with_the_house(self, tmp_path: Path) -> None:
        source, target = await open_store(tmp_path / "roost.db"), await self.open(tmp_path)
        await source.change_facts([put("a", "tea"), put("b", "mate", supersedes=("a",))], by="p")
        assert (await move.copy(source, target)).facts == 1
        again = await move.copy(source, target)
        assert (again.facts, again.problems) == (0, [])
        await target.change_facts([put("c", "coffee")], by="p")
        assert [problem.detail[:24] for problem in (await move.copy(source, target)).problems] == [
            "the memory 'agent:clerk'"
        ]
        await move.copy(source, target, replace=True)
        assert await ids(target, "tea mate coffee") == ["b"]
        await source.close()
        await target.close()
