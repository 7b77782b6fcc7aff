"""The door for clients of the Gemini API."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from roost.doors.gemini.errors import refusal
from roost.server.app_state import Api
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.request_body import header
from roost.server.responses import Header, Reply

_ROOT, _MODELS = "/v1beta/", "/v1/models"
_METHODS = (":generateContent", ":streamGenerateContent", ":countTokens")


class Gemini:
    """Gemini's protocol, in both of its versions. Models are called by it, agents are not. Paths that other protocols
    have as well are its own with its header for the key."""

    name = "gemini"
    key_headers: tuple[bytes, ...] = (b"x-goog-api-key",)

    def speaks(self, scope: Scope) -> bool:
        path = scope["path"]
        if f"{path}/".startswith(_ROOT):
            return True
        mine = path.endswith(_METHODS) or header(scope, b"x-goog-api-key") is not None
        return mine and f"{path}/".startswith(f"{_MODELS}/")

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.gemini.service import Service

        return Service(api).routes()

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        return refusal(problem, headers)


DOOR: Door = Gemini()
