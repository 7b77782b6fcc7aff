"""The door for clients of MCP."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from starlette.types import Scope

from roost.doors.mcp.refusal import refusal
from roost.server.app_state import Api
from roost.server.door import Door, Methods
from roost.server.problems import Problem
from roost.server.responses import Header, Reply

if TYPE_CHECKING:
    from roost.doors.mcp.catalog import Offer

_PATH = "/mcp"


class Mcp:
    """The Model Context Protocol over streamable HTTP. more: makes what it offers besides sessions and agents."""

    name = "mcp"
    key_headers: tuple[bytes, ...] = ()

    def __init__(self, more: Callable[[], Sequence[Offer]] = tuple) -> None:
        self._more = more

    def speaks(self, scope: Scope) -> bool:
        return f"{scope['path']}/".startswith(f"{_PATH}/")

    def routes(self, api: Api) -> Mapping[str, Methods]:
        from roost.doors.mcp.offers import offers
        from roost.doors.mcp.service import Service

        return Service(api, [*offers(api), *self._more()]).routes()

    def refusal(self, problem: Problem, headers: list[Header]) -> Reply:
        return refusal(problem, headers)


DOOR: Door = Mcp()
