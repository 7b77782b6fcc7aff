"""The open servers of a node. Each has one owner task, which alone opens and closes its transport."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from roost.errors import RoostError
from roost.features.mcp.catalog import Catalog
from roost.features.mcp.connection import Connection, Held
from roost.features.mcp.messages import NeedsLogin, ServerError, ServerFailed
from roost.features.mcp.wire import Wire

log = logging.getLogger("roost.mcp")
_MOST = 64
_IDLE = 300.0
_HELD = 86_400.0
"""Seconds for which a server stays open for an answer of a person."""
_LOOK = 30.0
_FIRST, _LONGEST = 1.0, 300.0
_STEADY = 60.0
"""Seconds of work after which earlier failures are forgotten."""
_LATE = 3
"""Calls in a row without an answer in time, after which a server counts as hung."""
_CLOSING = 10.0
_FRESH = 300.0
"""Seconds for which a list of tools holds, unless the server says otherwise."""


class OpenServer:
    """One server and its owner task. make: builds its transport. stdio: it is a program. starting: seconds that it may
    take. account: whose session opened it; None is the home."""

    def __init__(
        self,
        make: Callable[[], Wire],
        *,
        stdio: bool,
        starting: float,
        roots: Sequence[str] = (),
        account: str | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.account = account
        self._make, self._stdio, self._starting, self._roots, self._now = make, stdio, starting, roots, now
        self._owner: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[Connection] | None = None
        self._stop = asyncio.Event()
        self._listing = asyncio.Lock()
        self._catalog: tuple[Catalog, float] | None = None
        self._failures, self._again, self._reason = 0, 0.0, ""
        self._login: str | None = None
        self.busy, self.late, self.used = 0, 0, now()
        self.held: dict[str, Held] = {}

    @property
    def health(self) -> str:
        """Return `open`, `closed`, or why it cannot be used."""
        if self._ready is not None and self._ready.done() and not self._ready.cancelled():
            return "open" if self._ready.exception() is None else self._reason
        return self._reason or "closed"

    async def connection(self) -> Connection:
        """Return the connection, which the owner opens if need be. Raises `ServerFailed`."""
        self.used = self._now()
        if self._owner is None or self._owner.done():
            if self._now() < self._again:
                kind = NeedsLogin if self._login is not None else ServerFailed
                raise kind(f"{self._reason} (it is tried again in {self._again - self._now():.0f} s)")
            self._stop = asyncio.Event()
            self._catalog = None
            self._ready = asyncio.get_running_loop().create_future()
            self._owner = asyncio.create_task(self._own(self._ready, self._stop))
        assert self._ready is not None
        return await asyncio.shield(self._ready)

    async def catalog(self) -> Catalog:
        """Return its tools, listed anew when it has said that they changed, and from time to time. Raises
        `ServerFailed`, `ServerError`."""
        async with self._listing:
            connection = await self.connection()
            if self._catalog is None or self._now() > self._catalog[1]:
                async with asyncio.timeout(self._starting):
                    found, ttl = await connection.catalog()
                self._catalog = found, self._now() + max(_LOOK, _FRESH if ttl is None else ttl)
            return self._catalog[0]

    def answered(self, *, in_time: bool) -> None:
        """Count a call. A server that lets several calls wait too long is closed."""
        self.late = 0 if in_time else self.late + 1
        if self.late >= _LATE:
            self.late = 0
            self._fail("it does not answer in time")
            self._stop.set()

    def retry(self) -> None:
        """Forget failures: a person has mended something."""
        self._failures, self._again, self._login = 0, 0.0, None

    async def close(self) -> None:
        """End it. Idempotent."""
        self._stop.set()
        for held in self.held.values():
            held.call.cancel()
        self.held.clear()
        if self._owner is not None:
            await asyncio.wait([self._owner])

    async def _own(self, ready: asyncio.Future[Connection], stop: asyncio.Event) -> None:
        """Open the transport, keep it until it fails, idles or is stopped, and close it."""
        connection: Connection | None = None
        wire: Wire | None = None
        running: asyncio.Task[None] | None = None
        failure, began = ServerFailed("it was closed"), self._now()
        try:
            wire = self._make()
            connection = Connection(wire, stdio=self._stdio, roots=self._roots, changed=self._stale)
            async with asyncio.timeout(self._starting):
                await wire.open(connection.receive)
                running = asyncio.create_task(wire.run())
                await self._start(connection, running)
            ready.set_result(connection)
            await self._keep(running, stop)
        except TimeoutError:
            failure = self._fail(f"it did not start within {self._starting:g} s (start_seconds)")
        except (ServerFailed, ServerError, RoostError) as error:
            self._login = str(error) if isinstance(error, NeedsLogin) else None
            failure = self._fail(str(error), steady=self._now() - began > _STEADY)
        except Exception as error:  # a mistake of ours in a transport must not hang those who wait
            log.warning("an MCP server failed", exc_info=error)
            failure = self._fail(f"{type(error).__name__}: {error}")
        finally:
            failure = NeedsLogin(str(failure)) if self._login is not None else failure
            if not ready.done():
                ready.set_exception(failure)
                ready.exception()
            if connection is not None:
                connection.failed(failure)
            await asyncio.shield(_closed(wire, running, connection))

    async def _start(self, connection: Connection, running: asyncio.Task[None]) -> None:
        starting = asyncio.create_task(connection.start())
        try:
            await asyncio.wait([starting, running], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            await starting
        finally:
            starting.cancel()
            await asyncio.wait([starting])

    async def _keep(self, running: asyncio.Task[None], stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await asyncio.wait([running, stopping], timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    running.result()
                if not self.busy and self._now() - self.used > (_HELD if self.held else _IDLE):
                    return
        finally:
            stopping.cancel()

    def _stale(self) -> None:
        self._catalog = None

    def _fail(self, reason: str, *, steady: bool = False) -> ServerFailed:
        self._failures = 1 if steady else self._failures + 1
        self._again = self._now() + min(_FIRST * 2 ** (self._failures - 1), _LONGEST)
        self._reason = reason[:1000]
        return ServerFailed(self._reason)


async def _closed(wire: Wire | None, running: asyncio.Task[None] | None, connection: Connection | None) -> None:
    """Close what an owner has opened, within a bound."""
    try:
        async with asyncio.timeout(_CLOSING):
            if connection is not None:
                await connection.end()
            if wire is not None:
                await wire.close()
    except (TimeoutError, ServerFailed, OSError, RoostError) as error:
        log.warning("an MCP server could not be closed: %s", error or type(error).__name__)
    if running is not None:
        running.cancel()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()


class Pool:
    """The servers of a node by key, at most `_MOST` at once, and half of them for one account: the one used longest ago
    makes room."""

    def __init__(self) -> None:
        self._servers: dict[str, OpenServer] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def server(self, key: str, make: Callable[[], OpenServer], account: str | None = None) -> OpenServer:
        """Return the server of a key. account: whose session asks; None is the home. Raises `ServerFailed` when too
        many are open and busy."""
        found = self._servers.get(key)
        if found is None:
            own = [name for name, one in self._servers.items() if one.account == account and account is not None]
            if len(own) >= _MOST // 2:
                self._evict(own, f"{len(own)} MCP servers of this account are open on this node, and all are busy")
            elif len(self._servers) >= _MOST:
                self._evict(self._servers, f"{_MOST} MCP servers are open on this node, and all are busy")
            found = self._servers[key] = make()
        return found

    def find(self, key: str) -> OpenServer | None:
        return self._servers.get(key)

    def all(self) -> list[OpenServer]:
        return list(self._servers.values())

    def drop(self, key: str) -> asyncio.Task[None] | None:
        """Close a server, and forget it."""
        found = self._servers.pop(key, None)
        if found is None:
            return None
        task = asyncio.create_task(found.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    def of_session(self, session: str) -> list[str]:
        """Return the keys of the servers that belong to one session."""
        return [key for key in self._servers if key.endswith(f"@{session}")]

    async def close(self) -> None:
        for key in list(self._servers):
            self.drop(key)
        if self._closing:
            await asyncio.wait(self._closing)

    def _evict(self, keys: Iterable[str], full: str) -> None:
        idle = [key for key in keys if not (one := self._servers[key]).busy and not one.held]
        if not idle:
            raise ServerFailed(full)
        self.drop(min(idle, key=lambda key: self._servers[key].used))
