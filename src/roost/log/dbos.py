"""`DbosDispatcher`: DBOS Transact decides which node runs which session next. For operators who already run it.

It uses one workflow per turn, keyed by session and input, never one per step. DBOS keeps one row per workflow and
replays none of our steps: a workflow only grants a node the right to claim the session, and ends when the node releases
it. The log, the fence and the steps stay in the store. `docs/operate/dispatch.md` has the cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from roost.errors import ConfigError, NotFound, StoreFailed
from roost.install import install_extra
from roost.log.dispatch import Backlog, NodeCard, NodeInfo, has_work
from roost.log.protocols import Change, Claim
from roost.log.session_info import SessionInfo
from roost.log.store import Store

T = TypeVar("T")
log = logging.getLogger("roost.dbos")
QUEUE = "roost-turns"
WORKFLOW = "roost.turn"
_VERSION = "1"
"""Version of the workflow's meaning. It is constant because DBOS gives a workflow only to executors of the same
version. The default is a digest of the code, so an upgrade would orphan the turns of the old code."""
_CLAIM_SECONDS = 5.0
_LOOK = 0.1


class DbosDispatcher:
    """A `Dispatcher` over a store. url: the PostgreSQL database of DBOS, which may be the store's own; its tables are
    in the schema `dbos`, or `dbos_NAME` if the address has `?schema=NAME`. poll: seconds between two looks of DBOS into
    its queue. again: seconds after which a session that still waits is queued again.

    DBOS allows one instance per process, so this does too. It does not know homes: `HEAD_START` does not apply. A
    session that this node cannot run returns to the queue until it reaches a node that can. The first `beat` raises
    `ConfigError` when DBOS is not installed, `StoreFailed` when it does not start.
    """

    def __init__(self, store: Store, url: str, *, poll: float = 0.1, again: float = 5.0) -> None:
        self._store = store
        self._again = again
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="roost-dbos")
        self._url, self._schema = _address(url)
        self._poll = poll
        self._cards: dict[str, NodeCard] = {}
        self._granted: deque[str] = deque()
        self._running: dict[str, asyncio.Event] = {}
        self._wake: Callable[[], None] = lambda: None
        self._dbos: Any = None
        self._launching = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._unwatch: Callable[[], None] = lambda: None

    def on_work(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    async def beat(self, card: NodeCard, *, ttl: float) -> None:
        async with self._launching:
            dbos = await self._in_thread(_dbos) if self._dbos is None else None
            await self._store.dispatch.beat(card, ttl=ttl)
            self._cards[card.id] = card
            if dbos is not None:
                await self._launch(dbos, card.id)

    async def claim(self, node: str, *, session: str | None = None, limit: int = 64) -> list[Claim]:
        if session is not None:
            return await self._store.dispatch.claim(node, session=session)
        claims: list[Claim] = []
        for _ in range(len(self._granted)):
            if len(claims) == limit or not self._granted:
                break
            claims += await self._claim(node, self._granted.popleft())
        return claims

    async def leave(self, node: str) -> None:
        self._cards.pop(node, None)
        await self._store.dispatch.leave(node)

    async def fire(self, now: float, *, limit: int = 1000) -> float | None:
        return await self._store.dispatch.fire(now, limit=limit)

    async def nodes(self) -> list[NodeInfo]:
        return await self._store.dispatch.nodes()

    async def backlog(self) -> Backlog:
        return await self._store.dispatch.backlog()

    async def ready(self, *, limit: int = 1000) -> list[str]:
        return await self._store.dispatch.ready(limit=limit)

    async def close(self) -> None:
        """Stop. Running workflows stay with DBOS, which gives them to another node. Safe to call twice."""
        self._unwatch()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        dbos, self._dbos = self._dbos, None
        if dbos is not None:
            await self._in_thread(lambda: dbos.destroy(destroy_registry=True))
        await asyncio.to_thread(self._threads.shutdown)

    # DBOS

    async def _launch(self, dbos: Any, executor: str) -> None:
        loop = asyncio.get_running_loop()

        async def turn(session: str) -> None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._turn(session), loop))

        def launch() -> None:
            dbos(
                config={
                    "name": "roost",
                    "system_database_url": self._url,
                    "dbos_system_schema": self._schema,
                    "executor_id": executor,
                    "application_version": _VERSION,
                    "log_level": "ERROR",
                }
            )
            dbos.workflow(name=WORKFLOW)(turn)
            dbos.launch()
            dbos.register_queue(QUEUE, partition_concurrency=1, polling_interval_sec=self._poll)

        try:
            await self._in_thread(launch)
        except Exception as error:  # of DBOS, SQLAlchemy or the driver
            await self._in_thread(lambda: dbos.destroy(destroy_registry=True))
            first, _, _ = str(error).partition("\n")
            raise StoreFailed(f"DBOS does not start on this database: {first}") from error
        self._dbos = dbos
        self._executor = executor
        self._unwatch = self._store.changes.watch(self._changed)
        self._start(self._sweep())

    def _changed(self, change: Change) -> None:
        if change.session in self._running:
            self._running[change.session].set()
        for item in change.inbox or ():
            self._start(self._enqueue(change.session, str(item.id)))

    async def _enqueue(self, session: str, key: str) -> None:
        """Queue the session. Idempotent per key. The sweep finds an entry that this process lost by a crash."""
        try:
            options = {
                "queue_name": QUEUE,
                "workflow_name": WORKFLOW,
                "workflow_id": f"{session}:{key}",
                "queue_partition_key": session,
                "app_version": _VERSION,
            }
            await self._in_thread(lambda: self._dbos.enqueue_workflow_with_options(options, session))
        except Exception as error:  # of DBOS, SQLAlchemy or the driver: the sweep tries again
            log.error("session %s: cannot be queued: %s", session, error)

    # A workflow, on the loop of the kernel

    async def _turn(self, session: str) -> None:
        """Run from the grant until this node has released the session."""
        if not await self._wanted(session):
            return
        changed = self._running.setdefault(session, asyncio.Event())
        self._granted.append(session)
        self._wake()
        try:
            deadline = time.monotonic() + _CLAIM_SECONDS
            while await self._busy(session, session in self._granted and time.monotonic() < deadline):
                changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), _LOOK)
                await asyncio.sleep(_LOOK)
        finally:
            self._running.pop(session, None)
            with contextlib.suppress(ValueError):
                self._granted.remove(session)

    async def _busy(self, session: str, waiting: bool) -> bool:
        try:
            return waiting or (await self._store.sessions.get(session)).owner in self._cards
        except (NotFound, StoreFailed):
            return False

    async def _wanted(self, session: str) -> bool:
        try:
            info = await self._store.sessions.get(session)
            if not any(_suits(card, info) for card in self._cards.values()):
                return False
            if info.state == "running" and info.phase == "working" and info.owner in self._cards:
                return False
            return await has_work(self._store.inboxes, info)
        except (NotFound, StoreFailed):
            return False

    async def _claim(self, node: str, session: str) -> list[Claim]:
        try:
            info = await self._store.sessions.get(session)
            if not _suits(self._cards[node], info):
                self._granted.append(session)
                return []
            return await self._store.dispatch.claim(node, session=session) if info.owner is None else []
        except NotFound:
            return []
        except BaseException:
            self._granted.append(session)
            raise

    # Edge cases: sessions neither queued nor claimed, workflows of dead nodes

    async def _sweep(self) -> None:
        """Queue sessions that have work but neither owner nor workflow here in two looks in a row. Resume workflows of
        dead nodes: the open-source DBOS does not recover them by itself."""
        before: set[str] = set()
        while True:
            try:
                period = int(time.time() / self._again)
                ready = set(await self._store.dispatch.ready())
                for session in ready & before - self._running.keys():
                    await self._enqueue(session, f"again-{period}")
                before = ready
                if (
                    await self._store.coordination.hold("dbos.recovery", next(iter(self._cards), self._executor))
                    is not None
                ):
                    await self._recover()
            except Exception as error:  # every recovery depends on the sweep: it goes on
                log.error("cannot look after the queue: %s", error)
            await asyncio.sleep(min(1.0, self._again))

    async def _recover(self) -> None:
        alive = {node.card.id for node in await self._store.dispatch.nodes() if node.alive}
        pending = await self._in_thread(
            lambda: self._dbos.list_workflows(status="PENDING", queue_name=QUEUE, load_input=False, load_output=False)
        )
        lost = [
            one.workflow_id for one in pending if one.executor_id not in alive and one.executor_id != self._executor
        ]
        if lost:
            await self._in_thread(lambda: self._dbos.resume_workflows(lost, queue_name=QUEUE))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        """Run in this object's own threads, not by the coroutines of DBOS: those install the DBOS thread pool as the
        event loop's default, and shut it down when they end."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _dbos() -> Any:
    try:
        from dbos import DBOS
    except ImportError as error:
        raise ConfigError(f"the dispatcher needs DBOS: {install_extra('dbos')}") from error
    return DBOS


def _address(url: str) -> tuple[str, str]:
    """Return the address in SQLAlchemy's form (several hosts only as parameters), and the schema for DBOS."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    schema = dict(query).get("schema", "roost")
    query = [(name, value) for name, value in query if name != "schema"]
    user, at, hosts = parts.netloc.rpartition("@")
    if "," in hosts:
        query += [("host", host) for host in hosts.split(",")]
        parts = parts._replace(netloc=user + at)
    return urlunsplit(parts._replace(query=urlencode(query))), "dbos" if schema == "roost" else f"dbos_{schema}"


def _suits(card: NodeCard, info: SessionInfo) -> bool:
    return not card.draining and info.format <= card.format and set(info.needs) <= set(card.offers)
