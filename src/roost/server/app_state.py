"""State shared by the handlers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, Protocol, TypeAlias

from starlette.types import Receive, Scope

from roost.authority import HOME, Authority
from roost.errors import RoostError
from roost.log.protocols import SessionQuery
from roost.operation import Operation
from roost.runtime import Runtime
from roost.server.responses import ReplyCall

_PROBE_SECONDS = 1.0
_PROBE_TIMEOUT = 2.0
_FAILED_SECONDS = 10.0
_FAILED_MOST = 1000

Answer: TypeAlias = Callable[[Scope, Receive], Awaitable[ReplyCall]]


class Endable(Protocol):
    """A stream to a client, which can be ended. authority: that of its request."""

    authority: Authority

    def end(self) -> None: ...


async def _not_built(scope: Scope, receive: Receive) -> ReplyCall:
    raise AssertionError("`build_app` has not made the application yet")


async def _not_counted() -> None:
    raise AssertionError("`build_app` has not made the application yet")


class Api:
    """State shared by the handlers. `on_shutdown` is called when a client asks the daemon to stop. operations: those of
    Roost's own API. answer: answers a request for one of them that a door makes for its client, with the client's
    authority: counted, limited and audited like one over HTTP. count: counts one against its rate. owner: the authority
    of the holder of the home's token. `build_app` sets these."""

    def __init__(self, runtime: Runtime, on_shutdown: Callable[[], None]) -> None:
        self.runtime = runtime
        self.sessions = runtime.sessions
        self.on_shutdown = on_shutdown
        self.operations: Sequence[Operation] = ()
        self.answer: Answer = _not_built
        self.count: Callable[[], Awaitable[None]] = _not_counted
        self.owner = HOME
        self.started = time.monotonic()
        self.stopping = False
        self.streams: set[Endable] = set()
        self.relays: set[Endable] = set()
        self._probed = time.monotonic()  # the runtime's start proved the store by a write
        self._store_fails: str | None = None
        self._probing: asyncio.Task[None] | None = None
        self._failed: tuple[float, int] | None = None
        self._draining: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Accept no more requests and end the streams; their clients resume with the number of the last event."""
        self.stopping = True
        for stream in [*self.streams, *self.relays]:
            stream.end()

    def drain(self, grace: float) -> None:
        """Start draining the node, once: steps in progress get `grace` seconds to end."""
        if self._draining is None:
            self._draining = asyncio.create_task(self.runtime.node.drain(grace=grace))

    async def status(self) -> Literal["ok", "degraded", "draining", "stopping"]:
        node = self.runtime.node
        if self.stopping:
            return "stopping"
        if not (await self.store_works() and node.membership.holds_lease):
            return "degraded"
        if node.membership.draining:
            return "draining"
        return "ok" if node.backoff.reason is None else "degraded"

    async def failed(self) -> int | None:
        """Count the sessions in state `error`, up to 1,000: they wait for a person. Looked up at most every 10 s, since
        the look reads the whole index. None while the store cannot be read."""
        if self._failed is None or time.monotonic() - self._failed[0] >= _FAILED_SECONDS:
            query = SessionQuery(state="error", limit=_FAILED_MOST)
            try:
                async with asyncio.timeout(_PROBE_TIMEOUT):
                    found = len(await self.runtime.node.store.sessions.find(query))
            except (RoostError, TimeoutError):
                return None
            self._failed = (time.monotonic(), found)
        return self._failed[1]

    def reason(self, status: str) -> str | None:
        """Return why the node is `degraded`, the most likely cause first."""
        node = self.runtime.node
        if status != "degraded":
            return None
        if self._store_fails is not None:
            return self._store_fails
        if not node.membership.holds_lease:
            return "the lease is lost: nothing runs here until the store answers again"
        return node.backoff.reason

    async def store_works(self) -> bool:
        """Return whether the store accepts a small write. Tried at most once a second for all callers."""
        if time.monotonic() - self._probed >= _PROBE_SECONDS:
            if self._probing is None or self._probing.done():
                self._probing = asyncio.create_task(self._probe())
            await asyncio.shield(self._probing)
        return self._store_fails is None

    async def _probe(self) -> None:
        node = self.runtime.node
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT):
                await node.membership.renew()
            self._store_fails = None
        except RoostError as error:
            self._store_fails = f"the store refuses writes: {error.message}"
        except TimeoutError:
            self._store_fails = "the store does not answer"
        self._probed = time.monotonic()
