"""The OpenAI chat completions protocol, from the server's side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from roost.log.content import AssistantPart, Audio, Image, Text, Thinking, ToolCall, Video
from roost.stub.answers import pieces
from roost.stub.dialects.base import Asked, Dialect
from roost.stub.dialects.openai_chat_check import check_openai_request
from roost.stub.script import Reply, digest

DONE = b"data: [DONE]\n\n"
_REASONS = {"end": "stop", "tool_calls": "tool_calls", "length": "length", "refusal": "content_filter"}


class OpenAIChat:
    name = "openai_chat"
    path = "/v1/chat/completions"
    models_path = "/v1/models"
    finish_fields = frozenset({"finish_reason"})

    def key(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("authorization", "").removeprefix("Bearer ")

    def check(self, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        check_openai_request(body)

    def stop_words(self, body: dict[str, Any]) -> Sequence[str]:
        stop = body.get("stop") or ()
        return (stop,) if isinstance(stop, str) else stop

    def asked(self, body: dict[str, Any], path: str) -> Asked:
        return Asked(body["model"], bool(body.get("stream")), body["messages"], body)

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]:
        """Return the frames. `[DONE]` is the last, with and without `finish`."""
        head = {"id": _id(asked), "object": "chat.completion.chunk", "created": 0, "model": asked.model}
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        index = 0
        for part in reply.parts(len(asked.messages)):
            deltas += _deltas(part, index, reply.piece)
            index += isinstance(part, ToolCall)
        choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        frames: list[dict[str, Any]] = [{**head, "choices": [choice]} for choice in choices]
        if finish:
            frames.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": _REASONS[reply.reason]}]})
            options: dict[str, Any] = asked.body.get("stream_options") or {}
            if options.get("include_usage"):
                frames.append({**head, "choices": [], "usage": _usage(reply)})
        return [*map(_frame, frames), DONE]

    def document(self, reply: Reply, asked: Asked) -> bytes:
        parts = reply.parts(len(asked.messages))
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
        if reply.thinking:
            message["reasoning_content"] = reply.thinking
        if calls := [_call(part) for part in parts if isinstance(part, ToolCall)]:
            message["tool_calls"] = calls
        if images := [_shown(part) for part in parts if isinstance(part, Image | Video)]:
            message["images"] = images
        for part in parts:
            if isinstance(part, Audio):
                message["content"] = None
                message["audio"] = {"id": "audio_1", "data": part.data, "transcript": reply.text, "expires_at": 0}
        choice = {"index": 0, "message": message, "finish_reason": _REASONS[reply.reason]}
        head = {"id": _id(asked), "object": "chat.completion", "created": 0, "model": asked.model}
        return msgspec.json.encode({**head, "choices": [choice], "usage": _usage(reply)})

    def models(self) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "scripted", "object": "model", "owned_by": "roost"}]}

    def error(self, status: int, message: str, code: str | None = None) -> dict[str, Any]:
        code = code or f"scripted_{status}"
        return {"error": {"message": message, "type": code, "code": code}}

    def error_frame(self, status: int, message: str) -> bytes:
        return _frame({"error": {"message": message, "code": status}})


DIALECT: Dialect = OpenAIChat()


def _frame(data: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


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
        case Audio():
            # Cut between samples, as the server does.
            half = len(part.data) // 8 * 4
            sound: list[dict[str, Any]] = [
                {"id": "audio_1", "data": piece} for piece in (part.data[:half], part.data[half:])
            ]
            return [{"audio": piece} for piece in (*sound, {"expires_at": 0})]
        case Image() | Video():
            return [{"images": [_shown(part)]}]


def _shown(part: Image | Video) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:{part.media_type};base64,{part.data}"}}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _id(asked: Asked) -> str:
    return f"chatcmpl-{digest(asked.messages)}"


def _usage(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.thinking},
    }
