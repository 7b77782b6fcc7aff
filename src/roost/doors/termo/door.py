"""The door for clients of termo-agent: `http://HOST:PORT/termo/AGENT` takes the place of a server's address."""

from __future__ import annotations

import re
from collections.abc import Mapping

from starlette.types import Scope

from roost.server.app_state import Api
from roost.server.auth import BROWSER, PASSWORD
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.responses import Header, Reply, json

_HEALTH = re.compile(r"/termo/[^/]+/health")
_OURS = re.compile(r"/termo/[^/]+/(health|api/(send|sessions|config|update|tools|memory|heartbeat|restart))(/.*)?")
_OWN_ROUTE = re.compile(r"/termo/[^/]+/.+")


class Termo:
    """termo-agent's HTTP API. One of its servers is one agent, so the address names the agent."""

    name = "termo"
    key_headers: tuple[bytes, ...] = (PASSWORD,)

    def speaks(self, scope: Scope) -> bool:
        return f"{scope['path']}/".startswith("/termo/")

    def is_open(self, scope: Scope) -> bool:
        if _HEALTH.fullmatch(scope["path"]) is not None:
            return scope["method"] == "GET"
        own = _OWN_ROUTE.fullmatch(scope["path"]) is not None and _OURS.fullmatch(scope["path"]) is None
        return own and not any(key in (PASSWORD, BROWSER) for key, _ in scope["headers"])

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.termo.service import Service

        return Service(self.name, api, self.refusal).routes()

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        """Return `{"error": …}`. Its clients know 400 for what is wrong in a body."""
        status = 404 if problem.code == "unknown_agent" else 400 if problem.status == 422 else problem.status
        return json(status, {"error": problem.detail, "code": problem.code}, headers=headers)


DOOR: Door = Termo()
