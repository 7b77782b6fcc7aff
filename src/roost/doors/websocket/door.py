"""The door for programs that want one connection: a WebSocket with the subprotocol `roost.v1`."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from roost.server.app_state import Api
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.responses import Header, Reply, from_problem

PATH = "/ws"


class WebSocket:
    """Roost's own API and streams over one WebSocket. Errors are problem documents, as over HTTP."""

    name = "websocket"
    key_headers: tuple[bytes, ...] = ()

    def speaks(self, scope: Scope) -> bool:
        return scope["path"] == PATH

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.websocket.service import Service

        return Service(PATH, api).routes()

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        return from_problem(problem, headers=headers)


DOOR: Door = WebSocket()
