"""The door for clients of Anthropic's Managed Agents API, such as `client.beta` of its libraries."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from roost.doors.anthropic.errors import refusal
from roost.server.app_state import Api
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.request_body import header
from roost.server.responses import Header, Reply

_ROOMS = frozenset(
    (
        "agents",
        "deployment_runs",
        "deployments",
        "dreams",
        "environments",
        "files",
        "memory_stores",
        "organizations",
        "sessions",
        "skills",
        "tunnels",
        "user_profiles",
        "vaults",
    )
)


class Managed:
    """The resources of managed agents. They stand below the same root as messages and models, which the door
    `anthropic` serves; other protocols have paths of these names without the header of Anthropic's version."""

    name = "managed"
    key_headers: tuple[bytes, ...] = (b"x-api-key",)

    def speaks(self, scope: Scope) -> bool:
        root, _, rest = scope["path"].removeprefix("/").partition("/")
        return root == "v1" and rest.partition("/")[0] in _ROOMS and header(scope, b"anthropic-version") is not None

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.managed.service import Service

        return Service(self.name, api).routes()

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        return refusal(problem, headers)


DOOR: Door = Managed()
