"""Doors: protocols that other products speak, served beside Roost's own API.

A door is a folder `roost/doors/NAME/` whose module `door` has one instance of `Door`, `DOOR`. It reads logs and writes
to inboxes, and keeps nothing that the log and the store do not have. The server names no door: it finds them through
`roost.registry.DOORS`. The module `door` has what a request without a token is answered with, and is cheap to import;
`Door.routes` imports the rest, for the first request with a token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar, runtime_checkable

from starlette.types import Message, Receive, Scope, Send

from roost import registry
from roost.authority import Right, current
from roost.server.app_state import Api
from roost.server.auth import Guard
from roost.server.problems import Problem, Refused, problem_of
from roost.server.request_body import BodyTooLarge, Lingering, header
from roost.server.responses import Header, Reply, ReplyCall
from roost.server.routing import Routes

Handler: TypeAlias = Callable[[Scope, Receive], Awaitable[ReplyCall]]
"""Answers a request that is authenticated. The named parts of the path are in `scope["path_params"]`. Raises any error:
the door's `refusal` makes the response of it."""
Methods: TypeAlias = Mapping[str, Handler]
UPGRADE = "WEBSOCKET"
"""The method under which a door's routes have the handler of a WebSocket. Its reply accepts the connection."""
TOKEN_ENTRY = "roost.token."
"""With the token behind it, the entry of `Sec-WebSocket-Protocol` by which a page shows its token: the WebSockets of
browsers send no other header of a page's own."""
H = TypeVar("H", bound=Callable[..., object])


def needs(right: Right) -> Callable[[H], H]:
    """State what a caller must be allowed to do for a handler. One without it answers only the owner."""

    def mark(handler: H) -> H:
        handler.right = right  # pyright: ignore[reportFunctionMemberAccess] - functions take attributes
        return handler

    return mark


def right_of(handler: Handler) -> Right | None:
    """Return what `needs` said of a handler."""
    return getattr(handler, "right", None)


class Door(Protocol):
    """A foreign protocol.

    name: the name of its folder, and the `source` of the messages that come through it.
    key_headers: headers that may carry the daemon's token as they are, besides `Authorization: Bearer`. Lower case.
    """

    name: str
    key_headers: tuple[bytes, ...]

    def speaks(self, scope: Scope) -> bool:
        """Whether the request is of this protocol, by its path and headers. Unknown paths below the protocol's root
        are, too: their error has its shape."""
        ...

    def routes(self, api: Api) -> Mapping[str, Methods]:
        """Return the handlers by path (as in `roost.server.routing`) and method. Called once per application, with the
        first request that carries the token: what answers requests is imported here."""
        ...

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        """Return an error in the protocol's own shape and with its status."""
        ...


@runtime_checkable
class OpenDoor(Protocol):
    """A door that answers some requests without a token, such as checks of health."""

    def is_open(self, scope: Scope) -> bool:
        """Whether a request needs no token. Its handler then acts for nobody."""
        ...


class Doors:
    """The doors of an application. doors: those of the registry by default, which are imported when first asked."""

    def __init__(self, api: Api, guard: Guard, doors: Sequence[Door] | None = None) -> None:
        self._api = api
        self._doors = doors
        self._guard = guard
        self._routes: dict[str, Routes[Methods]] = {}
        self._is_open: dict[str, Callable[[Scope], bool]] = {}

    async def reply(self, scope: Scope, receive: Receive) -> ReplyCall:
        """Answer a request at a path that Roost's own API does not have. Raises `RoostError` when no door speaks its
        protocol."""
        for door in registry.doors() if self._doors is None else self._doors:
            if door.speaks(scope):
                return await self._through(door, scope, receive)
        await self._guard.check(scope)
        raise _nothing(scope)

    async def _through(self, door: Door, scope: Scope, receive: Receive) -> ReplyCall:
        try:
            is_open = self._is_open.get(door.name) or self._opens(door)
            await self._guard.check(scope, door.key_headers, open=is_open(scope))
            if door.name not in self._routes:
                self._routes[door.name] = Routes(dict(door.routes(self._api)))
            methods, scope["path_params"] = self._routes[door.name].find(scope["path"])
            if methods is None:
                raise _nothing(scope)
            handler = methods.get(scope["method"])
            if handler is None:
                allow = ", ".join(methods).encode()
                raise Refused(405, "method_not_allowed", f"{allow.decode()} is a method here", [(b"allow", allow)])
            if self._api.stopping:
                raise Refused(503, "shutting_down", "the daemon is stopping", [(b"connection", b"close")])
            current().demand(right_of(handler) or "administer")
            return await handler(scope, receive)
        except Exception as error:  # a defect too becomes the client's error and the operator's log line
            headers = error.headers if isinstance(error, Refused) else []
            reply = door.refusal(problem_of(error, f"{scope['method']} {scope['path']}"), headers)
            return Lingering(reply) if isinstance(error, BodyTooLarge) else reply

    def _opens(self, door: Door) -> Callable[[Scope], bool]:
        """Note which requests of a door need no token: `isinstance` of a Protocol costs more than a route."""
        self._is_open[door.name] = found = door.is_open if isinstance(door, OpenDoor) else _never
        return found


def _never(scope: Scope) -> bool:
    return False


def as_upgrade(scope: Scope, send: Send) -> Send:
    """Let the request for a WebSocket go the way of all requests, its token where others have it. Returns a `send`
    which takes responses, too."""
    scope["method"] = UPGRADE
    entry = next((one for one in scope["subprotocols"] if one.startswith(TOKEN_ENTRY)), None)
    if entry is not None and header(scope, b"authorization") is None:
        bearer = (b"authorization", b"Bearer " + entry.removeprefix(TOKEN_ENTRY).encode("latin-1", "replace"))
        scope["headers"] = [*scope["headers"], bearer]

    async def sent(message: Message) -> None:
        kind = message["type"]
        await send({**message, "type": f"websocket.{kind}"} if kind.startswith("http.response.") else message)

    return sent


def _nothing(scope: Scope) -> Refused:
    detail = f"there is nothing at {scope['path']}; GET /openapi.json says what there is"
    return Refused(404, "not_found", detail)
