"""Responses in gateway mode: `model` names a model. One call of it, without loop, session or log: nothing is kept, and
the client resends what was said. A client that goes away ends the call."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, cast

from roost.doors.gateway import GatewayStream, StreamedAnswer, meta_of, model_header, text_of, whole_answer
from roost.doors.openai.agent_mode import PING
from roost.doors.openai.errors import refusal
from roost.doors.openai.gateway_mode import EFFORTS
from roost.doors.openai.response_items import (
    Answered,
    Item,
    Reasoned,
    Result,
    Said,
    SystemText,
    dialogue,
    items_of,
    sealed,
)
from roost.doors.openai.response_log import REASONS
from roost.doors.openai.response_request import ResponseRequest
from roost.doors.openai.response_writer import End, ResponseWriter, head_of
from roost.errors import Invalid
from roost.ids import new_id
from roost.log.content import (
    AssistantMessage,
    AssistantPart,
    Message,
    Text,
    Thinking,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from roost.models.request import (
    Completed,
    Model,
    Request,
    ToolChoice,
)
from roost.server.app_state import Api
from roost.server.problems import Problem
from roost.server.responses import Reply, ReplyCall, json


def request_of(asked: ResponseRequest, items: Sequence[Item]) -> Request:
    """Return the model's request. Raises `Invalid`."""
    instructions = (asked.instructions, dialogue(items).instructions)
    return Request(
        instruction="\n\n".join(text for text in instructions if text),
        messages=messages_of(items),
        tools=asked.chosen(asked.specs()),
        tool_choice=cast("ToolChoice", asked.choice),
        output_schema=asked.answer_schema(),
        max_output=asked.max_output_tokens,
        temperature=asked.temperature,
        effort=EFFORTS.get(asked.effort or ""),
        meta=meta_of(asked.user),
        stream=bool(asked.stream),
    )


def reply(api: Api, model: Model, asked: ResponseRequest) -> ReplyCall:
    """Call the model and return the response. Raises `Invalid`."""
    for field in ("background", "previous_response_id", "conversation"):
        if getattr(asked, field):
            why = f"{field}: the model {asked.model!r} is called without a session, and nothing is kept of it here"
            raise Invalid(f"{why}: send the whole conversation as `input`, or name an agent as `model`")
    request = request_of(asked, items_of(asked.input))
    head = head_of(new_id("resp"), asked.model, asked.shown() | {"store": False}, asked.tools, time.time())
    writer = ResponseWriter(head, streams=bool(asked.stream), custom=asked.custom, holds=True)
    named = [model_header(model)]
    if asked.stream:
        return GatewayStream(api, model, request, _ResponseAnswer(writer), refusal, named)

    def whole(done: Completed) -> Reply:
        thinking = "".join(part.text for part in done.parts if isinstance(part, Thinking))
        if thinking:
            writer.say("thinking", thinking)
        return json(200, writer.state(_complete(writer, done, text_of(done.parts))), headers=named)

    return whole_answer(api, model, request, whole, refusal)


class _ResponseAnswer(StreamedAnswer):
    """The answer of a model as events of a response."""

    ping = PING

    def __init__(self, writer: ResponseWriter) -> None:
        self._writer = writer

    def begin(self) -> bytes:
        self._writer.begin()
        return self._writer.take()

    def text(self, text: str) -> bytes:
        return self._said("text", text)

    def thinking(self, text: str) -> bytes:
        return self._said("thinking", text)

    def end(self, done: Completed, rest: str) -> bytes:
        _complete(self._writer, done, rest)
        return self._writer.take()

    def last(self, problem: Problem | None) -> bytes:
        if problem is None:
            return b""
        try:
            self._writer.end(End("failed", problem=problem))
            return self._writer.take()
        except Exception:  # a defect in the writer itself
            return self._writer.error(problem)

    def _said(self, kind: Literal["text", "thinking"], text: str) -> bytes:
        if text:
            self._writer.say(kind, text)
        return self._writer.take()


def _complete(writer: ResponseWriter, done: Completed, rest: str) -> End:
    """Write what is missing of a complete answer: `rest` of its text, seals, and calls, which may have been
    repaired."""
    lead, calls = _divided(done.parts)
    if any(part.signature for part in lead):
        writer.seal(sealed(lead, lead=True))
    if rest:
        writer.say("text", rest)
    writer.close("commentary" if calls else "final_answer")
    for thoughts, call in calls:
        if any(part.signature for part in thoughts):
            writer.add_seal(sealed(thoughts, lead=False))
        writer.call(call)
    reason = REASONS.get(done.stop)
    end = End("completed" if reason is None else "incomplete", done.usage, reason=reason)
    writer.end(end)
    return end


def _divided(parts: Sequence[AssistantPart]) -> tuple[list[Thinking], list[tuple[list[Thinking], ToolCall]]]:
    """Return the reasoning before everything else, and each call with the reasoning directly before it."""
    lead: list[Thinking] = []
    calls: list[tuple[list[Thinking], ToolCall]] = []
    thoughts = lead
    for part in parts:
        if isinstance(part, Thinking):
            thoughts.append(part)
        else:
            if isinstance(part, ToolCall):
                calls.append(([] if thoughts is lead else thoughts, part))
            thoughts = []
    return lead, calls


def messages_of(items: Sequence[Item]) -> tuple[Message, ...]:
    """Return the conversation as every provider accepts it: it begins with the user, and each call has its result.
    Raises `Invalid`."""
    found: list[Message] = []
    names: dict[str, str] = {}  # of the calls without a result yet
    for item in items:
        if isinstance(item, SystemText):
            continue
        if isinstance(item, Result):
            if item.call not in names:
                raise Invalid(f"input: no call {item.call!r} directly before its output waits for one")
            found.append(ToolMessage(item.call, names.pop(item.call), item.parts))
        elif isinstance(item, Said):
            _demand_results(names)
            _add_user(found, item)
        else:
            _add_answer(found, item, names)
    _demand_results(names)
    if not found or isinstance(found[-1], AssistantMessage):
        raise Invalid("input: the last item must be the user's, or the output of a call")
    if not isinstance(found[0], UserMessage):
        raise Invalid("input: the first item besides the system's must be the user's")
    return tuple(found)


def _demand_results(names: dict[str, str]) -> None:
    if names:
        raise Invalid(f"input: no output was found for the calls {', '.join(names)}")


def _add_user(found: list[Message], said: Said) -> None:
    if found and isinstance(last := found[-1], UserMessage):
        found[-1] = UserMessage((*last.parts, *said.parts))
    elif said.parts:
        found.append(UserMessage(said.parts))


def _add_answer(found: list[Message], item: Answered | Reasoned | ToolCall, names: dict[str, str]) -> None:
    """Add to the assistant's message, which the items of one answer make together."""
    last = found[-1] if found else None
    before = last.parts if isinstance(last, AssistantMessage) else ()
    if isinstance(item, Reasoned):
        parts = (*item.parts, *before) if item.lead else (*before, *item.parts)
    elif isinstance(item, ToolCall):
        names[item.id] = item.name
        parts = (*before, item)
    else:
        parts = (*before, Text(item.text)) if item.text else before
    if isinstance(last, AssistantMessage):
        found[-1] = AssistantMessage(parts)
    elif parts:
        found.append(AssistantMessage(parts))
