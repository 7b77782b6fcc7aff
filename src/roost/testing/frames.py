"""An answer in the shapes of the OpenAI chat wire: frames of a stream, or one document."""

from __future__ import annotations

from typing import Any

import msgspec

from roost.log.content import AssistantPart, Text, Thinking, ToolCall
from roost.testing.script import Reply, digest
from roost.testing.scripted import pieces

DONE = b"data: [DONE]\n\n"
_REASONS = {"end": "stop", "tool_calls": "tool_calls", "length": "length", "refusal": "content_filter"}


def stream_frames(reply: Reply, body: dict[str, Any], *, finish: bool = True) -> list[bytes]:
    """The server-sent events, `[DONE]` included. Without `finish` the finish reason and the usage are missing."""
    head = {"id": _id(body), "object": "chat.completion.chunk", "created": 0, "model": body["model"]}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    index = 0
    for part in reply.parts(len(body["messages"])):
        deltas += _deltas(part, index, reply.piece)
        index += isinstance(part, ToolCall)
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    frames: list[dict[str, Any]] = [{**head, "choices": [choice]} for choice in choices]
    if finish:
        frames.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": _REASONS[reply.reason]}]})
        options: dict[str, Any] = body.get("stream_options") or {}
        if options.get("include_usage"):
            frames.append({**head, "choices": [], "usage": _usage(reply)})
    return [*(b"data: " + msgspec.json.encode(frame) + b"\n\n" for frame in frames), DONE]


def document(reply: Reply, body: dict[str, Any]) -> bytes:
    """The whole answer to a request that asked for no stream."""
    parts = reply.parts(len(body["messages"]))
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.thinking:
        message["reasoning_content"] = reply.thinking
    if calls := [_call(part) for part in parts if isinstance(part, ToolCall)]:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": _REASONS[reply.reason]}
    head = {"id": _id(body), "object": "chat.completion", "created": 0, "model": body["model"]}
    return msgspec.json.encode({**head, "choices": [choice], "usage": _usage(reply)})


def _deltas(part: AssistantPart, index: int, size: int) -> list[dict[str, Any]]:
    match part:
        case Text():
            return [{"content": piece} for piece in pieces(part.text, size)]
        case Thinking():
            return [{"reasoning_content": piece} for piece in pieces(part.text, size)]
        case ToolCall():
            start: dict[str, Any] = _call(part)
            start["function"]["arguments"] = ""
            rest = [{"function": {"arguments": piece}} for piece in pieces(part.arguments, size)]
            return [{"tool_calls": [{"index": index, **piece}]} for piece in (start, *rest)]


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _id(body: dict[str, Any]) -> str:
    return f"chatcmpl-{digest(body['messages'])}"


def _usage(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }
