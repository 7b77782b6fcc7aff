"""The door for clients of the OpenAI API."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from roost.doors.openai.errors import refusal
from roost.server.app_state import Api
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.responses import Header, Reply

_ROOT = "/v1/"


class OpenAI:
    """OpenAI's protocol."""

    name = "openai"
    key_headers: tuple[bytes, ...] = (b"x-api-key",)

    def speaks(self, scope: Scope) -> bool:
        return f"{scope['path']}/".startswith(_ROOT)

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.openai.service import Service

        return Service(self.name, api).routes()

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        return refusal(problem, headers)


DOOR: Door = OpenAI()
