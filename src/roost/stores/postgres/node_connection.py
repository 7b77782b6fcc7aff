"""The node connection. Its advisory locks show that this journal's nodes are alive. It also sends their heartbeats,
checks neighbour nodes, and listens for notifications."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from roost.errors import StoreUnreachable
from roost.log.dispatch import NodeCard
from roost.log.protocols import Change
from roost.stores.postgres.database import ANSWER, WAIT, Address, Link, bounded, shut
from roost.stores.postgres.errors import FAILURES, failure, is_lost, is_standby
from roost.stores.postgres.notify import ANYTHING, WORK, Notices

_chance = random.Random()
"""Its own generator: the program's may be seeded."""


T = TypeVar("T")
log = logging.getLogger("roost.journal")
_TICK = 0.1
_AROUND = 3
"""How many nodes, following its own in the order of ids, a node checks."""
_LONGEST_PAUSE = 1.0
_GRACE = 0.5
"""Seconds after a reconnect during which no neighbour is expired before its lease ends: the same outage may have cut
the connections of living nodes."""
_LOCK_TRIES = 25
_LOCK_PAUSE = 0.02
_BEAT = "SELECT beat_1($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_TICK_1 = "SELECT buried, held, others FROM tick_1($1, $2, $3)"
_NOTIFY = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS p (payload)"
_END_FORMER = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = $1 AND pid <> pg_backend_pid() AND datname = current_database()"""
_PRESENT = "SELECT pg_advisory_lock_shared(key_1(''))"
_UNLOCK = "SELECT pg_advisory_unlock(key_1($1))"
_encode = msgspec.json.Encoder().encode


class NodeConnection:
    """Keeps the node connection up. on_look: called with changes made by others. on_documents: called with the kinds of
    documents that others have changed, None for any kind."""

    def __init__(
        self,
        address: Address,
        token: str,
        on_look: Callable[[list[Change]], None],
        on_documents: Callable[[list[str] | None], None],
    ) -> None:
        self.nodes: set[str] = set()
        """Nodes of this journal that sent a heartbeat and have not left."""
        self.notices = Notices(token, self._notify)
        self._address = address
        self._name = f"roost-live-{token}"
        self._on_look = on_look
        self._on_documents = on_documents
        self._held: set[str] = set()
        self._link: Link | None = None
        self._up = asyncio.Event()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._grace_until = 0.0
        self._cut = asyncio.Event()

    async def start(self) -> None:
        """Connect for the first time. Raises the errors of asyncpg."""
        await self._connect(ANSWER)
        self._task = asyncio.create_task(self._main())

    async def beat(self, card: NodeCard, ttl: float) -> None:
        self.nodes.add(card.id)
        for _ in range(_LOCK_TRIES):
            if await self.ask(lambda link: self._beat(link, card, ttl)):
                return
            await asyncio.sleep(_LOCK_PAUSE)  # the former holder is about to release the lock

    async def forget(self, node: str) -> None:
        """Forget a node that left, and release its lock."""
        self.nodes.discard(node)
        if node in self._held:
            self._held.discard(node)
            await self.ask(lambda link: link.fetchval(_UNLOCK, node))

    async def close(self) -> None:
        self._closed = True
        await self.notices.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._link is not None and not self._link.is_closed():
            await self._let_go(self._link)
            await shut(self._link)

    async def _let_go(self, link: Link) -> None:
        """Release the locks explicitly: the server notices the end of the connection only a moment later."""
        try:
            await bounded(link, link.execute("SELECT pg_advisory_unlock_all()"), WAIT)
        except Exception as error:  # the server releases them when it sees the disconnect
            log.debug("the locks are left to the server: %s", error)

    async def ask(self, work: Callable[[Link], Awaitable[T]]) -> T:
        """Run `work` on this connection, one at a time; try again on the next connection if it breaks. For queries that
        must not queue behind the pool's callers. Raises the same errors as `Pool.run`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + WAIT
        while True:
            try:
                async with asyncio.timeout_at(until):
                    await self._up.wait()
            except TimeoutError:
                raise StoreUnreachable("the database does not answer: check that it runs; then try again") from None
            try:
                return await asyncio.shield(asyncio.create_task(self._run(work)))
            except StoreUnreachable:
                self._up.clear()
                if loop.time() > until:
                    raise

    async def _run(self, work: Callable[[Link], Awaitable[T]], seconds: float = WAIT) -> T:
        async with self._turn:
            link = self._link
            if link is None or link.is_closed():
                raise StoreUnreachable("the connection to the database is lost; try again")
            try:
                return await bounded(link, work(link), seconds)
            except Exception as error:  # every kind has its own consequence for the connection and the caller
                if is_lost(error) or is_standby(error):
                    link.terminate()
                if not isinstance(error, FAILURES):
                    raise
                raise failure(error) from error

    async def _beat(self, link: Link, card: NodeCard, ttl: float) -> bool:
        held = await link.fetchval(
            _BEAT,
            card.id,
            ttl,
            card.home,
            list(card.offers),
            card.room,
            card.draining,
            card.format,
            _encode(card),
            card.id in self._held,
        )
        if held:
            self._held.add(card.id)
        return bool(held)

    async def _notify(self, payloads: list[str]) -> None:
        try:
            await self._run(lambda link: link.execute(_NOTIFY, self._address.schema, payloads))
        except Exception as error:  # a lost hint: watchers poll too
            log.debug("a notification was lost: %s", error)

    async def _connect(self, seconds: float = WAIT) -> None:
        """seconds: for one attempt. Short when it connects again: an attempt from before the network healed hears of
        that late."""
        link = await self._address.connect(self._name, synced=False, seconds=seconds)
        try:
            await bounded(link, self._settle_in(link))
        except BaseException:
            link.terminate()
            raise
        self._link = link
        self._up.set()
        soon = asyncio.get_running_loop().time() + _LONGEST_PAUSE
        link.add_termination_listener(lambda _: self._lost(soon))

    def _lost(self, soon: float) -> None:
        """Reconnect at once, before others take this node for dead; but not in a tight loop."""
        if asyncio.get_running_loop().time() > soon:
            self._cut.set()

    async def _settle_in(self, link: Link) -> None:
        self._held = set()
        await link.fetch(_END_FORMER, self._name)  # the former connection may still hold the locks
        for _ in range(_LOCK_TRIES):
            row: Any = await link.fetchrow(_TICK_1, [], sorted(self.nodes - self._held), 0)
            self._held.update(row["held"])
            if self._held >= self.nodes:
                break
            await asyncio.sleep(_LOCK_PAUSE)
        await link.add_listener(self._address.schema, self._hear)
        await link.execute(_PRESENT)
        await link.execute(_NOTIFY, self._address.schema, [self.notices.hello()])

    def _hear(self, _link: object, _pid: int, _channel: str, payload: object) -> None:
        changes = self.notices.read(str(payload))
        self.notices.wanted = self.notices.wanted or str(payload) != self.notices.hello()
        if changes:
            self._on_look(changes)
        kinds = self.notices.read_kinds(str(payload))
        if kinds or kinds is None:
            self._on_documents(kinds)

    async def _main(self) -> None:
        pause = _TICK
        while not self._closed:
            try:
                if self._link is None or self._link.is_closed():
                    self._up.clear()
                    await self._connect()
                    self._grace_until = asyncio.get_running_loop().time() + _GRACE
                    log.info("connected to the database again")
                    self.notices.wanted = True
                    self._on_look([ANYTHING])
                    self._on_documents(None)
                await self._tick()
                pause = _TICK
            except Exception as error:  # no error may end this loop
                if pause == _TICK:
                    log.warning("the database does not answer: %s", error)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause * _chance.uniform(0.9, 1.1)):
                    await self._cut.wait()
            self._cut.clear()

    async def _tick(self) -> None:
        nodes = sorted(self.nodes)
        missing = sorted(self.nodes - self._held)
        around = _AROUND if asyncio.get_running_loop().time() >= self._grace_until else 0
        row: Any = await self._run(lambda link: link.fetchrow(_TICK_1, nodes, missing, around), ANSWER)
        buried, held, others = row
        self._held.update(held)
        self.notices.wanted = others
        if buried:
            log.warning("nodes that are gone: %s; their sessions are free", ", ".join(buried))
            self.notices.add(ANYTHING.session, WORK)
            self._on_look([ANYTHING])
