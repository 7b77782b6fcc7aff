"""Gateway mode: `model` names a model. One call of it, without loop, session or log: Roost gives the account, the
ledger, limits, breakers and routing. A client that goes away ends the call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
from starlette.types import Send

from roost.doors.openai import chat_chunks
from roost.doors.openai.agent_mode import PING, STOPS, STREAM_HEADERS
from roost.doors.openai.chat_chunks import DONE, Chunks, FinishReason
from roost.doors.openai.chat_request import ChatMessage, ChatRequest, text_of, user_parts
from roost.doors.openai.client_tools import response_schema, tool_specs
from roost.doors.openai.errors import error_of, of_model, refusal
from roost.doors.whole_reply import WholeReply
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
from roost.models.model_wrapper import events
from roost.models.request import (
    Completed,
    Effort,
    Failed,
    Model,
    Notice,
    Progress,
    Request,
    TextDelta,
    ThinkingDelta,
    ToolChoice,
)
from roost.server.app_state import Api
from roost.server.problems import Problem
from roost.server.responses import Reply, ReplyCall, json
from roost.server.stream import Stream

EFFORTS: dict[str, Effort] = {
    "none": "off", "minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "max",
}  # fmt: skip
SILENT = of_model("malformed", "the model's answer has no end")


def request_of(asked: ChatRequest) -> Request:
    """Return the model's request. Raises `Invalid`."""
    system = [text_of(one, at) for at, one in enumerate(asked.messages) if one.role in ("system", "developer")]
    tools, choice = tool_specs(asked.tools), _choice(asked.tool_choice)
    if isinstance(asked.tool_choice, dict):
        function: Any = asked.tool_choice.get("function")
        name = cast("dict[str, Any]", function).get("name") if isinstance(function, dict) else None
        if not (tools := tuple(tool for tool in tools if tool.name == name)):
            raise Invalid("tool_choice: name a function of tools, as {'type': 'function', 'function': {'name': ...}}")
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
        meta={"user": asked.user} if asked.user else {},
        stream=bool(asked.stream),
    )


def reply(api: Api, model: Model, asked: ChatRequest) -> ReplyCall:
    """Call the model and return the response. Raises `Invalid`."""
    request, id = request_of(asked), f"chatcmpl-{new_id('gw')}"
    if asked.stream:
        return _GatewayStream(api, model, request, Chunks(id, asked.model, usage=asked.wants_usage))
    return WholeReply(api, lambda: _whole(model, request, id, asked.model), lambda problem: refusal(problem, []))


class _GatewayStream(Stream):
    """The answer of a model as a stream of chunks. Its head waits for the first event, so that a call that is refused
    has the status of its error."""

    def __init__(self, api: Api, model: Model, request: Request, chunks: Chunks) -> None:
        super().__init__(api, "(gateway)", api.streams, lambda problem: refusal(problem, []))
        self.headers = STREAM_HEADERS
        self._model, self._request, self._chunks = model, request, chunks
        self._texts: list[str] = []
        self._held = False

    async def pump(self, send: Send) -> Problem | None:
        begun = False
        async with events(self._model, self._request) as stream:
            async for event in stream:
                if isinstance(event, Failed):
                    return of_model(event.error.code, event.error.message)
                if isinstance(event, Notice) and not begun:
                    continue
                if not begun:
                    begun = True
                    await self.give(send, self._chunks.first)
                if isinstance(event, Completed):
                    await self.give(send, self._end(event))
                    return None
                if isinstance(event, Notice) and event.kind == "restart":
                    self._held = bool(self._texts)  # what was sent cannot be taken back: the rest comes at the end
                elif isinstance(event, TextDelta) and not self._held:
                    self._texts.append(event.text)
                    await self.give(send, self._chunks.text(event.text))
                elif isinstance(event, ThinkingDelta) and not self._held:
                    await self.give(send, self._chunks.thinking(event.text))
                elif isinstance(event, Progress):
                    await self.give(send, PING)
        return SILENT

    def _end(self, done: Completed) -> bytes:
        """Return the rest of the text, the calls, which may have been repaired, and the end."""
        sent, whole, chunks = "".join(self._texts), _text(done.parts), self._chunks
        rest = whole[len(sent) :] if whole.startswith(sent) else "\n\n" + whole
        calls = [{"index": at, **call} for at, call in enumerate(_calls(done.parts))]
        found = chunks.text(rest) if rest else b""
        found += chunks.delta({"tool_calls": calls}) if calls else b""
        return found + chunks.end(_finish(done), done.usage)

    def last(self, problem: Problem | None) -> bytes:
        return DONE if problem is None else chat_chunks.failure(error_of(problem))


async def _whole(model: Model, request: Request, id: str, name: str) -> Reply:
    end: Completed | Failed | None = None
    async with events(model, request) as stream:
        async for event in stream:
            if isinstance(event, Completed | Failed):
                end = event
                break
    if not isinstance(end, Completed):
        return refusal(SILENT if end is None else of_model(end.error.code, end.error.message), [])
    message: dict[str, Any] = {"content": _text(end.parts) or None, "refusal": None}
    if thinking := "".join(part.text for part in end.parts if isinstance(part, Thinking)):
        message["reasoning_content"] = thinking
    if calls := _calls(end.parts):
        message["tool_calls"] = calls
    return json(200, chat_chunks.whole(id, name, message, _finish(end), end.usage))


def _finish(done: Completed) -> FinishReason:
    return "tool_calls" if done.stop == "tool_calls" else STOPS.get(done.stop, "stop")


def _text(parts: Sequence[AssistantPart]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


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


def _choice(given: str | dict[str, Any] | None) -> ToolChoice:
    if given is None or given == "auto":
        return "auto"
    if isinstance(given, dict):
        return "required"
    if given in ("none", "required"):
        return cast("ToolChoice", given)
    raise Invalid(f"tool_choice: {given!r} is none of auto, none, required, or a function")
