"""The ASGI application of a runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from roost import registry
from roost.authority import NOBODY, acting, current
from roost.errors import NotFound
from roost.operation import GET, interface_of, operations
from roost.runtime import Runtime
from roost.server import internal, metrics, openapi
from roost.server.admission import OWN, Admission
from roost.server.app_state import Api
from roost.server.auth import Guard
from roost.server.configuration import ConfigurationService
from roost.server.door import Door, Doors, as_upgrade
from roost.server.inputs import InputService
from roost.server.models import ModelService
from roost.server.node import NodeService
from roost.server.policy import PolicyService
from roost.server.request_body import answered
from roost.server.responses import Reply, ReplyCall
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
    own = (
        NodeService(api),
        ModelService(runtime),
        ConfigurationService(runtime),
        PolicyService(runtime),
        SessionService(api),
        InputService(api),
    )
    document.table = found = [
        *(one for service in own for one in _of(service)),
        *(one for module in registry.load("api") for one in _of_feature(runtime, module)),
        *metrics.ENDPOINTS,
        *_of(document),
    ]
    return found


def _of(service: object) -> list[Endpoint]:
    return endpoints(interface_of(type(service)), lambda: service)


def _of_feature(runtime: Runtime, api: ModuleType) -> list[Endpoint]:
    """Return the endpoints of a feature, whose service is imported by the first request."""
    interface = next(one for one in vars(api).values() if isinstance(one, type) and operations(one))
    return endpoints(interface, cache(lambda: runtime.service(import_module(f"{api.__package__}.service").SERVICE)))


class Application:
    """Respond to every request, unknown and unauthorized ones included."""

    def __init__(self, guard: Guard, routes: Routes[Resource], doors: Doors) -> None:
        self._guard = guard
        self._routes = routes
        self._doors = doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            send = as_upgrade(scope, send)
        elif scope["type"] != "http":
            return
        with acting(NOBODY):
            status = 499  # unless a response begins

            async def sent(message: Message) -> None:
                nonlocal status
                if message["type"] in ("http.response.start", "websocket.accept"):
                    status = message.get("status", 101)
                await send(message)

            try:
                reply = await answered(self._reply(scope, receive), scope)
                await reply(scope, receive, sent if current().account else send)
            finally:
                self._guard.leave(scope, status)

    async def _reply(self, scope: Scope, receive: Receive) -> ReplyCall:
        resource, scope["path_params"] = self._routes.find(scope["path"])
        if resource is None:
            return await self._doors.reply(scope, receive)
        scope[OWN] = True
        await self._guard.check(scope)
        return await resource.reply(scope, receive)

    async def answer(self, scope: Scope, receive: Receive) -> ReplyCall:
        """See `Api.answer`."""
        scope[OWN] = True
        reply = await answered(self._counted(scope, receive), scope)
        self._guard.leave(scope, reply.status if isinstance(reply, Reply) else 200)
        return reply

    async def _counted(self, scope: Scope, receive: Receive) -> ReplyCall:
        resource, scope["path_params"] = self._routes.find(scope["path"])
        if resource is None:
            raise NotFound(f"there is nothing at {scope['path']}")
        await self._guard.count()
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
    admission = Admission(api, runtime.node.store.coordination, runtime.identities)
    guard = Guard(
        token=token,
        secret=runtime.secret,
        node=runtime.node.id,
        loopback=loopback,
        open_paths=open_paths,
        admission=admission,
    )
    application = Application(guard, routes, Doors(api, guard, doors))
    api.operations = list(dict.fromkeys(endpoint.operation for endpoint in public))
    api.answer, api.count, api.owner = application.answer, guard.count, guard.owner
    runtime.node.http.open(application)
    return application, api
