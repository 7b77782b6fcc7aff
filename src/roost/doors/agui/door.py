"""The door for clients of AG-UI, the Agent User Interaction Protocol 1.0."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from roost.server.app_state import Api
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.responses import Header, Reply, json

_ROOT = "/ag-ui/"


class AgUi:
    """AG-UI over HTTP. It has no shape for errors before a run has begun: its clients show the status and the body."""

    name = "agui"
    key_headers: tuple[bytes, ...] = ()

    def speaks(self, scope: Scope) -> bool:
        return f"{scope['path']}/".startswith(_ROOT)

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.agui.service import Service

        return Service(self.name, api).routes()

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        status = 404 if problem.code == "unknown_agent" else problem.status
        return json(status, {"message": problem.detail, "code": problem.code}, headers=headers)


DOOR: Door = AgUi()
