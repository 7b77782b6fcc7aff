"""Pydantic AI. Its tools are gated in `FunctionToolset.call_tool`, and those of MCP servers in theirs."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import json
from typing import Any

from ..gate import guarded

EARLY = ("pydantic_ai", "pydantic_ai.models.openai", "pydantic_ai.models.anthropic", "pydantic_ai.mcp")
_SERVERS = ("MCPToolset", "MCPServer")
"""The classes of MCP servers: the second is that of versions before 2."""


def version() -> str:
    return importlib.metadata.version("pydantic-ai-slim")


def install() -> None:
    _gate(importlib.import_module("pydantic_ai.toolsets").FunctionToolset)
    try:
        servers = importlib.import_module("pydantic_ai.mcp")
    except ImportError:
        return  # without the packages of MCP there are no servers
    found = [vars(servers)[name] for name in _SERVERS if name in vars(servers)]
    if not found:
        raise RuntimeError("the class of MCP servers in this version of Pydantic AI is not known: use another version")
    for kind in found:
        _gate(kind)


def _gate(toolset: Any) -> None:
    call_tool = toolset.call_tool

    @functools.wraps(call_tool)
    async def gated(self: Any, name: str, tool_args: dict[str, Any], ctx: Any, tool: Any) -> Any:
        work = functools.partial(call_tool, self, name, tool_args, ctx, tool)
        ended = await guarded(name, _text(tool_args), work, call_id=ctx.tool_call_id or "", text=_text)
        if ended.failed:
            if type(ended.error()).__name__ == "ModelRetry":
                raise importlib.import_module("pydantic_ai").ModelRetry(str(ended.error()))
            raise ended.error()
        return ended.text

    toolset.call_tool = gated


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return importlib.import_module("pydantic_core").to_json(value, fallback=str).decode()


async def run(agent: Any, text: str, memory: list[Any]) -> tuple[str, list[Any]]:
    adapter = importlib.import_module("pydantic_ai.messages").ModelMessagesTypeAdapter
    result = await agent.run(text, message_history=adapter.validate_python(memory) if memory else None)
    return _text(result.output), json.loads(result.all_messages_json())
