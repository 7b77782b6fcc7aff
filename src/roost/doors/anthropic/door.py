"""The door for clients of the Anthropic API."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from roost.doors.anthropic.errors import refusal
from roost.server.app_state import Api
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.request_body import header
from roost.server.responses import Header, Reply

_ROOT, _MESSAGES = "/v1/", "/v1/messages/"


class Anthropic:
    """Anthropic's protocol. Paths that other protocols have as well are its own with the header that names its
    version. Claude Code asks `HEAD /` before all else, without any header."""

    name = "anthropic"
    key_headers: tuple[bytes, ...] = (b"x-api-key",)

    def speaks(self, scope: Scope) -> bool:
        path = f"{scope['path']}/"
        if path.startswith(_MESSAGES) or (path == "//" and scope["method"] == "HEAD"):
            return True
        return path.startswith(_ROOT) and header(scope, b"anthropic-version") is not None

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.anthropic.service import Service

        return Service(self.name, api).routes()

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        return refusal(problem, headers)


DOOR: Door = Anthropic()
