"""Accept WebSockets of the subprotocol `roost.v1`, a bounded number of them."""

from __future__ import annotations

from starlette.types import Receive, Scope

from roost.doors.websocket.calls import Calls
from roost.doors.websocket.connection import Connection
from roost.doors.websocket.subscriptions import Seats
from roost.kernel.channels import channels
from roost.server.app_state import Api
from roost.server.door import UPGRADE, Methods, needs
from roost.server.problems import Refused
from roost.server.responses import ReplyCall
from roost.server.sessions import check_room

PROTOCOL = "roost.v1"


class Service:
    def __init__(self, path: str, api: Api) -> None:
        self._path, self._api = path, api
        self._calls = Calls(api)
        self._opens = channels()
        self._seats = Seats()

    def routes(self) -> dict[str, Methods]:
        return {self._path: {UPGRADE: self.connect, "GET": self.explain}}

    @needs("read")
    async def connect(self, scope: Scope, receive: Receive) -> ReplyCall:
        if PROTOCOL not in scope["subprotocols"]:
            raise Refused(400, "unknown_subprotocol", f"this daemon speaks the subprotocol {PROTOCOL}; offer it")
        check_room(self._api)
        return Connection(self._api, self._calls, self._opens, self._seats, PROTOCOL)

    @needs("read")
    async def explain(self, scope: Scope, receive: Receive) -> ReplyCall:
        headers = [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]
        raise Refused(426, "upgrade_required", f"{self._path} is a WebSocket: connect to it with one", headers)
