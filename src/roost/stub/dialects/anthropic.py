"""The Anthropic Messages protocol, from the server's side."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from roost.log.content import Text, Thinking, ToolCall
from roost.stub.answers import pieces
from roost.stub.dialects.anthropic_check import check_anthropic_request
from roost.stub.dialects.base import Asked, Dialect
from roost.stub.script import Reply, digest

_REASONS = {"end": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "refusal": "refusal"}
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Anthropic:
    name = "anthropic"
    path = "/v1/messages"
    models_path = "/v1/models"
    finish_fields = frozenset({"stop_reason"})

    def key(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")

    def check(self, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        version, betas = headers.get("anthropic-version", ""), headers.get("anthropic-beta", "")
        check_anthropic_request(body, signed, version=version, betas=betas)

    def stop_words(self, body: dict[str, Any]) -> Sequence[str]:
        return body.get("stop_sequences") or ()

    def asked(self, body: dict[str, Any], path: str) -> Asked:
        messages: list[dict[str, Any]] = []
        for message in body["messages"]:
            if message["role"] == "system":
                continue  # instructions in mid-conversation belong to no turn
            messages += _plain(message["role"], message["content"])
        return Asked(body["model"], bool(body.get("stream")), messages, body)

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]:
        start: dict[str, Any] = {**_message(asked), "content": [], "stop_reason": None, "stop_sequence": None}
        frames: list[dict[str, Any]] = [
            {"type": "message_start", "message": {**start, "usage": {**_usage(reply), "output_tokens": 1}}},
            {"type": "ping"},
        ]
        for index, (first, deltas) in enumerate(_blocks(reply, asked)):
            frames.append({"type": "content_block_start", "index": index, "content_block": first})
            frames += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
            frames.append({"type": "content_block_stop", "index": index})
        if finish:
            delta = {"stop_reason": _REASONS[reply.reason], "stop_sequence": None}
            frames.append({"type": "message_delta", "delta": delta, "usage": _usage(reply)})
            frames.append({"type": "message_stop"})
        return [_frame(frame) for frame in frames]

    def document(self, reply: Reply, asked: Asked) -> bytes:
        content = [_whole(first, deltas) for first, deltas in _blocks(reply, asked)]
        stop = {"stop_reason": _REASONS[reply.reason], "stop_sequence": None}
        return msgspec.json.encode({**_message(asked), "content": content, **stop, "usage": _usage(reply)})

    def models(self) -> dict[str, Any]:
        return {"data": [{"id": "scripted", "type": "model", "display_name": "Scripted"}], "has_more": False}

    def error(self, status: int, message: str, code: str | None = None) -> dict[str, Any]:
        return {"type": "error", "error": {"type": _TYPES.get(status, "api_error"), "message": message}}

    def error_frame(self, status: int, message: str) -> bytes:
        return _frame(self.error(status, message))


DIALECT: Dialect = Anthropic()


def signed(thinking: str) -> str:
    """Return the stub's signature of reasoning, so that changed reasoning is detected when it comes back."""
    return "sig_" + hashlib.sha256(thinking.encode("utf-8", "replace")).hexdigest()[:32]


def _plain(role: str, content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    results: list[dict[str, Any]] = []
    texts: list[str] = []
    for block in cast("list[dict[str, Any]]", content):
        if block["type"] == "tool_result":
            results.append({"role": "tool", "content": _text(block.get("content"))})
        else:
            texts.append(str(block.get("text") or ""))
    if role == "assistant" or len(texts) or not results:
        return [*results, {"role": role, "content": "".join(texts)}]
    return results


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(block.get("text") or "") for block in cast("list[dict[str, Any]]", content))
    return content or ""


def _blocks(reply: Reply, asked: Asked) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return pairs: the start of a block, and its deltas."""
    sealed = [({"type": "redacted_thinking", "data": reply.sealed}, cast("list[dict[str, Any]]", []))]
    parts = [_block(part, reply.piece) for part in reply.parts(len(asked.messages)) if isinstance(part, _PARTS)]
    return (sealed if reply.sealed else []) + parts


_PARTS = (Text, Thinking, ToolCall)
"""Parts of answers that the protocol has; it has no media."""


def _block(part: Text | Thinking | ToolCall, size: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    match part:
        case Text():
            return {"type": "text", "text": ""}, [
                {"type": "text_delta", "text": piece} for piece in pieces(part.text, size)
            ]
        case Thinking():
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(part.text, size)]
            proof = {"type": "signature_delta", "signature": signed(part.text)}
            return {"type": "thinking", "thinking": "", "signature": ""}, [*deltas, proof]
        case ToolCall():
            start: dict[str, Any] = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
            fragments = ["", *pieces(part.arguments, size)]
            return start, [{"type": "input_json_delta", "partial_json": piece} for piece in fragments]


def _whole(first: dict[str, Any], deltas: list[dict[str, Any]]) -> dict[str, Any]:
    if first["type"] == "tool_use":
        return {**first, "input": msgspec.Raw("".join(delta["partial_json"] for delta in deltas).encode() or b"{}")}
    whole = dict(first)
    for delta in deltas:
        key = delta["type"].removesuffix("_delta")
        whole[key] += delta[key]
    return whole


def _message(asked: Asked) -> dict[str, Any]:
    return {"id": f"msg_{digest(asked.messages)}", "type": "message", "role": "assistant", "model": asked.model}


def _usage(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    return {
        "input_tokens": usage.input - usage.cached - usage.written,
        "cache_read_input_tokens": usage.cached,
        "cache_creation_input_tokens": usage.written,
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.thinking},
    }


def _frame(data: dict[str, Any]) -> bytes:
    return b"event: " + data["type"].encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
