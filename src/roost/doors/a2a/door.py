"""The door for clients of A2A 1.0: agents that ask agents."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from roost.doors.a2a.errors import refusal
from roost.server.app_state import Api
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.responses import Header, Reply

_ROOT = "/a2a/"


class A2A:
    """A2A by JSON-RPC and by HTTP+JSON. Errors have the shape of HTTP+JSON; JSON-RPC makes its own."""

    name = "a2a"
    key_headers: tuple[bytes, ...] = ()

    def speaks(self, scope: Scope) -> bool:
        return f"{scope['path']}/".startswith(_ROOT)

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.a2a.service import Service

        return Service(self.name, api).routes()

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        return refusal(problem, headers)


DOOR: Door = A2A()
