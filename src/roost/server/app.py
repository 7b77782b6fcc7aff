"""The ASGI application of a runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from roost import registry
from roost.operation import GET
from roost.runtime import Runtime
from roost.server import internal, metrics, openapi
from roost.server.app_state import Api
from roost.server.auth import Guard
from roost.server.configuration import ConfigurationService
from roost.server.door import Door, Doors
from roost.server.inputs import InputService
from roost.server.models import ModelService
from roost.server.node import NodeService
from roost.server.request_body import answered
from roost.server.responses import ReplyCall
from roost.server.routing import Routes
from roost.server.row_handler import Endpoint, Resource, endpoints
from roost.server.sessions import SessionService


class _DocumentApi(Protocol):
    @GET("/openapi.json", open=True)
    async def document(self) -> dict[str, Any]:
        """This document."""
        ...


class _DocumentService(_DocumentApi):
    """Makes the document when it is first asked for."""

    table: Sequence[Endpoint] = ()

    @cached_property
    def _made(self) -> dict[str, Any]:
        return openapi.document(self.table)

    async def document(self) -> dict[str, Any]:
        return self._made


def table(api: Api) -> list[Endpoint]:
    """Return the endpoints of the public API."""
    runtime, document = api.runtime, _DocumentService()
    services = (
        NodeService(api),
        ModelService(runtime),
        ConfigurationService(runtime),
        SessionService(api),
        InputService(api),
        *(runtime.service(module.SERVICE) for module in registry.load("service")),
    )
    document.table = found = [
        *(one for service in services for one in endpoints(service)),
        *metrics.ENDPOINTS,
        *endpoints(document),
    ]
    return found


class Application:
    """Respond to every request, unknown and unauthorized ones included."""

    def __init__(self, guard: Guard, routes: Routes[Resource], doors: Doors) -> None:
        self._guard = guard
        self._routes = routes
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        reply = await answered(self._reply(scope, receive), scope)
        await reply(scope, receive, send)

    async def _reply(self, scope: Scope, receive: Receive) -> ReplyCall:
        resource, scope["path_params"] = self._routes.find(scope["path"])
        if resource is None:
            return await self._doors.reply(scope, receive)
        await self._guard.check(scope)
        return await resource.reply(scope, receive)


def build_app(
    runtime: Runtime,
    *,
    token: str | None,
    loopback: bool = True,
    on_shutdown: Callable[[], None] = lambda: None,
    doors: Sequence[Door] | None = None,
) -> tuple[ASGIApp, Api]:
    """Build the application of a started runtime, and its handle: `Api.stop()` ends the streams before a shutdown.
    `token` None asks for none: use it only behind a proxy that does. doors: instead of those of the registry."""
    api = Api(runtime, on_shutdown)
    public = table(api)
    by_path: dict[str, list[Endpoint]] = {}
    for endpoint in (*public, *internal.ENDPOINTS):
        by_path.setdefault(endpoint.path, []).append(endpoint)
    routes = Routes({path: Resource(api, endpoints) for path, endpoints in by_path.items()})
    open_paths = [endpoint.path for endpoint in public if endpoint.operation.open]
    node = runtime.node.id
    guard = Guard(token=token, secret=runtime.secret, node=node, loopback=loopback, open_paths=open_paths)
    return Application(guard, routes, Doors(api, guard, doors)), api
