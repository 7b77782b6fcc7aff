"""AutoGen's AgentChat. Its tools are gated in `BaseTool.run_json`, and those of MCP servers in their workbench. The
object is an agent or a team, or a function that returns one."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from ..gate import Ended, announce, announce_handoff, guarded
from ..objects import made

EARLY = (
    *("autogen_agentchat.agents", "autogen_agentchat.teams", "autogen_agentchat.conditions", "autogen_agentchat.ui"),
    "autogen_ext.models.openai",
)


class Recorded(str):
    """The result of a call as it is recorded: the model gets exactly this."""


def version() -> str:
    return importlib.metadata.version("autogen-agentchat")


def install() -> None:
    tools = importlib.import_module("autogen_core.tools")
    tools.BaseTool.run_json = _gated(tools.BaseTool.run_json)
    tools.BaseStreamTool.run_json_stream = _gated_stream(tools.BaseStreamTool.run_json_stream)
    _tell_of(importlib.import_module("autogen_agentchat.tools._task_runner_tool").TaskRunnerTool)
    handoff = importlib.import_module("autogen_agentchat.base").Handoff
    handoff.handoff_tool = property(_told(handoff.handoff_tool.fget))
    _gate_workbenches(tools.Workbench)


def _told(tool_of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Tell of a handoff's tool."""

    def handoff_tool(self: Any) -> Any:
        tool = tool_of(self)
        announce_handoff(tool.name)
        return tool

    return handoff_tool


def _tell_of(runner: Any) -> None:
    """Tell of the tools that run an agent or a team."""
    begin = runner.__init__

    @functools.wraps(begin)
    def told(self: Any, *given: Any, **named: Any) -> None:
        begin(self, *given, **named)
        announce(self.name, "agent")

    runner.__init__ = told


def _gated(run_json: Any) -> Any:
    @functools.wraps(run_json)
    async def gated(self: Any, args: Any, cancellation_token: Any, call_id: str | None = None) -> Any:
        work = functools.partial(run_json, self, args, cancellation_token, call_id)
        return _result(self, await _guarded(self, args, call_id, work))

    return gated


def _gated_stream(run_json_stream: Any) -> Any:
    @functools.wraps(run_json_stream)
    async def gated(self: Any, args: Any, cancellation_token: Any, call_id: str | None = None) -> Any:
        async def work() -> Any:
            last = None
            async for one in run_json_stream(self, args, cancellation_token, call_id):
                last = one
            return last

        yield _result(self, await _guarded(self, args, call_id, work))

    return gated


async def _guarded(tool: Any, args: Any, call_id: str | None, work: Callable[[], Any]) -> Ended:
    kind = cast("Any", type(tool))
    text = functools.partial(kind.return_value_as_string, tool)
    return await guarded(tool.name, _json(args), work, call_id=call_id or "", text=text)


def _result(tool: Any, ended: Ended) -> Recorded:
    if ended.failed:
        raise ended.error()
    kind = cast("Any", type(tool))
    as_text = kind.return_value_as_string

    def recorded(value: Any) -> str:
        return value if isinstance(value, Recorded) else as_text(tool, value)

    tool.return_value_as_string = recorded
    return Recorded(ended.text)


def _gate_workbenches(workbench: Any) -> None:
    """Gate the calls of every kind of workbench that is defined from now on, such as that of MCP servers."""

    @classmethod
    def defined(cls: Any, **named: Any) -> None:
        cast("Any", super(workbench, cls)).__init_subclass__(**named)
        if "call_tool" in vars(cls):
            cls.call_tool = _gated_call(cls.call_tool)

    workbench.__init_subclass__ = defined


def _gated_call(call_tool: Any) -> Any:
    @functools.wraps(call_tool)
    async def gated(self: Any, name: str, arguments: Any = None, *given: Any, **named: Any) -> Any:
        work = functools.partial(call_tool, self, name, arguments, *given, **named)
        call_id = named.get("call_id") or next(iter(given[1:2]), None) or ""
        ended = await guarded(name, _json(arguments or {}), work, call_id=call_id, text=lambda found: found.to_text())
        tools = importlib.import_module("autogen_core.tools")
        text = str(ended.error()) if ended.failed else ended.text
        return tools.ToolResult(name=name, result=[tools.TextResultContent(content=text)], is_error=ended.is_error)

    return gated


def _json(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments), default=str, ensure_ascii=False)


async def run(agent: Any, text: str, memory: list[Any]) -> tuple[str, list[Any]]:
    runner = await made(agent)
    if memory:
        await runner.load_state(_state(memory))
    result = await runner.run(task=text)
    said = result.messages[-1].to_model_text() if result.messages else ""
    return said, _items(json.loads(json.dumps(await runner.save_state(), default=str)))


def _items(state: dict[str, Any]) -> list[Any]:
    """Return a state with the messages of one agent as items of their own: they only grow, and the log keeps each once.
    A team's state is one item."""
    context: dict[str, Any] = state.get("llm_context", {})
    if "messages" not in context:
        return [{"state": state}]
    rest: dict[str, Any] = {**state, "llm_context": {**context, "messages": []}}
    return [{"state": rest}, *context["messages"]]


def _state(memory: list[Any]) -> dict[str, Any]:
    first, *messages = memory
    state = dict(first["state"])
    if messages:
        state["llm_context"] = {**state["llm_context"], "messages": messages}
    return state
