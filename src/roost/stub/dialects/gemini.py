"""The Google Gemini protocol, from the server's side."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from roost.log.content import Audio, Image, Text, Thinking, ToolCall, Video
from roost.models.wire_body import json_object
from roost.stub.answers import pieces
from roost.stub.dialects.base import Asked, Dialect
from roost.stub.dialects.gemini_check import check_gemini_request
from roost.stub.script import Reply, digest

_REASONS = {"end": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY"}
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
Json = dict[str, Any]


class Gemini:
    name = "gemini"
    path = "/{version}/models/{call:path}"
    models_path = "/v1beta/models"
    finish_fields = frozenset({"finishReason"})

    def key(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-goog-api-key")

    def check(self, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        check_gemini_request(body, signed)

    def stop_words(self, body: dict[str, Any]) -> Sequence[str]:
        config = cast("dict[str, Any]", body.get("generationConfig") or {})
        return config.get("stopSequences") or ()

    def asked(self, body: dict[str, Any], path: str) -> Asked:
        model, _, method = path.rpartition("/models/")[2].rpartition(":")
        messages = [message for content in body["contents"] for message in _plain(content)]
        return Asked(model, method == "streamGenerateContent", messages, body)

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]:
        parts = _parts(reply, asked, reply.piece)
        frames = [_response(asked, [part], {"promptTokenCount": reply.usage.input}) for part in parts[:-1]]
        end = {"finishReason": _REASONS[reply.reason]} if finish else {}
        frames.append(_response(asked, parts[-1:], _usage(reply) if finish else {}, **end))
        return [_frame(frame) for frame in frames]

    def document(self, reply: Reply, asked: Asked) -> bytes:
        reason = _REASONS[reply.reason]
        return msgspec.json.encode(_response(asked, _parts(reply, asked, 1 << 30), _usage(reply), finishReason=reason))

    def models(self) -> Json:
        return {"models": [{"name": "models/scripted"}]}

    def error(self, status: int, message: str, code: str | None = None) -> dict[str, Any]:
        name = _STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "UNAVAILABLE")
        return {"error": {"code": status, "message": message, "status": name}}

    def error_frame(self, status: int, message: str) -> bytes:
        return _frame(self.error(status, message))


DIALECT: Dialect = Gemini()


def signed(part: Json) -> str:
    """Return the stub's signature of a part, so that a changed or moved part is detected when it comes back."""
    call = part.get("functionCall")
    content: Any = [call["name"], call.get("args")] if call else part.get("text", "")
    return base64.b64encode(hashlib.sha256(msgspec.json.encode(content, order="sorted")).digest()).decode()


def _plain(content: Json) -> list[Json]:
    parts = cast("list[Json]", content["parts"])
    results = [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]
    if results:
        return [{"role": "tool", "content": str(next(iter(result.values()), ""))} for result in results]
    text = "".join(str(part.get("text") or "") for part in parts if not part.get("thought"))
    return [{"role": "assistant" if content.get("role") == "model" else "user", "content": text}]


def _parts(reply: Reply, asked: Asked, size: int) -> list[Json]:
    """Return parts as the model sends them: the first call is signed, else a part without text at the end."""
    parts: list[Json] = []
    thinks, signs = bool(reply.thinking or reply.sealed), False
    for part in reply.parts(len(asked.messages)):
        match part:
            case Text():
                parts += [{"text": piece} for piece in pieces(part.text, size)]
            case Thinking():
                parts += [{"text": piece, "thought": True} for piece in pieces(part.text, size)]
            case ToolCall():
                args = msgspec.json.decode(json_object(part.arguments))
                call: Json = {"functionCall": {"name": part.name, "args": args, "id": part.id}}
                if thinks and not signs:
                    call["thoughtSignature"] = signed(call)
                    signs = True
                parts.append(call)
            case Image() | Audio() | Video():
                parts.append({"inlineData": {"mimeType": part.media_type, "data": part.data}})
    if thinks and not signs:
        parts.append({"text": "", "thoughtSignature": signed({"text": ""})})
    return parts or [{"text": ""}]


def _response(asked: Asked, parts: list[Json], usage: Json, **end: Any) -> Json:
    candidate: Json = {"content": {"role": "model", "parts": parts}, "index": 0, **end}
    head = {"modelVersion": asked.model, "responseId": digest(asked.messages)}
    return {"candidates": [candidate], "usageMetadata": usage, **head}


def _usage(reply: Reply) -> Json:
    usage = reply.usage
    return {
        "promptTokenCount": usage.input,
        "cachedContentTokenCount": usage.cached,
        "candidatesTokenCount": usage.output - usage.thinking,
        "thoughtsTokenCount": usage.thinking,
        "totalTokenCount": usage.input + usage.output,
    }


def _frame(data: Json) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\r\n\r\n"
