"""LangGraph and LangChain. Their tools are gated in `BaseTool.run` and `arun`, which every graph and agent calls. The
object is a graph, compiled or not, with `messages` in its state, or a function that returns one."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import inspect
import json
from typing import Any, cast

from ..gate import Ended, announce_question, guarded, guarded_sync, person_answers
from ..langgraph_saver import THREAD, session_saver

EARLY = (
    *("langgraph.graph", "langgraph.prebuilt", "langgraph.pregel", "langchain_core.messages", "langchain.agents"),
    *("langchain_openai", "langchain_anthropic"),
)


def version() -> str:
    return importlib.metadata.version("langgraph")


def install() -> None:
    base = importlib.import_module("langchain_core.tools.base").BaseTool
    run, arun = base.run, base.arun

    @functools.wraps(run)
    def gated(self: Any, tool_input: Any, *given: Any, **named: Any) -> Any:
        work = functools.partial(run, self, tool_input, *given, **named)
        call = named.get("tool_call_id") or ""
        return _result(self, call, guarded_sync(self.name, _arguments(tool_input), work, call_id=call, text=_text))

    @functools.wraps(arun)
    async def agated(self: Any, tool_input: Any, *given: Any, **named: Any) -> Any:
        work = functools.partial(arun, self, tool_input, *given, **named)
        call = named.get("tool_call_id") or ""
        ended = await guarded(self.name, _arguments(tool_input), work, call_id=call, text=_text)
        return _result(self, call, ended)

    base.run, base.arun = gated, agated
    announce_question()


def _arguments(tool_input: Any) -> str:
    given = cast("dict[str, Any]", tool_input) if isinstance(tool_input, dict) else {"input": tool_input}
    return json.dumps({name: value for name, value in given.items() if _plain(value)}, default=str)


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool | list | dict) or value is None


def _text(value: Any) -> str:
    content = getattr(value, "content", value)
    return content if isinstance(content, str) else json.dumps(content, default=str, ensure_ascii=False)


def _result(tool: Any, call: str, ended: Ended) -> Any:
    if ended.failed:
        raise ended.error()
    if not call:
        return ended.text
    message = importlib.import_module("langchain_core.messages").ToolMessage
    return message(ended.text, tool_call_id=call, name=tool.name, status="error" if ended.is_error else "success")


async def run(agent: Any, text: str, memory: list[Any]) -> tuple[str, list[Any]]:
    messages = importlib.import_module("langchain_core.messages")
    saver = session_saver(memory)
    graph = await _graph(agent, saver)
    given = messages.HumanMessage(text)
    if getattr(graph, "checkpointer", None) is None:
        state = await graph.ainvoke({"messages": [*messages.messages_from_dict(memory), given]})
        kept = json.loads(json.dumps(messages.messages_to_dict(state["messages"]), default=str))
    else:
        state = await _resumed(graph.copy({"checkpointer": saver}), {"messages": [given]})
        kept = saver.kept()
    said = state["messages"][-1].content if state.get("messages") else state
    return said if isinstance(said, str) else _text(said), kept


async def _graph(agent: Any, saver: Any) -> Any:
    """Return the graph: `agent` itself, compiled, or what it makes. A function with a parameter is given the saver."""
    if hasattr(agent, "ainvoke"):
        return agent
    if hasattr(agent, "compile"):
        return agent.compile()
    made = agent(saver) if inspect.signature(agent).parameters else agent()
    made = await made if inspect.isawaitable(made) else made
    return made if hasattr(made, "ainvoke") else made.compile()


async def _resumed(graph: Any, given: Any) -> Any:
    """Run a graph with a checkpointer to its end. A person answers each interrupt."""
    command = importlib.import_module("langgraph.types").Command
    config = {"configurable": {"thread_id": THREAD}}
    while True:
        state = await graph.ainvoke(given, config)
        if not (waiting := state.get("__interrupt__")):
            return state
        given = command(resume={one.id: await person_answers(_json(one.value)) for one in waiting})


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)
