"""Compiles a request into the body of an OpenAI chat completion."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast

import msgspec

from roost.llm.ir import Profile, Request
from roost.log.content import AssistantMessage, Image, Message, Text, Thinking, ToolCall, ToolMessage, UserMessage

Wire: TypeAlias = dict[str, Any]

_BAD_NAME = re.compile(r"[^A-Za-z0-9_-]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Quirks(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server departs from the common ground."""

    max_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    stream_usage: bool = True
    send_reasoning: bool = False
    """Reasoning of the running turn must be sent back with its tool calls."""
    short_ids: bool = False
    """Call ids must be nine letters or digits."""


def compile_request(request: Request, model: str, profile: Profile, quirks: Quirks) -> bytes:
    """The JSON body. Text that UTF-8 cannot carry (lone surrogates) is replaced by U+FFFD."""
    system = _system(request)
    messages = ([{"role": "system", "content": system}] if system else []) + compile_messages(
        request.messages, images=profile.images, quirks=quirks
    )
    body: Wire = {"model": model, "messages": messages, "stream": True}
    if quirks.stream_usage:
        body["stream_options"] = {"include_usage": True}
    if request.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": tool.schema},
            }
            for tool in request.tools
        ]
        body["tool_choice"] = request.tool_choice
    if request.output_schema is not None:
        schema = request.output_schema
        shape = {"name": "output", "schema": schema, "strict": _closed(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
    if request.max_output is not None:
        body[quirks.max_field] = request.max_output
    if request.temperature is not None and quirks.temperature:
        body["temperature"] = request.temperature
    if request.stop:
        body["stop"] = list(request.stop)
    return encode(body)


def encode(body: Wire) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        return msgspec.json.encode(_clean(body))


def compile_messages(messages: Sequence[Message], *, images: bool = False, quirks: Quirks | None = None) -> list[Wire]:
    """Calls whose arguments are not a JSON object are sent as one that carries the text, because servers parse them."""
    quirks = quirks or Quirks()
    last_user = max((i for i, message in enumerate(messages) if isinstance(message, UserMessage)), default=-1)
    wire: list[Wire] = []
    shown: list[Image] = []
    for index, message in enumerate(messages):
        if shown and not isinstance(message, ToolMessage):
            wire.append(_shown(shown))
            shown = []
        match message:
            case UserMessage():
                wire.append({"role": "user", "content": _content(message.parts, images) or "(empty)"})
            case AssistantMessage():
                wire.append(_assistant(message, quirks, current=index > last_user))
            case ToolMessage():
                text = _content(message.parts, images=False) or "(no output)"
                wire.append({"role": "tool", "tool_call_id": _id(message.call, quirks), "content": text})
                shown += [part for part in message.parts if images and isinstance(part, Image)]
    return [*wire, _shown(shown)] if shown else wire


def _system(request: Request) -> str:
    rules = "\n".join(f"- {rule}" for rule in request.constraints)
    blocks = [request.instruction, *request.context, f"Rules:\n{rules}" if rules else ""]
    return "\n\n".join(block for block in blocks if block)


def _content(parts: Sequence[Text | Image], images: bool) -> str | list[Wire]:
    if images and any(isinstance(part, Image) for part in parts):
        return [_part(part) for part in parts if isinstance(part, Image) or part.text]
    return "\n".join(part.text if isinstance(part, Text) else f"[image, {part.media_type}]" for part in parts)


def _part(part: Text | Image) -> Wire:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{part.data}"}}


def _shown(images: list[Image]) -> Wire:
    # A tool's message takes text alone on this wire.
    return {"role": "user", "content": [{"type": "text", "text": "The images of the tools:"}, *map(_part, images)]}


def _assistant(message: AssistantMessage, quirks: Quirks, *, current: bool) -> Wire:
    wire: Wire = {"role": "assistant", "content": message.text or None}
    if calls := message.calls:
        wire["tool_calls"] = [_call(call, quirks) for call in calls]
    elif not message.text:
        wire["content"] = "(no answer)"
    if quirks.send_reasoning and current:
        wire["reasoning_content"] = "".join(part.text for part in message.parts if isinstance(part, Thinking))
    return wire


def _call(call: ToolCall, quirks: Quirks) -> Wire:
    name = _BAD_NAME.sub("_", call.name)[:64] or "unnamed"
    function = {"name": name, "arguments": json_object(call.arguments)}
    return {"id": _id(call.id, quirks), "type": "function", "function": function}


def _id(call: str, quirks: Quirks) -> str:
    return hashlib.sha256(call.encode("utf-8", "replace")).hexdigest()[:9] if quirks.short_ids else call


def json_object(arguments: str) -> str:
    """`arguments` where it is a JSON object, else a JSON object that holds it as text."""
    if is_json_object(arguments):
        return arguments
    if not arguments.strip():
        return "{}"
    return msgspec.json.encode({"invalid_arguments": _clean(arguments)}).decode()


def is_json_object(text: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        return False


def _closed(schema: Any) -> bool:
    """Whether strict servers accept the schema: every object closed, every property required."""
    if isinstance(schema, list):
        return all(map(_closed, cast("list[Any]", schema)))
    if not isinstance(schema, dict):
        return True
    node = cast("Wire", schema)
    if "properties" in node or node.get("type") == "object":
        properties = cast("Wire", node.get("properties") or {})
        if node.get("additionalProperties") is not False or set(node.get("required") or ()) != set(properties):
            return False
        return all(map(_closed, properties.values()))
    return all(map(_closed, node.values()))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list | tuple):
        return [_clean(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in cast("Wire", value).items()}
    return value
