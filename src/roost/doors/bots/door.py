"""The door for webhooks of platforms: `POST /hooks/BOT`. No token is needed: each platform has a proof of its own."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from roost.server.app_state import Api
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.responses import Header, Reply, json


class Bots:
    """Webhooks of platforms where people write."""

    name = "bots"
    key_headers: tuple[bytes, ...] = ()

    def speaks(self, scope: Scope) -> bool:
        return f"{scope['path']}/".startswith("/hooks/")

    def is_open(self, scope: Scope) -> bool:
        return True

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.bots.hooks import Hooks

        return Hooks(api).routes()

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        return json(problem.status, {"error": problem.detail, "code": problem.code}, headers=headers)


DOOR: Door = Bots()
