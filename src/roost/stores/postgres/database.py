"""Connections: opened on demand, reopened after failures, and never awaited without a limit."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg

from roost.errors import ConfigError, StoreFailed, StoreUnreachable
from roost.log.store import Durability
from roost.stores.postgres.errors import FAILURES, failure, is_clash, is_lost, is_standby

Link: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
_chance = random.Random()
"""Its own generator: the program's may be seeded."""


T = TypeVar("T")

WAIT = 2.0
"""Seconds that an operation waits for a connection."""
ANSWER = 4.0
"""Seconds after which an unanswered statement counts as lost, together with its connection. A slow disk may need a
few."""
_IDLE = 60.0
"""Seconds after which an unused connection is closed."""
_SILENCE = 1.0
"""Seconds without any answer from the database after which waiting for a free connection ends."""
_LATE = 0.1
"""Seconds of event-loop delay from which on the process counts as busy: answers may then have arrived unread."""
_CLASHES = 20
_BREAKS = 8
"""Tries when connections break: more than a pool's number of connections, which may all have broken unnoticed. After
that the statement itself may be the cause."""
_SETTINGS = {
    # Every statement must use its index, whatever the planner assumes about new tables, and lock rows in the order in
    # which they are listed.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "default_transaction_isolation": "read committed",
    "idle_in_transaction_session_timeout": "60000",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
_SYNCED = """
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')"""


_HOST = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(:\d{0,5})?")
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_UNREADABLE = (
    "the database's address cannot be read: it looks like postgresql://user:password@host:5432/database,"
    " and in a password the signs :/?#[]@% are written as %3A %2F %3F %23 %5B %5D %40 %25"
)


class Address(NamedTuple):
    """The address of the database, and the schema that holds the tables (`?schema=`, else `roost`)."""

    url: str
    schema: str
    durability: Durability

    @classmethod
    def parse(cls, url: str, durability: Durability) -> Address:
        """Parse an address. Raises `ConfigError`; its message quotes nothing of the unreadable address, which may
        contain the password."""
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ConfigError(_UNREADABLE) from None
        if not all(_HOST.fullmatch(host) for host in parts.netloc.rpartition("@")[2].split(",")):
            raise ConfigError(_UNREADABLE)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        for name in _FILES:
            path = query.get(name)
            if path and (name, path) != ("sslrootcert", "system") and not Path(path).is_file():
                raise ConfigError(f"the database's address names {name}={path!r}, and there is no such file here")
        schema = query.pop("schema", "roost")
        if not schema.replace("_", "").isalnum() or not schema.islower():
            raise ConfigError(f"?schema={schema!r} is no plain name: use lower-case letters, digits and _")
        return cls(urlunsplit(parts._replace(query=urlencode(query))), schema, durability)

    async def connect(self, name: str, *, synced: bool = True, seconds: float = ANSWER) -> Link:
        """Try once to connect, for up to `seconds`: a busy server accepts at once and answers later. Commits are synced
        to the disk, unless `synced` is False or the durability is relaxed. Raises the errors of asyncpg."""
        settings = _SETTINGS | {"search_path": self.schema, "application_name": name}
        if not synced or self.durability == "relaxed":
            settings["synchronous_commit"] = "off"
        link: Link = await asyncpg.connect(self.url, timeout=seconds, server_settings=settings)
        if "synchronous_commit" not in settings:
            try:
                await bounded(link, link.execute(_SYNCED), WAIT)
            except BaseException:
                link.terminate()
                raise
        return link


async def bounded(link: Link, work: Awaitable[T], seconds: float = ANSWER) -> T:
    """Await `work` on this connection; cut the connection after `seconds`. Time in which the event loop was blocked
    does not count. asyncpg's own timeout is no substitute: it asks the server to cancel and waits for the answer of a
    dead server."""
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds

    def check() -> None:
        nonlocal watch
        late = loop.time() - due
        if late > _LATE:
            watch = loop.call_later(min(late, seconds), link.terminate)
        else:
            link.terminate()

    watch = loop.call_at(due, check)
    try:
        return await work
    finally:
        watch.cancel()


class Pool:
    """At most `size` connections, opened on demand. The most recently used is used next, so that idle ones can be
    closed."""

    def __init__(self, address: Address, size: int, *, name: str = "roost") -> None:
        self._address = address
        self.name = name
        self._free: list[tuple[float, Link]] = []
        self._used: set[Link] = set()
        self._answered = 0.0
        self._slots = asyncio.Semaphore(size)
        self._tasks: set[asyncio.Task[object]] = set()
        self._closed = False

    async def run(
        self, work: Callable[[Link], Awaitable[T]], *, repeat: bool = True, seconds: float = ANSWER, wait: float = WAIT
    ) -> T:
        """Like `do`, but completes even if the caller is cancelled."""
        if self._closed:
            raise StoreFailed("the journal is closed", code="store_closed")
        task = asyncio.create_task(self.do(work, repeat=repeat, seconds=seconds, wait=wait))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_heard)
        return await asyncio.shield(task)

    async def do(
        self,
        work: Callable[[Link], Awaitable[T]],
        *,
        repeat: bool = True,
        seconds: float = ANSWER,
        wait: float = WAIT,
        clashes: int = _CLASHES,
    ) -> T:
        """Run `work` on a connection of its own. If the connection breaks and repeating is harmless (`repeat`), try
        again a few times. Callers queue as long as the database answers any of them, and at most `wait + seconds` when
        it does not. Raises `StoreUnreachable` and the other errors of `failure`. The calling task must not be
        cancelled."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait + seconds
        until = loop.time() + wait
        for turn in itertools.count(1):
            link = await self._take(until, end)
            self._used.add(link)
            began = loop.time()
            try:
                result = await bounded(link, work(link), seconds)
            except Exception as error:  # every kind has its own consequence for the connection and the caller
                self._give_back(link, broken=error)
                if not isinstance(error, FAILURES):
                    raise
                if is_clash(error) and turn < clashes:
                    await asyncio.sleep(_chance.uniform(0, 0.005 * turn))
                elif not (repeat and is_lost(error)) or turn >= _BREAKS or loop.time() - began >= seconds:
                    raise failure(error) from error
                until = min(loop.time() + wait, end)
            except BaseException as error:
                self._give_back(link, broken=error)
                raise
            else:
                self._answered = loop.time()
                self._give_back(link)
                return result
        raise AssertionError("counts for ever")

    async def _take(self, until: float, end: float) -> Link:
        if self._slots.locked():
            await self._wait(until)
            until = asyncio.get_running_loop().time() + WAIT / 2
        else:
            await self._slots.acquire()  # at once
        try:
            while self._free:
                _, link = self._free.pop()
                if not link.is_closed():
                    return link
            return await self._connect(max(until, asyncio.get_running_loop().time() + 0.05), end)
        except BaseException:
            self._slots.release()
            raise

    async def _wait(self, until: float) -> None:
        """Wait for a slot. Waits on for a database that is slow but answers; gives up on a silent one."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout_at(until):
                    await self._slots.acquire()
                    return
            except TimeoutError:
                if loop.time() - self._answered > _SILENCE:
                    raise StoreUnreachable("the database does not answer: check that it runs; then try again") from None
                until = loop.time() + _SILENCE

    async def _connect(self, until: float, end: float) -> Link:
        """Connect. A refused attempt is repeated until `until`; an unanswered one has the time of a statement, within
        the operation's `end`."""
        loop = asyncio.get_running_loop()
        pause = 0.02
        while True:
            try:
                async with asyncio.timeout_at(max(until, min(loop.time() + ANSWER, end))):
                    return await self._address.connect(self.name)
            except Exception as error:  # `is_lost` decides which errors are temporary
                pause = min(pause * 2, 0.25) * _chance.uniform(0.7, 1.3)
                if not is_lost(error) or loop.time() + pause > until or self._closed:
                    raise failure(error) from error
            await asyncio.sleep(pause)

    def _give_back(self, link: Link, *, broken: BaseException | None = None) -> None:
        self._used.discard(link)
        now = asyncio.get_running_loop().time()
        useless = broken is not None and (is_lost(broken) or is_standby(broken) or not isinstance(broken, Exception))
        if self._closed or useless or link.is_closed() or link.is_in_transaction():
            link.terminate()
        else:
            self._free.append((now, link))
        self._slots.release()
        while self._free and self._free[0][0] < now - _IDLE:
            self._free.pop(0)[1].terminate()

    async def close(self) -> None:
        """Let running work end, for up to `ANSWER` seconds, then close."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=ANSWER)
        for link in list(self._used):
            link.terminate()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        links, self._free = self._free, []
        await asyncio.gather(*(shut(link) for _, link in links))


async def shut(link: Link) -> None:
    with suppress(Exception):  # the connection is closed in any case
        await link.close(timeout=1.0)
    link.terminate()


def _heard(task: asyncio.Task[object]) -> None:
    """Mark the error as retrieved: a cancelled caller does not retrieve it."""
    if not task.cancelled():
        task.exception()
