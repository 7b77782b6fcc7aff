"""The OpenAI Agents SDK. Its tools are gated where they are made: `FunctionTool.on_invoke_tool`. The object is an
agent, or a function `answer(text, session)` of your own that gives the session to the runner."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import inspect
import json
from collections.abc import Callable
from typing import Any

from ..gate import announce, announce_handoff, guarded
from ..openai_session import LoggedSession

EARLY = ("agents", "agents.mcp")


def version() -> str:
    return importlib.metadata.version("openai-agents")


def install() -> None:
    tools = importlib.import_module("agents.tool")
    made = tools.FunctionTool.__init__

    @functools.wraps(made)
    def gated(self: Any, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        announce(self.name)
        self.on_invoke_tool = _gated(self, self.on_invoke_tool)

    tools.FunctionTool.__init__ = gated
    agents = importlib.import_module("agents")
    as_tool = agents.Agent.as_tool

    @functools.wraps(as_tool)
    def told(self: Any, *given: Any, **named: Any) -> Any:
        found = as_tool(self, *given, **named)
        announce(found.name, "agent")
        return found

    agents.Agent.as_tool = told
    handoff = importlib.import_module("agents.handoffs").Handoff
    _tell_of(agents.Agent, lambda agent: handoff.default_tool_name(agent))
    _tell_of(handoff, lambda made: made.tool_name)


def _tell_of(kind: Any, name: Callable[[Any], str]) -> None:
    """Tell of the handoff that each object of a class may be used for."""
    made = kind.__init__

    @functools.wraps(made)
    def told(self: Any, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        announce_handoff(name(self))

    kind.__init__ = told


def _gated(tool: Any, invoke: Any) -> Any:
    if getattr(invoke, "roost_gated", False):
        return invoke

    async def on_invoke_tool(context: Any, arguments: str) -> Any:
        call_id = getattr(context, "tool_call_id", "") or ""
        ended = await guarded(
            tool.name, arguments, functools.partial(invoke, context, arguments), call_id=call_id, text=str
        )
        if ended.failed:
            raise ended.error()
        return ended.text

    vars(on_invoke_tool).update(getattr(invoke, "__dict__", {}))
    on_invoke_tool.roost_gated = True  # type: ignore[attr-defined]
    return on_invoke_tool


async def run(agent: Any, text: str, memory: list[Any]) -> tuple[str, list[Any]]:
    session = LoggedSession(memory)
    async with contextlib.AsyncExitStack() as servers:
        for server in getattr(agent, "mcp_servers", ()):
            await servers.enter_async_context(server)
        if inspect.isfunction(agent):
            output = agent(text, session)
            output = await output if inspect.isawaitable(output) else output
        else:
            runner = importlib.import_module("agents").Runner
            output = (await runner.run(agent, text, session=session)).final_output
    return output if isinstance(output, str) else _json(output), session.items


def _json(value: Any) -> str:
    return value.model_dump_json() if hasattr(value, "model_dump_json") else json.dumps(value, default=str)
