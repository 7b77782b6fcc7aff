"""DBOS as the dispatcher: the conformance suite, and a node that dies with a turn under way."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from roost.errors import RoostError
from roost.kernel.config import KernelConfig
from roost.log.dbos import DbosDispatcher
from roost.log.dispatch import NodeCard
from roost.log.protocols import Claim
from roost.log.store import Store
from roost.runtime import Runtime
from roost.stores.postgres.store import open_postgres
from roost.testing.dispatch import DispatchConformance
from roost.testing.stores import eventually
from tests.harness.postgres.server import PostgresServer
from tests.harness.wrapping import Passing
from tests.log.dbos_node import agent

pytestmark = pytest.mark.filterwarnings("ignore")  # DBOS leaves coroutines behind when it is ended under way

_server = PostgresServer.shared()
_PATIENCE = 30.0
"""Seconds for a grant that must come."""
_LINGER = 0.4
"""For one that must not."""


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[PostgresServer]:
    with _server:
        yield _server


@pytest.fixture(autouse=True)
def _leftovers() -> Iterator[None]:
    """What DBOS leaves open is let go of here, where nobody minds."""
    yield
    gc.collect()


async def _prepare(url: str) -> None:
    """With the tables of both, so that a test does not wait for them."""
    store = await open_postgres(url)
    dispatcher = DbosDispatcher(store, url)
    await dispatcher.beat(NodeCard(id="first"), ttl=5)
    await dispatcher.leave("first")
    await dispatcher.close()
    await store.close()


class _Patient(Passing):
    """DBOS takes a moment, and the suite asks once: a claim waits for the sessions that the node may have, and a little
    longer for those that it may not."""

    def __init__(self, store: Store, url: str) -> None:
        super().__init__(DbosDispatcher(store, url, poll=0.03, again=0.3))
        self._store = store
        self._cards: dict[str, NodeCard] = {}

    async def beat(self, card: NodeCard, *, ttl: float) -> None:
        await self.inner.beat(card, ttl=ttl)
        self._cards[card.id] = card

    async def claim(self, node: str, *, session: str | None = None, limit: int = 64) -> list[Claim]:
        if session is not None:
            return await self.inner.claim(node, session=session)
        claims: list[Claim] = []
        began = seen = time.monotonic()
        while len(claims) < limit and (now := time.monotonic()) < began + _PATIENCE and now < seen + _LINGER:
            claims += await self.inner.claim(node, limit=limit - len(claims))
            if await self._claimable(self._cards[node]):
                seen = time.monotonic()
            await asyncio.sleep(0.02)
        return claims

    async def _claimable(self, card: NodeCard) -> bool:
        ready = () if card.draining else await self._store.dispatch.ready()
        infos = [await self._store.sessions.get(session) for session in ready]
        return any(set(one.needs) <= set(card.offers) and one.format <= card.format for one in infos)


class TestDispatch(DispatchConformance):
    """DBOS is one per process, so both openers are the same here."""

    @contextlib.asynccontextmanager
    async def two(self, folder: Path) -> AsyncGenerator[tuple[Store, Store]]:
        url = await _server.database(_prepare)
        store = await open_postgres(url)
        both = dataclasses.replace(store, dispatch=cast(Any, _Patient(store, url)))
        try:
            yield both, both
        finally:
            await both.close()

    @pytest.mark.skip(reason="DBOS knows no homes")
    async def test_the_home_of_the_files_has_a_head_start(self, tmp_path: Path) -> None: ...

    @pytest.mark.skip(reason="both openers are one process here; see the test below that kills one")
    async def test_a_dead_node_loses_what_it_held(self, tmp_path: Path) -> None: ...


async def test_a_turn_is_one_workflow(tmp_path: Path) -> None:
    url = await _server.database(_prepare)
    async with _runtime(tmp_path, url) as runtime:
        session = await runtime.session("worker")
        assert await session.ask("one") == "done"
        assert await session.ask("two") == "done"
        await eventually(lambda: _ended(url, session.id))
    assert await _ended(url, session.id) == ["SUCCESS"] * 2


async def test_a_dead_node_s_turn_goes_on_at_another(tmp_path: Path) -> None:
    """The node is killed while its tool runs; a second process on the same queue finishes the turn."""
    url = await _server.database(_prepare)
    command = [sys.executable, "-m", "tests.log.dbos_node", url, str(tmp_path / "first")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        line = await asyncio.wait_for(asyncio.to_thread(first.stdout.readline), 60)
        session = json.loads(line)["session"]
        assert json.loads(await asyncio.to_thread(first.stdout.readline)) == {"tool": "began"}
        first.send_signal(signal.SIGKILL)
        first.wait()
        async with _runtime(tmp_path / "second", url) as runtime:
            handle = runtime.open(session)
            (item,) = [event.input async for event in _until_received(handle)]
            assert await asyncio.wait_for(handle.answer(item), 30) == "done"


async def _until_received(handle: Any) -> AsyncGenerator[Any]:
    async for event in handle.events():
        if type(event).__name__ == "InputReceived":
            yield event
            return


@contextlib.asynccontextmanager
async def _runtime(home: Path, url: str) -> AsyncGenerator[Runtime]:
    config = KernelConfig(linger=0.05, lease=3.0)
    runtime = Runtime(home, agents=[agent()], store=url, config=config, dispatcher=lambda s: DbosDispatcher(s, url))
    await runtime.start()
    try:
        yield runtime
    finally:
        with contextlib.suppress(RoostError):
            await runtime.stop()


async def _ended(url: str, session: str) -> list[str]:
    """How the workflows of a session ended; nothing while one is under way."""
    statuses = [status for name, status in await _workflows(url) if name.startswith(session)]
    return [] if {"PENDING", "ENQUEUED"} & {*statuses} else statuses


async def _workflows(url: str) -> list[tuple[str, str]]:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT workflow_uuid, status FROM dbos.workflow_status ORDER BY created_at")
        return [(row[0], row[1]) for row in rows]
    finally:
        await connection.close()
