"""The ASGI application of a runtime."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from roost.kernel.runtime import Runtime
from roost.server import (
    children,
    configuration,
    costs,
    events,
    exchange,
    inputs,
    internal,
    memory,
    metrics,
    models,
    node,
    openapi,
    schedules,
    sessions,
    travel,
)
from roost.server.app_state import Api
from roost.server.auth import Guard
from roost.server.problems import Refused
from roost.server.request_body import answered
from roost.server.responses import Reply, ReplyCall, encode
from roost.server.routing import Routes
from roost.server.row_handler import Call, Endpoint, Nothing, Resource


@functools.cache
def _document() -> bytes:
    return encode(openapi.document(ENDPOINTS))


async def _openapi(call: Call[Nothing, Nothing]) -> Reply:
    return Reply(200, _document())


ENDPOINTS: list[Endpoint[Any, Any]] = [
    *node.ENDPOINTS,
    *models.ENDPOINTS,
    *costs.ENDPOINTS,
    *configuration.ENDPOINTS,
    *sessions.ENDPOINTS,
    *children.ENDPOINTS,
    *inputs.ENDPOINTS,
    *travel.ENDPOINTS,
    *events.ENDPOINTS,
    *exchange.ENDPOINTS,
    *memory.ENDPOINTS,
    *schedules.ENDPOINTS,
    *metrics.ENDPOINTS,
    Endpoint(
        method="GET",
        path="/openapi.json",
        summary="This document",
        handler=_openapi,
        body=Nothing,
        query=Nothing,
        answers={200: dict[str, Any]},
        open=True,
    ),
]


class Application:
    """Respond to every request, unknown and unauthorized ones included."""

    def __init__(self, guard: Guard, routes: Routes[Resource]) -> None:
        self._guard = guard
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        reply = await answered(self._reply(scope, receive), scope)
        await reply(scope, receive, send)

    async def _reply(self, scope: Scope, receive: Receive) -> ReplyCall:
        await self._guard.check(scope)
        resource, scope["path_params"] = self._routes.find(scope["path"])
        if resource is None:
            detail = f"there is nothing at {scope['path']}; GET /openapi.json says what there is"
            raise Refused(404, "not_found", detail)
        return await resource.reply(scope, receive)


def build_app(
    runtime: Runtime, *, token: str | None, loopback: bool = True, on_shutdown: Callable[[], None] = lambda: None
) -> tuple[ASGIApp, Api]:
    """Build the application of a started runtime, and its handle: `Api.stop()` ends the streams before a shutdown.
    `token` None asks for none: use it only behind a proxy that does."""
    api = Api(runtime, on_shutdown)
    by_path: dict[str, list[Endpoint[Any, Any]]] = {}
    for endpoint in (*ENDPOINTS, *internal.ENDPOINTS):
        by_path.setdefault(endpoint.path, []).append(endpoint)
    routes = Routes({path: Resource(api, endpoints) for path, endpoints in by_path.items()})
    open_paths = [endpoint.path for endpoint in ENDPOINTS if endpoint.open]
    node = runtime.node.id
    guard = Guard(token=token, secret=runtime.secret, node=node, loopback=loopback, open_paths=open_paths)
    return Application(guard, routes), api
