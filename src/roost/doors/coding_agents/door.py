"""The door for coding agents that work in sessions. Only the node's own gateway reaches it."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from roost.kernel.local_http import CALLER
from roost.server.app_state import Api
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.responses import Header, Reply, json


class CodingAgents:
    """The protocols of model providers, for the program of a session: whose request it is, the gateway has checked."""

    name = "coding_agents"
    key_headers: tuple[bytes, ...] = ()

    def speaks(self, scope: Scope) -> bool:
        return CALLER in scope

    def is_open(self, scope: Scope) -> bool:
        return True

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.coding_agents.service import Service

        return Service(api).routes()

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        error = {"type": problem.code, "code": problem.code, "message": problem.detail}
        return json(problem.status, {"type": "error", "error": error}, headers=headers)


DOOR: Door = CodingAgents()
