"""The ASGI application of a runtime."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from starlette.routing import Route, Router
from starlette.types import ASGIApp

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
from roost.server.auth import Guard
from roost.server.context import Api
from roost.server.endpoint import Call, Endpoint, Nothing, Resource, not_found
from roost.server.replies import Reply, encode


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


def build_app(
    runtime: Runtime, *, token: str | None, loopback: bool = True, on_shutdown: Callable[[], None] = lambda: None
) -> tuple[ASGIApp, Api]:
    """The application of a started runtime, and its handle: `Api.stop()` ends the streams before a shutdown. `token`
    None asks for none: only behind something else that does."""
    api = Api(runtime, on_shutdown)
    by_path: dict[str, list[Endpoint[Any, Any]]] = {}
    for endpoint in (*ENDPOINTS, *internal.ENDPOINTS):
        by_path.setdefault(endpoint.path, []).append(endpoint)
    routes = [Route(path, Resource(api, endpoints)) for path, endpoints in by_path.items()]
    router = Router(routes, redirect_slashes=False, default=not_found)
    open_paths = [endpoint.path for endpoint in ENDPOINTS if endpoint.open]
    node = runtime.kernel.node
    guard = Guard(router, token=token, secret=runtime.secret, node=node, loopback=loopback, open_paths=open_paths)
    return guard, api
