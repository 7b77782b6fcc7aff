"""The door for clients of AgentRuntime: `http://HOST:PORT/agentruntime` takes the place of a daemon's address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.types import Scope

from roost.server.app_state import Api
from roost.server.auth import PASSWORD
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.responses import Header, Reply, json

ROOT = "/agentruntime"


class AgentRuntime:
    """AgentRuntime's HTTP API. It stands below a path of its own, since `/sessions` is Roost's own, too."""

    name = "agentruntime"
    key_headers: tuple[bytes, ...] = (PASSWORD,)

    def speaks(self, scope: Scope) -> bool:
        return f"{scope['path']}/".startswith(f"{ROOT}/")

    def is_open(self, scope: Scope) -> bool:
        return scope["method"] == "GET" and scope["path"] == f"{ROOT}/health"

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.agentruntime.service import Service

        return Service(self.name, api).routes(ROOT)

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        """Return `{"detail": …}`: a text, and for a wrong body a list, as FastAPI does."""
        detail: Any = problem.detail
        if problem.status == 422:
            detail = [{"loc": ["body"], "msg": problem.detail, "type": problem.code}]
        return json(problem.status, {"detail": detail}, headers=headers)


DOOR: Door = AgentRuntime()
