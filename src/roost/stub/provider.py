"""A stub provider: a server that speaks every wire by a script, with faults, and checks its requests.

    roost stub --port 8900 --script script.json

The paths of the protocols in `roost.stub.dialects` (`POST /v1/chat/completions`, ...), `GET /v1/models` and
`/v1beta/models`, `GET /stats`, `GET /health`. A request that a strict provider would refuse is answered 400 with the
reason and counted as a violation.
"""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from roost.stub.connection_faults import Line
from roost.stub.dialects import Asked, Dialect, Listed, Priced, Routed, dialects
from roost.stub.response_writer import INSTEAD, body_of, broken, faulty, located, refusal, send
from roost.stub.script import Fault, Reply, Script, digest
from roost.stub.serving import listen, server
from roost.stub.stats import Meter, Stats
from roost.stub.usage_reports import UsageReports

Replies: TypeAlias = Script | Callable[[dict[str, Any]], Reply]

_DEAF_SECONDS = 3600.0


class Provider:
    """The ASGI application. With `key`, a request without it is answered 401.

    `bodies`: the last requests. `writes`: those of the last answer, before any fault in its body. `speaks`: the
    protocols; None means all of `roost.stub.dialects`. `reports`: served beside them.
    """

    def __init__(
        self,
        script: Replies | None = None,
        *,
        key: str | None = None,
        keep: int = 16,
        speaks: Sequence[Dialect] | None = None,
        reports: UsageReports | None = None,
    ) -> None:
        self.stats = Stats()
        self.bodies: list[dict[str, Any]] = []
        self.headers: dict[str, str] = {}
        self.writes: list[bytes] = []
        self._script = script or Script()
        self._key = key
        self._keep = keep
        self._peers: set[Any] = set()
        self._met: Counter[tuple[str, Fault]] = Counter()
        self._random = random.Random(self._script.seed if isinstance(self._script, Script) else 0)
        self._speaks = speaks = speaks or dialects()
        listed = {dialect.models_path: dialect for dialect in reversed(speaks) if isinstance(dialect, Listed)}
        self._app = Starlette(
            routes=[
                *(Route(dialect.path, _Chat(self, dialect), methods=["POST"]) for dialect in speaks),
                *(route for dialect in speaks if isinstance(dialect, Routed) for route in dialect.routes(key)),
                *(reports.routes() if reports else ()),
                *(Route(dialect.models_path, self._models(dialect)) for dialect in listed.values()),
                Route("/stats", self._stats),
                Route("/health", self._health),
            ],
            exception_handlers={404: self._no_path},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Faults of the connection need the transport: the server's own `send` is bound to it.
        scope["roost.transport"] = getattr(getattr(send, "__self__", None), "transport", None)
        await self._app(scope, receive, send)

    def accept(self, raw: bytes, request: Request, dialect: Dialect) -> Asked | Response:
        """Return a valid request, or the refusal."""
        self.stats.requests += 1
        self._peers.add(request.client)
        self.stats.connections = len(self._peers)
        self.headers = headers = dict(request.headers)
        if self._key is not None and dialect.key(headers) != self._key:
            return JSONResponse(dialect.error(401, "Incorrect API key provided", "invalid_api_key"), 401)
        try:
            body = msgspec.json.decode(raw, type=dict[str, Any])
            dialect.check(body, headers)
            asked = dialect.asked(body, request.url.path)
        except (ValueError, AssertionError) as error:
            return self._invalid(dialect, str(error))
        except (LookupError, TypeError, AttributeError) as error:  # the dialect met an unexpected shape
            return self._invalid(dialect, located(error))
        self.bodies = [*self.bodies, body][-self._keep :] if self._keep else []
        return asked

    def _invalid(self, dialect: Dialect, reason: str) -> Response:
        self.stats.violations += 1
        self.stats.reasons = [*self.stats.reasons, reason][-20:]
        return JSONResponse(dialect.error(400, f"Invalid request: {reason}", "invalid_request_error"), 400)

    def reply(self, asked: Asked) -> tuple[Reply, Fault | None, float]:
        """Return the reply, the fault, and the seconds to wait before."""
        script = self._script
        reply = script.reply(asked.messages) if isinstance(script, Script) else script(asked.body)
        fault = self._due(reply.fault, asked)
        if not isinstance(script, Script):
            self.stats.faults += fault is not None
            return reply, fault, reply.delay
        if fault is None and script.faults and self._random.random() < script.fault_rate:
            fault = self._random.choice(script.faults)
        self.stats.faults += fault is not None
        return reply, fault, reply.delay + script.wait(asked.messages)

    @property
    def chunk(self) -> int | None:
        return self._script.chunk if isinstance(self._script, Script) else None

    @property
    def deaf(self) -> int | None:
        return self._script.deaf if isinstance(self._script, Script) else None

    def _due(self, fault: Fault | None, asked: Asked) -> Fault | None:
        if fault is None or not fault.times:
            return fault
        key = (digest(asked.messages), fault)
        self._met[key] += 1
        return fault if self._met[key] <= fault.times else None

    def _models(self, dialect: Listed) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            # Protocols may share the path of their listing, so each one's key counts.
            headers = dict(request.headers)
            keys = [sent for one in self._speaks if isinstance(one, Listed) and (sent := one.key(headers))]
            if self._key is None or self._key in keys:
                return JSONResponse(dialect.models())
            return JSONResponse({"error": {"message": f"Incorrect API key provided: {''.join(keys[:1])}"}}, 401)

        return respond

    async def _stats(self, _: Request) -> Response:
        return Response(msgspec.json.encode(self.stats), media_type="application/json")

    async def _no_path(self, request: Request, _: Exception) -> Response:
        paths = ", ".join(dict.fromkeys(dialect.path for dialect in self._speaks))
        message = f"the stub serves nothing at {request.url.path}; its protocols: {paths}"
        return JSONResponse({"error": {"message": message}}, 404)

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})


