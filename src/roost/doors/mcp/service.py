"""MCP over streamable HTTP, at one path for all revisions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import UNSET
from starlette.types import Receive, Scope

from roost.authority import current
from roost.doors.mcp.answer import Answer, Standing
from roost.doors.mcp.catalog import Offer
from roost.doors.mcp.connections import Connection, Connections, HeldExchange
from roost.doors.mcp.dispatch import INSTRUCTIONS, Dispatcher, level_of, older
from roost.doors.mcp.envelope import check_envelope, compare_headers, is_modern, param_headers
from roost.doors.mcp.exchange import Exchange, RoundExchange, Seal
from roost.doors.mcp.wire import (
    LEGACY,
    PARAMS,
    REQUEST,
    Failure,
    Id,
    Json,
    Message,
    as_object,
    notification,
    parse,
    response,
)
from roost.errors import RoostError
from roost.server.app_state import Api
from roost.server.door import Methods, needs
from roost.server.problems import Refused
from roost.server.request_body import check_values, header, read_body
from roost.server.responses import Header, Reply, ReplyCall, json
from roost.server.sessions import check_room

BODY_BYTES = 8 * 1024 * 1024
SESSION = b"mcp-session-id"
VERSION = b"mcp-protocol-version"
_UPDATED = "notifications/resources/updated"
_SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


class Service:
    """The door's handlers. offers: what it offers. instructions: what a client's model is told of it."""

    def __init__(self, api: Api, offers: Sequence[Offer], *, instructions: str = INSTRUCTIONS) -> None:
        self._api = api
        self._dispatcher = Dispatcher(offers, api.sessions.scrubbed, instructions)
        self._seal: Seal | None = None
        self._connections: Connections

    def routes(self) -> Mapping[str, Methods]:
        return {"/mcp": {"POST": self.post, "GET": self.get, "DELETE": self.delete}}

    async def _ready(self) -> Seal:
        if self._seal is None:
            self._seal = Seal(await self._api.runtime.secret.value())
            self._connections = Connections(self._seal)
        return self._seal

    @needs("read")
    async def post(self, scope: Scope, receive: Receive) -> ReplyCall:
        seal = await self._ready()
        if (header(scope, b"content-type") or "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "unsupported_media_type", "send JSON, with the header `Content-Type: application/json`")
        takes = (header(scope, b"accept") or "*/*").lower()
        if not any(kind in takes for kind in ("application/json", "application/*", "*/*")):
            raise Refused(406, "not_acceptable", "accept application/json and text/event-stream")
        try:
            data = await read_body(scope, receive, limit=BODY_BYTES)
            check_values(data)
            message = parse(data)
        except Failure as failure:
            return self._refused(None, failure)
        id = None if message.id is UNSET else message.id
        try:
            if message.method is UNSET or id is None:
                return self._heard(scope, message)
            if is_modern(scope, message):
                return await self._modern(scope, message, id, seal, takes)
            return await self._legacy(scope, message, id, seal, takes)
        except Failure as failure:
            return self._refused(id, failure)

    async def _modern(self, scope: Scope, message: Message, id: Id, seal: Seal, takes: str) -> ReplyCall:
        assert message.method is not UNSET
        envelope = check_envelope(scope, message)
        streams = "text/event-stream" in takes or "*/*" in takes
        params = envelope.params
        await self._check_params(scope, message.method, params)
        check_room(self._api)
        listens = message.method == "subscriptions/listen"
        farewell: Json | None = {"resultType": "complete", "_meta": {_SUBSCRIPTION: id}} if listens else None
        answer = Answer(self._api, id, modern=True, streams=streams, farewell=farewell)
        exchange = RoundExchange(
            seal,
            id,
            message.method,
            params,
            client=envelope.client,
            level=envelope.level,
            key=header(scope, b"idempotency-key"),
            send=answer.tell,
        )
        answer.exchange = exchange
        if listens:
            answer.work = lambda: self._listen(exchange)
        else:
            answer.work = lambda: self._dispatcher.modern(exchange)
        return answer

    async def _check_params(self, scope: Scope, method: str, params: Json) -> None:
        """Compare the headers that mirror arguments of a tool with the arguments. Raises `Failure`."""
        arguments = as_object(params.get("arguments") or {})
        if method == "tools/call" and arguments is not None and (arguments or param_headers(scope)):
            tool = await self._dispatcher.tool(params.get("name"))
            if tool is not None:
                compare_headers(scope, tool.info.input_schema, arguments)

    async def _listen(self, exchange: Exchange) -> Json:
        """Serve `subscriptions/listen`: its response is the stream of what the client watches."""
        wanted = as_object(exchange.params.get("notifications"))
        if wanted is None:
            raise Failure(PARAMS, "`notifications` says what to listen to")
        uris = self._dispatcher.watchable(wanted.get("resourceSubscriptions") or [])
        meta = {_SUBSCRIPTION: exchange.id}
        honoured = {"resourceSubscriptions": uris} if uris else {}
        await exchange.notify("notifications/subscriptions/acknowledged", {"notifications": honoured, "_meta": meta})

        async def changed(uri: str) -> None:
            await exchange.notify(_UPDATED, {"uri": uri, "_meta": meta})

        await self._dispatcher.watch_all(uris, changed)
        await asyncio.Event().wait()  # until the client leaves
        raise AssertionError

    async def _legacy(self, scope: Scope, message: Message, id: Id, seal: Seal, takes: str) -> ReplyCall:
        assert message.method is not UNSET
        params: Json = {} if message.params is UNSET else message.params
        if message.method == "initialize":
            session = self._connections.open(params)
            return self._whole(id, self._dispatcher.initialized(params), [(SESSION, session.encode())])
        connection = self._connection(scope)
        match message.method:
            case "logging/setLevel":
                connection.level = level_of(params)
                return self._whole(id, {})
            case "resources/subscribe" | "resources/unsubscribe":
                return self._whole(id, self._watch(connection, message.method, params))
            case _:
                check_room(self._api)
                return self._held(scope, connection, id, message.method, params, seal, "text/event-stream" in takes)

    def _held(
        self, scope: Scope, connection: Connection, id: Id, method: str, params: Json, seal: Seal, streams: bool
    ) -> Answer:
        answer = Answer(self._api, id, modern=False, streams=streams)
        primes = header(scope, VERSION) == LEGACY[0]  # clients of older revisions do not know empty events

        async def mark(exchange: Exchange) -> None:
            if primes:
                again = {"name": params.get("name"), "_meta": exchange.meta}
                await answer.mark(seal.seal("event", [current().account, id, method, again, exchange.kept]))

        key = header(scope, b"idempotency-key")
        exchange = HeldExchange(connection, id, method, params, key=key, send=answer.tell, mark=mark, streams=streams)
        answer.exchange = exchange
        answer.work = lambda: self._run(connection, exchange, answer)
        return answer

    async def _run(self, connection: Connection, exchange: Exchange, answer: Answer) -> Json:
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            if exchange.abandoned is not None:
                ordered = loop.create_task(_quietly(exchange.abandoned))
                connection.orders.add(ordered)
                ordered.add_done_callback(connection.orders.discard)
            answer.cancel()

        connection.running[exchange.id] = cancel
        try:
            return await self._dispatcher.legacy(exchange)
        except Failure as failure:
            raise older(failure) from None
        finally:
            if connection.running.get(exchange.id) is cancel:
                del connection.running[exchange.id]

    def _heard(self, scope: Scope, message: Message) -> Reply:
        """Take in a notification or a response."""
        if header(scope, VERSION) not in (None, *LEGACY):
            if message.method is UNSET:
                raise Failure(REQUEST, "this revision has no requests to clients, and so no responses")
            return Reply(202)
        connection = self._connection(scope)
        if message.method is UNSET:
            connection.answered(message)
        elif message.method == "notifications/cancelled" and message.params is not UNSET:
            id: Any = message.params.get("requestId")
            if isinstance(id, str | int) and (cancel := connection.running.get(id)) is not None:
                cancel()
        return Reply(202)

    def _connection(self, scope: Scope) -> Connection:
        found = self._connections.find(header(scope, SESSION))
        if found is None:
            raise Refused(404, "unknown_mcp_session", "this MCP session has ended: begin another with `initialize`")
        return found

    def _watch(self, connection: Connection, method: str, params: Json) -> Json:
        uri: Any = params.get("uri")
        if method == "resources/unsubscribe":
            connection.unwatch(str(uri))
        else:
            others = [one for one in connection.watched if one != uri]
            if uri not in self._dispatcher.watchable([*others, uri]):
                raise older(Failure(PARAMS, f"there is no resource {uri!r} to watch", {"uri": uri}))
            connection.watch(uri)
        return {}

    def _refused(self, id: Id | None, failure: Failure) -> Reply:
        return json(failure.status, failure.body(id, self._api.sessions.scrubbed))

    @staticmethod
    def _whole(id: Id, result: Json, headers: Sequence[Header] = ()) -> Reply:
        return json(200, response(id, result), headers=headers)

    @needs("read")
    async def get(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Open a stream for what a client of an older revision watches, or go on with a request of it after a break."""
        seal = await self._ready()
        if header(scope, SESSION) is None:
            raise Refused(
                405, "method_not_allowed", "only clients with an MCP session get a stream", [(b"allow", b"POST")]
            )
        connection = self._connection(scope)
        check_room(self._api)
        if (last := header(scope, b"last-event-id")) is not None:
            with contextlib.suppress(ValueError, TypeError):
                account, id, method, params, kept = seal.open("event", last)
                if account != current().account:
                    raise ValueError("this is another account's")
                answer = self._held(scope, connection, id, method, params, seal, True)
                assert answer.exchange is not None
                answer.exchange.kept = kept
                return answer
            raise Refused(400, "unknown_mcp_event", "this Last-Event-ID is not one of this server, or too old")
        if connection.standing is not None:
            connection.standing.end()
        standing = Standing(self._api, lambda tell: self._stand(connection, tell))
        connection.standing = standing
        return standing

    async def _stand(self, connection: Connection, tell: Callable[[Json], Awaitable[None]]) -> None:
        async def changed(uri: str) -> None:
            await tell(notification(_UPDATED, {"uri": uri}))

        while True:
            connection.changed.clear()
            watching = asyncio.create_task(self._dispatcher.watch_all([*connection.watched], changed))
            try:
                await connection.changed.wait()
            finally:
                watching.cancel()
                await asyncio.wait([watching])

    @needs("read")
    async def delete(self, scope: Scope, receive: Receive) -> ReplyCall:
        await self._ready()
        connection = self._connection(scope)
        if connection.standing is not None:
            connection.standing.end()
        if (session := header(scope, SESSION)) is not None:
            self._connections.close(session)
        return Reply(204)


async def _quietly(order: Callable[[], Awaitable[None]]) -> None:
    with contextlib.suppress(RoostError):  # the turn has ended meanwhile
        await order()
