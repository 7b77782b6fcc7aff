"""Clients of the older revisions, which begin with `initialize`. Their session id says signed what the server must know
of them, so that any node, and this one after a restart, goes on with them. In memory is what belongs to open requests:
the server's questions, and what the client watches; lost, the client asks again."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from roost.authority import current
from roost.doors.mcp.exchange import Ask, Exchange, Seal, fits
from roost.doors.mcp.wire import CAPABILITY, INTERNAL, Failure, Id, Json, Message, as_object, encode, request
from roost.doors.talk import Recent
from roost.server.app_state import Endable

_CAPABILITIES = 2048
"""Most bytes of a client's capabilities in its session id; of larger ones only the names are kept."""


class Connection:
    """A client of an older revision. client: its capabilities. account: whose it is. level: of the log messages that it
    wants."""

    def __init__(self, client: Json, account: str | None = None) -> None:
        self.client, self.account = client, account
        self.level = "info"
        self.watched: dict[str, None] = {}
        self.changed = asyncio.Event()
        self.running: dict[Id, Callable[[], None]] = {}
        """Cancels a request of the client."""
        self.orders: set[asyncio.Task[None]] = set()
        """Cancellations under way."""
        self.standing: Endable | None = None
        """The stream of what it watches."""
        self._asked: dict[str, asyncio.Future[Json]] = {}

    async def ask(self, ask: Ask, send: Callable[[Json], Awaitable[None]]) -> Json:
        """Send a request to the client and return its result. Raises `Failure`."""
        id = f"roost-{secrets.token_hex(8)}"
        answer = self._asked[id] = asyncio.get_running_loop().create_future()
        try:
            await send(request(id, ask.method, ask.params))
            return await answer
        finally:
            del self._asked[id]

    def answered(self, message: Message) -> None:
        """Take in the client's response. One to a question that is no longer open is dropped."""
        answer = self._asked.get(str(message.id))
        if answer is None or answer.done():
            return
        if (result := as_object(message.result)) is not None:
            answer.set_result(result)
        else:
            answer.set_exception(Failure(INTERNAL, f"the client could not answer: {_why(message.error)}"))

    def watch(self, uri: str) -> None:
        self.watched[uri] = None
        self.changed.set()

    def unwatch(self, uri: str) -> None:
        self.watched.pop(uri, None)
        self.changed.set()


class HeldExchange(Exchange):
    """A request of an older revision: questions are requests to the client, while this one waits. mark: called when
    the handler has done something for good. streams: the client takes a stream, on which alone it can be asked."""

    def __init__(
        self,
        connection: Connection,
        id: Id,
        method: str,
        params: Json,
        *,
        mark: Callable[[Exchange], Awaitable[None]],
        streams: bool,
        **more: Any,
    ) -> None:
        super().__init__(id, method, params, client=connection.client, level=connection.level, **more)
        self._connection, self._mark, self._streams = connection, mark, streams

    def can(self, ask: Ask) -> bool:
        return self._streams and super().can(ask)

    async def keep(self, **kept: Any) -> None:
        await super().keep(**kept)
        await self._mark(self)

    async def _answers(self, asks: Mapping[str, Ask]) -> Mapping[str, Json]:
        found = {key: await self._connection.ask(ask, self._send) for key, ask in asks.items()}
        for key, answer in found.items():
            if not fits(asks[key], answer):
                raise Failure(CAPABILITY, f"the client's answer to {asks[key].method} has not the shape of its result")
        return found


class Connections:
    """The connections that this process knows."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal
        self._known = Recent[str, Connection]()
        self._ended = Recent[str, bool]()

    def open(self, params: Json) -> str:
        """Return the session id of a new connection."""
        kept = as_object(params.get("capabilities")) or {}
        if len(encode(kept)) > _CAPABILITIES:
            kept = {name: Json() for name in ("elicitation", "sampling", "roots") if name in kept}
        account = current().account
        id = self._seal.seal("session", [secrets.token_hex(8), kept, account])
        self._known[id] = Connection(kept, account)
        return id

    def find(self, id: str | None) -> Connection | None:
        """Return the connection of a session id: one of its own without an id, None for a false id and
        for another account's."""
        if id is None:
            return Connection({})
        if (known := self._known.get(id)) is None and id not in self._ended:
            with contextlib.suppress(ValueError, TypeError):
                _, client, account = self._seal.open("session", id, forever=True)
                self._known[id] = known = Connection(client, account)
        return known if known is not None and known.account == current().account else None

    def close(self, id: str) -> None:
        self._known.pop(id, None)
        self._ended[id] = True


def _why(error: Any) -> str:
    return str((as_object(error) or {}).get("message", "no reason given"))[:500]
