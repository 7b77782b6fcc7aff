"""Gateway mode: `model` names a model. One call of it, without loop, session or log: Roost gives the account, the
ledger, limits, breakers and routing. A client that goes away ends the call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from roost.doors.gateway import GatewayStream, StreamedAnswer, meta_of, model_header, whole_answer
from roost.doors.gateway import text_of as text_of_parts
from roost.doors.openai import chat_chunks
from roost.doors.openai.agent_mode import PING, STOPS
from roost.doors.openai.chat_chunks import DONE, Chunks, FinishReason
from roost.doors.openai.chat_request import ChatMessage, ChatRequest, text_of, user_parts
from roost.doors.openai.client_tools import chosen_tools, response_schema, tool_specs
from roost.doors.openai.errors import error_of, refusal
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
    UserPart,
)
from roost.models.request import (
    Completed,
    Effort,
    Model,
    Request,
)
from roost.server.app_state import Api
from roost.server.problems import Problem
from roost.server.responses import Reply, ReplyCall, json

EFFORTS: dict[str, Effort] = {
    "none": "off", "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "max",
}  # fmt: skip


def request_of(asked: ChatRequest) -> Request:
    """Return the model's request. Raises `Invalid`."""
    system = [text_of(one, at) for at, one in enumerate(asked.messages) if one.role in ("system", "developer")]
    choice, tools = chosen_tools(asked.tool_choice, tool_specs(asked.tools))
    stop = (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ())
    return Request(
        instruction="\n\n".join(system),
        messages=_messages(asked.messages),
        tools=tools,
        tool_choice=choice,
        output_schema=response_schema(asked.response_format),
        max_output=asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens,
        temperature=asked.temperature,
        stop=stop,
        effort=EFFORTS.get(asked.reasoning_effort or ""),
        meta=meta_of(asked.user),
        stream=bool(asked.stream),
    )


def reply(api: Api, model: Model, asked: ChatRequest) -> ReplyCall:
    """Call the model and return the response. Raises `Invalid`."""
    request, id = request_of(asked), f"chatcmpl-{new_id('gw')}"
    named = [model_header(model)]
    if asked.stream:
        answer = _ChatAnswer(Chunks(id, asked.model, usage=asked.wants_usage))
        return GatewayStream(api, model, request, answer, refusal, named)

    def whole(done: Completed) -> Reply:
        message: dict[str, Any] = {"content": text_of_parts(done.parts) or None, "refusal": None}
        if thinking := "".join(part.text for part in done.parts if isinstance(part, Thinking)):
            message["reasoning_content"] = thinking
        if calls := _calls(done.parts):
            message["tool_calls"] = calls
        return json(200, chat_chunks.whole(id, asked.model, message, _finish(done), done.usage), headers=named)

    return whole_answer(api, model, request, whole, refusal)


class _ChatAnswer(StreamedAnswer):
    """The answer of a model as chunks of chat completions."""

    ping = PING

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    def begin(self) -> bytes:
        return self._chunks.first

    def text(self, text: str) -> bytes:
        return self._chunks.text(text)

    def thinking(self, text: str) -> bytes:
        return self._chunks.thinking(text)

    def end(self, done: Completed, rest: str) -> bytes:
        """Return the rest of the text, the calls, which may have been repaired, and the end."""
        calls = [{"index": at, **call} for at, call in enumerate(_calls(done.parts))]
        found = self._chunks.text(rest) if rest else b""
        found += self._chunks.delta({"tool_calls": calls}) if calls else b""
        return found + self._chunks.end(_finish(done), done.usage)

    def last(self, problem: Problem | None) -> bytes:
        return DONE if problem is None else chat_chunks.failure(error_of(problem))


def _finish(done: Completed) -> FinishReason:
    return "tool_calls" if done.stop == "tool_calls" else STOPS.get(done.stop, "stop")


def _calls(parts: Sequence[AssistantPart]) -> list[dict[str, Any]]:
    return [chat_chunks.call(part) for part in parts if isinstance(part, ToolCall)]


def _messages(given: Sequence[ChatMessage]) -> tuple[Message, ...]:
    """Return the conversation as every provider accepts it: it begins with the user, and each call has its result.
    Raises `Invalid`."""
    found: list[Message] = []
    names: dict[str, str] = {}  # of the calls without a result yet
    for at, message in enumerate(given):
        if message.role in ("system", "developer"):
            continue
        if message.role == "tool":
            found.append(_result(message, at, names))
        elif names:
            raise Invalid(f"messages[{at}]: the calls {', '.join(names)} before it have no result")
        elif message.role == "user":
            _add_user(found, tuple(user_parts(message, at)))
        elif message.role == "assistant":
            answer = _assistant(message, at)
            found += [answer] if answer.parts else []
            names = {call.id: call.name for call in answer.calls}
        else:
            raise Invalid(f"messages[{at}].role: {message.role!r} is none of system, developer, user, assistant, tool")
    if names or not found or isinstance(found[-1], AssistantMessage):
        raise Invalid("messages: the last message must be the user's, or a tool's")
    if not isinstance(found[0], UserMessage):
        raise Invalid("messages: the first message besides the system's must be the user's")
    return tuple(found)


def _result(message: ChatMessage, at: int, names: dict[str, str]) -> ToolMessage:
    call = message.tool_call_id or ""
    if call not in names:
        raise Invalid(f"messages[{at}]: no call {call!r} directly before it waits for a result")
    return ToolMessage(call, names.pop(call), (Text(text_of(message, at)),))


def _add_user(found: list[Message], parts: tuple[UserPart, ...]) -> None:
    if found and isinstance(last := found[-1], UserMessage):
        found[-1] = UserMessage((*last.parts, *parts))
    elif parts:
        found.append(UserMessage(parts))


def _assistant(message: ChatMessage, at: int) -> AssistantMessage:
    text = text_of(message, at)
    calls = [_call(call, f"messages[{at}].tool_calls[{n}]") for n, call in enumerate(message.tool_calls or [])]
    return AssistantMessage((*((Text(text),) if text else ()), *calls))


class _Function(msgspec.Struct):
    name: str
    arguments: str = "{}"


class _Call(msgspec.Struct):
    id: str
    function: _Function


def _call(given: dict[str, Any], where: str) -> ToolCall:
    try:
        call = msgspec.convert(given, _Call)
    except msgspec.ValidationError as error:
        raise Invalid(f"{where}: {error}") from None
    return ToolCall(call.id, call.function.name, call.function.arguments)
