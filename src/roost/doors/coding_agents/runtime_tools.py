"""Tools of Roost for the program of a session, over MCP: those that its agent's definition names.

Each call is one of the session, judged and logged like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, cast

from starlette.types import Receive, Scope

from roost.doors.mcp.catalog import Offer, ToolInfo, ToolResult, text
from roost.doors.mcp.exchange import Exchange
from roost.doors.mcp.service import Service
from roost.doors.mcp.wire import Json
from roost.features.coding_agents.ports import ToolCaller
from roost.kernel.local_http import CALLER
from roost.models.request import ToolSpec
from roost.server.app_state import Api
from roost.server.door import Handler, Methods, needs
from roost.server.responses import ReplyCall

INSTRUCTIONS = "Tools of the runtime that runs this agent. Each call is judged and recorded by the session."
_CALLER: ContextVar[ToolCaller | None] = ContextVar("roost_tool_caller", default=None)


def mcp_routes(api: Api) -> Methods:
    """Return the handlers of the MCP endpoint of the gateway, by method."""
    service = Service(api, [RuntimeTools()], instructions=INSTRUCTIONS)
    (methods,) = service.routes().values()
    return {name: _known(handler) for name, handler in methods.items()}


def _known(handler: Handler) -> Handler:
    @needs("read")
    async def known(scope: Scope, receive: Receive) -> ReplyCall:
        caller = cast("dict[str, Any]", scope)[CALLER]
        _CALLER.set(caller if isinstance(caller, ToolCaller) else None)
        return await handler(scope, receive)

    return known


class RuntimeTools(Offer):
    """The tools that the program of the present request may call."""

    async def tools(self) -> Sequence[RuntimeTool]:
        caller = _CALLER.get()
        return () if caller is None else [RuntimeTool(caller, spec) for spec in caller.offered()]


class RuntimeTool:
    """Implements `roost.doors.mcp.catalog.Tool`."""

    def __init__(self, caller: ToolCaller, spec: ToolSpec) -> None:
        self._caller, self._spec = caller, spec

    @property
    def info(self) -> ToolInfo:
        spec = self._spec
        return ToolInfo(name=spec.name, description=spec.description, input_schema=spec.schema)

    async def run(self, arguments: Json, exchange: Exchange) -> ToolResult:
        given: Mapping[str, Any] = arguments
        said, failed = await self._caller.call(self._spec.name, given)
        return ToolResult([text(said)], is_error=failed)

    async def resume(self, exchange: Exchange) -> ToolResult:
        return await self.run(exchange.params.get("arguments") or {}, exchange)
