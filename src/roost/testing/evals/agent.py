"""The agent that does the tasks: the built-in tools over a folder, and model → tools → model until it answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from roost.llm.ir import Completed, Failed, Model, Request
from roost.log.content import AssistantMessage, Message, Text, ToolCall, ToolMessage, Usage, UserMessage
from roost.sandbox.process import ProcessSandbox
from roost.testing.evals.task import Call
from roost.tools.base import Tool, ToolContext
from roost.tools.builtin import builtin_tools
from roost.tools.run import run_tool
from roost.workspace.files import Workspace

INSTRUCTION = "You are a helpful assistant. You work in a folder of the user's files."
MAX_STEPS = 8


class Trace(msgspec.Struct, kw_only=True):
    """`failure` names why there is no answer."""

    answer: str = ""
    calls: list[Call] = []
    failure: str | None = None
    steps: int = 0
    usage: Usage = Usage(cost=0)


async def run_agent(model: Model, prompt: str, folder: Path, *, tools: bool) -> Trace:
    """Have the model work on `prompt` in `folder`, with every call allowed. Never raises for what the model does."""
    toolbox = builtin_tools() if tools else {}
    context = _context(folder)
    messages: list[Message] = [UserMessage((Text(prompt),))]
    trace = Trace()
    try:
        while trace.steps < MAX_STEPS:
            trace.steps += 1
            ended = await _ask(model, messages, toolbox)
            if isinstance(ended, Failed):
                trace.failure = f"{ended.error.code}: {ended.error.message}"
                return trace
            message = AssistantMessage(ended.parts)
            messages.append(message)
            trace.usage += ended.usage
            if not message.calls:
                trace.answer = message.text
                return trace
            messages += [await _call(toolbox, context, call, trace) for call in message.calls]
        trace.failure = f"no answer after {MAX_STEPS} steps"
        return trace
    finally:
        await context.sandbox.close()


async def _ask(model: Model, messages: list[Message], toolbox: Mapping[str, Tool]) -> Completed | Failed:
    specs = tuple(tool.spec for tool in toolbox.values())
    request = Request(instruction=INSTRUCTION, messages=tuple(messages), tools=specs, max_output=600)
    async for event in model.stream(request):
        if isinstance(event, (Completed, Failed)):
            return event
    raise AssertionError(f"the stream of {model.name!r} ended without Completed or Failed")


async def _call(toolbox: Mapping[str, Tool], context: ToolContext, call: ToolCall, trace: Trace) -> ToolMessage:
    context.call = context.key = call.id
    if tool := toolbox.get(call.name):
        outcome, parts = await run_tool(tool, context, call.arguments)
    else:
        outcome, parts = "error", (Text(f"There is no tool {call.name!r}. There are: {', '.join(toolbox)}"),)
    trace.calls.append(Call(call.name, call.arguments, outcome == "error"))
    return ToolMessage(call.id, call.name, parts, outcome == "error")


def _context(folder: Path) -> ToolContext:
    async def emit(name: str, data: Any) -> None:
        pass

    return ToolContext(
        session="eval",
        call="",
        key="",
        attempt=1,
        workspace=Workspace(folder, private=True),
        sandbox=ProcessSandbox(marker=f"eval-{folder.name}"),
        seen={},
        emit=emit,
    )
