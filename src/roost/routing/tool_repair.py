"""Repair tool calls (TOOL_REPAIR) whose arguments are not JSON, or do not fit the tool's schema."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import msgspec

from roost.log.content import AssistantMessage, AssistantPart, Text, ToolCall, ToolMessage, Usage
from roost.models.model_wrapper import ModelWrapper, events
from roost.models.request import Completed, Failed, Model, ModelEvent, Notice, Request, ToolSpec
from roost.models.tool_arguments import as_object, mend, misfit


class Repairing(ModelWrapper):
    """Repair arguments without guessing (`mend`); for the rest ask the model again, up to `rounds` times, with the
    fault as the result of its calls. A notice `repair` reports each; `restart` precedes a new answer. If an answer
    stays wrong, or its repair fails, it is returned unchanged: running its calls tells the model. Calls of tools that
    the request does not name are ignored. Usage is added up."""

    def __init__(self, inner: Model, *, rounds: int = 1) -> None:
        super().__init__(inner)
        self._rounds = rounds

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        tools = {tool.name: tool for tool in request.tools}
        ask, best, usage = request, None, Usage(cost=0)
        for left in range(self._rounds, -1, -1):
            async with events(self.inner, ask) as stream:
                async for event in stream:
                    if isinstance(event, Completed | Failed):
                        end = event
                        break
                    yield event
                else:
                    return
            if isinstance(end, Failed):
                yield end if best is None else _with(best, usage + (end.usage or Usage(cost=0)))
                return
            usage += end.usage
            best, names = _mended(end, tools)
            if names:
                yield Notice("repair", {"type": "TOOL_REPAIR", "how": "mended", "tools": names})
            wrong = _wrong(best, tools)
            if not wrong or not left or best.stop == "length":
                yield _with(best, usage)
                return
            names = [call.name for call in _calls(best) if call.id in wrong]
            yield Notice("repair", {"type": "TOOL_REPAIR", "how": "asked again", "tools": names})
            yield Notice("restart")
            ask = msgspec.structs.replace(request, messages=(*request.messages, *_complaint(best, wrong)))


def _with(answer: Completed, usage: Usage) -> Completed:
    return msgspec.structs.replace(answer, usage=usage)


def _calls(answer: Completed) -> list[ToolCall]:
    return [part for part in answer.parts if isinstance(part, ToolCall)]


def _mended(answer: Completed, tools: dict[str, ToolSpec]) -> tuple[Completed, list[str]]:
    names: list[str] = []
    parts: list[AssistantPart] = []
    for part in answer.parts:
        if isinstance(part, ToolCall) and part.name in tools and as_object(part.arguments) is None:
            better = mend(part.arguments)
            # Cut arguments would become a shorter command, which the model must decide.
            if better is not None and answer.stop != "length":
                part = ToolCall(part.id, part.name, better)
                names.append(part.name)
        parts.append(part)
    return (msgspec.structs.replace(answer, parts=tuple(parts)) if names else answer), names


def _wrong(answer: Completed, tools: dict[str, ToolSpec]) -> dict[str, str]:
    """Return the faults, by the calls' ids."""
    wrong: dict[str, str] = {}
    for call in _calls(answer):
        if (tool := tools.get(call.name)) is None:
            continue
        arguments = as_object(call.arguments)
        if arguments is None:
            wrong[call.id] = "The arguments are not one JSON object."
        elif what := misfit(arguments, tool.schema):
            wrong[call.id] = f"The arguments do not fit the tool's schema: {what}."
    return wrong


def _complaint(answer: Completed, wrong: dict[str, str]) -> list[AssistantMessage | ToolMessage]:
    messages: list[AssistantMessage | ToolMessage] = [AssistantMessage(answer.parts)]
    for call in _calls(answer):
        text = wrong.get(call.id, "Not run, because another call of this answer was invalid.")
        messages.append(ToolMessage(call.id, call.name, (Text(f"{text} Make all calls of this answer again."),), True))
    return messages
