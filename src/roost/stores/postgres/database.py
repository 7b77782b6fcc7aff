"""Connections: made at need, healed by themselves, and never waited for without bound."""

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
from roost.log.store_protocol import Durability
from roost.stores.postgres.errors import FAILURES, failure, is_clash, is_lost, is_standby

Link: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
T = TypeVar("T")

WAIT = 2.0
"""Seconds for which an operation waits for a connection."""
ANSWER = 4.0
"""Seconds after which a statement without answer counts as lost with its connection. A slow disk may take a few."""
_IDLE = 60.0
"""Seconds after which a connection that nobody used is closed."""
_SILENCE = 1.0
"""Seconds without any answer after which waiting for a free connection is given up."""
_LATE = 0.1
"""Seconds by which the event loop was late: then it was busy with something else, and answers may lie unread."""
_CLASHES = 20
_BREAKS = 8
"""Tries, when connections break: more than a pool has that broke unnoticed. It may be the statement that does it."""
_SETTINGS = {
    # Every statement looks rows up by their index, whatever the planner thinks of young tables, and rows are locked in
    # the order in which they are named.
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
    """Where the database is, and the schema in it that holds the tables (`?schema=`, else `roost`)."""

    url: str
    schema: str
    durability: Durability

    @classmethod
    def parse(cls, url: str, durability: Durability) -> Address:
        """Raises `ConfigError`, in words that hold nothing of the address: it may be the password."""
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

    async def connect(self, name: str, *, synced: bool = True) -> Link:
        """One try. Commits are synced to the disk, unless not `synced` or the durability is relaxed. Raises what
        asyncpg raises."""
        settings = _SETTINGS | {"search_path": self.schema, "application_name": name}
        if not synced or self.durability == "relaxed":
            settings["synchronous_commit"] = "off"
        link: Link = await asyncpg.connect(self.url, timeout=WAIT, server_settings=settings)
        if "synchronous_commit" not in settings:
            try:
                await bounded(link, link.execute(_SYNCED), WAIT)
            except BaseException:
                link.terminate()
                raise
        return link


async def bounded(link: Link, work: Awaitable[T], seconds: float = ANSWER) -> T:
    """The result of `work` on this connection; the connection is cut when it takes longer. Time in which this process
    did not look for the answer does not count. asyncpg's own timeout asks the server to cancel, which waits for a
    server that does not answer."""
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
    """At most `size` connections, opened at need. The newest used is used next, so that idle ones can be closed."""

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
        """As `do`, to its end even if the caller is cancelled."""
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
        """`work` on a connection of its own. When the connection breaks it is done again, a few times, if that is
        harmless (`repeat`). All wait in turn for as long as the database answers somebody, and no longer than
        `wait + seconds` when it does not. Raises `StoreUnreachable` and what else `failure` makes. Its task must not be
        cancelled."""
        loop = asyncio.get_running_loop()
        end = loop.time() + wait + seconds
        until = loop.time() + wait
        for turn in itertools.count(1):
            link = await self._take(until)
            self._used.add(link)
            began = loop.time()
            try:
                result = await bounded(link, work(link), seconds)
            except Exception as error:  # every kind has its own consequence for the connection and the caller
                self._give_back(link, broken=error)
                if not isinstance(error, FAILURES):
                    raise
                if is_clash(error) and turn < clashes:
                    await asyncio.sleep(random.uniform(0, 0.005 * turn))
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

    async def _take(self, until: float) -> Link:
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
            return await self._connect(max(until, asyncio.get_running_loop().time() + 0.05))
        except BaseException:
            self._slots.release()
            raise

    async def _wait(self, until: float) -> None:
        """For a slot. A database that is slow and answers is waited for; one that is silent is not."""
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

    async def _connect(self, until: float) -> Link:
        loop = asyncio.get_running_loop()
        pause = 0.02
        while True:
            try:
                async with asyncio.timeout_at(until):
                    return await self._address.connect(self.name)
            except Exception as error:  # which of them may pass is for `is_lost` to say
                pause = min(pause * 2, 0.25) * random.uniform(0.7, 1.3)
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
        """Let what runs end, for as long as an answer may take, then close."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=ANSWER)
        for link in list(self._used):
            link.terminate()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        links, self._free = self._free, []
        await asyncio.gather(*(shut(link) for _, link in links))


async def shut(link: Link) -> None:
    with suppress(Exception):  # it is going away in any case
        await link.close(timeout=1.0)
    link.terminate()


def _heard(task: asyncio.Task[object]) -> None:
    """A caller that was cancelled does not ask for the error any more."""
    if not task.cancelled():
        task.exception()
