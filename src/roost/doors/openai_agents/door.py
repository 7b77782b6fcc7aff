"""The door for clients of OpenAI's Agents API."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from roost.doors.openai.errors import refusal
from roost.server.app_state import Api
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.responses import Header, Reply

_ROOTS = ("/v1/agents/", "/v1/vaults/", "/v1/files/")


class OpenAIAgents:
    """OpenAI's Agents API. Requests below the same paths with the headers of another product are that product's."""

    name = "openai_agents"
    key_headers: tuple[bytes, ...] = (b"x-api-key",)

    def speaks(self, scope: Scope) -> bool:
        return f"{scope['path']}/".startswith(_ROOTS)

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.openai_agents.service import Service

        return Service(self.name, api).routes()

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        return refusal(problem, headers)


DOOR: Door = OpenAIAgents()