class _Chat:
    """An endpoint, below the level of response objects: faults need single writes."""

    def __init__(self, provider: Provider, dialect: Dialect) -> None:
        self._provider = provider
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._serve(scope, receive, send)
        except asyncio.CancelledError:  # the server ends: half-read or half-written data must not delay it
            scope["roost.transport"].abort()
            raise

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        deaf = self._provider.deaf
        if deaf is not None and int(request.headers.get("content-length", "0")) > deaf:
            await asyncio.sleep(_DEAF_SECONDS)
        accepted = self._provider.accept(await request.body(), request, self._dialect)
        if isinstance(accepted, Response):
            await accepted(scope, receive, send)
            return
        stats = self._provider.stats
        stats.open += 1
        line = Line(scope, receive, send)
        try:
            if await self._answer(accepted, line):
                stats.answered += 1
            else:
                stats.left += line.left
        except Exception as error:  # a bug of the dialect, or of a script that is a function
            if line.started:
                raise
            await line.whole(broken(error))
        finally:
            stats.open -= 1
            line.end()

    async def _answer(self, asked: Asked, line: Line) -> bool:
        provider, dialect = self._provider, self._dialect
        reply, fault, delay = provider.reply(asked)
        if await line.wait(delay):
            return False
        if fault is not None and fault.kind in INSTEAD:
            await line.whole(refusal(fault, dialect))
            return True
        body = body_of(dialect, reply, asked, fault.kind if fault else None)
        provider.writes = body.writes
        usage = dialect.usage(asked) if isinstance(dialect, Priced) else reply.usage
        meter = Meter(provider.stats, asked.model, usage, body.size)
        return await send(faulty(body, fault, dialect, provider.chunk), fault, reply.pace, line, meter)


class ProviderServer:
    """Runs a provider in a thread of this process: `with ProviderServer(script) as server: server.url`.

    Leaving the block ends every connection. `provider` may be read at any time.
    """

    def __init__(
        self,
        script: Replies | None = None,
        *,
        key: str | None = None,
        port: int = 0,
        speaks: Sequence[Dialect] | None = None,
        reports: UsageReports | None = None,
    ) -> None:
        self.provider = Provider(script, key=key, speaks=speaks, reports=reports)
        self._socket = listen("127.0.0.1", port)
        self._server = server(self.provider)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    @property
    def url(self) -> str:
        """The base URL, `/v1` included; wires whose base is the bare server accept it too."""
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def stats(self) -> Stats:
        return self.provider.stats

    def __enter__(self) -> ProviderServer:
        self._port: int = self._socket.getsockname()[1]
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.tell()
        self._thread.join()
        self._socket.close()


def serve(provider: Provider, listener: socket.socket) -> None:
    """Serve until a signal ends it."""
    server(provider).run(sockets=[listener])
