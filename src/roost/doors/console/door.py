"""The door for people: the console, a page at `/` for browsers.

A browser asks for HTML; other clients of `/` get the answer that they always got. The page and its files need no token:
they hold nothing of this home. What the page shows it asks of Roost's own API."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from roost.server.app_state import Api
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.request_body import header
from roost.server.responses import Header, Reply, from_problem

ROOT = "/console"
_SIGNED_IN = (f"{ROOT}/sign-in", f"{ROOT}/changes")


class Console:
    """The web console. Errors are problem documents, as over HTTP."""

    name = "console"
    key_headers: tuple[bytes, ...] = ()

    def speaks(self, scope: Scope) -> bool:
        path = scope["path"]
        if path == "/":
            return scope["method"] in ("GET", "HEAD") and "text/html" in (header(scope, b"accept") or "")
        return path == ROOT or path.startswith(f"{ROOT}/")

    def is_open(self, scope: Scope) -> bool:
        return scope["path"] not in _SIGNED_IN

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.console.service import Service

        return Service(ROOT, api).routes()

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        return from_problem(problem, headers=headers)


DOOR: Door = Console()
