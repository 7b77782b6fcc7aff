"""Tools whose arguments are a struct: its schema is what the client reads, and arguments that do not fit are told to
the client's model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import msgspec

from roost.doors.mcp.catalog import ToolFailed, ToolInfo, ToolResult
from roost.doors.mcp.exchange import Exchange
from roost.doors.mcp.wire import Json
from roost.server.validation_messages import said

A = TypeVar("A", bound="Arguments")


class Arguments(msgspec.Struct, forbid_unknown_fields=True):
    """Arguments of a tool."""


class TypedTool(Generic[A]):
    """A tool that takes arguments of `kind`. resume: goes on after a question or a break."""

    def __init__(
        self,
        name: str,
        description: str,
        kind: type[A],
        run: Callable[[A, Exchange], Awaitable[ToolResult]],
        resume: Callable[[Exchange], Awaitable[ToolResult]] | None = None,
        *,
        title: str | None = None,
        output: Json | None = None,
        reads: bool = False,
        repeatable: bool = False,
    ) -> None:
        hints: Json = {"readOnlyHint": reads, "openWorldHint": not reads}
        if not reads:
            hints |= {"destructiveHint": False, "idempotentHint": repeatable}
        self.info = ToolInfo(
            name=name,
            description=description,
            title=title,
            input_schema=schema_of(kind),
            output_schema=output,
            annotations=hints,
        )
        self._kind, self._run, self._resume = kind, run, resume

    async def run(self, arguments: Json, exchange: Exchange) -> ToolResult:
        try:
            given = msgspec.convert(arguments, self._kind)
        except msgspec.ValidationError as error:
            raise ToolFailed(said(error, "the arguments")) from None
        return await self._run(given, exchange)

    async def resume(self, exchange: Exchange) -> ToolResult:
        assert self._resume is not None, "nothing was kept"
        return await self._resume(exchange)


def schema_of(kind: type) -> Json:
    """Return the JSON schema of a struct, without references."""
    schema = msgspec.json.schema(kind)
    found: Any = schema["$defs"][kind.__name__]
    return {key: value for key, value in found.items() if key not in ("title", "description")}
