"""Links to files: `GET /shared/TOKEN/NAME` downloads a copy of a file, without a token, until the link expires or is
revoked (`docs/guides/files.md`)."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

from roost.server.app_state import Api
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.responses import Header, Reply

ROOT = "/shared"


class Shares:
    """Downloads, for people with browsers: errors are short texts, and nothing that is served can run a script."""

    name = "shares"
    key_headers: tuple[bytes, ...] = ()

    def speaks(self, scope: Scope) -> bool:
        return str(scope["path"]).startswith(f"{ROOT}/")

    def is_open(self, scope: Scope) -> bool:
        return True

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.shares.downloads import Downloads

        return Downloads(api).routes(ROOT)

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        text = problem.detail if problem.status < 500 else problem.title
        own: list[Header] = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
        kind = b"text/plain; charset=utf-8"
        return Reply(problem.status, text.encode() + b"\n", content_type=kind, headers=[*headers, *own])


DOOR: Door = Shares()
