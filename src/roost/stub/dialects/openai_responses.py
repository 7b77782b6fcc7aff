"""The OpenAI Responses protocol, from the server's side."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from roost.log.content import AssistantPart, Audio, Image, Text, Thinking, ToolCall, Video
from roost.stub.answers import pieces
from roost.stub.dialects.base import Asked, Dialect
from roost.stub.dialects.openai_responses_check import check_responses_request
from roost.stub.script import Reply, digest

_INCOMPLETE = {"length": "max_output_tokens", "refusal": "content_filter"}
_CODES = {
    401: "invalid_api_key",
    402: "insufficient_quota",
    403: "permission_denied",
    404: "not_found",
    413: "request_too_large",
    429: "rate_limit_exceeded",
}
Frame = dict[str, Any]


class OpenAIResponses:
    name = "openai_responses"
    path = "/v1/responses"
    finish_fields = frozenset({"status"})

    def key(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("authorization", "").removeprefix("Bearer ")

    def check(self, body: dict[str, Any], headers: Mapping[str, str]) -> None:
        check_responses_request(body, signed)

    def stop_words(self, body: dict[str, Any]) -> Sequence[str]:
        return ()  # the protocol has none

    def asked(self, body: dict[str, Any], path: str) -> Asked:
        return Asked(body["model"], bool(body.get("stream")), _plain(body["input"]), body)

    def frames(self, reply: Reply, asked: Asked, *, finish: bool = True) -> list[bytes]:
        open_response: Frame = {**_response(asked, "in_progress"), "output": [], "usage": None}
        frames: list[Frame] = [
            {"type": "response.created", "response": open_response},
            {"type": "response.in_progress", "response": open_response},
        ]
        items = _items(reply, asked)
        for index, item in enumerate(items):
            frames += [{"output_index": index, **frame} for frame in _item_frames(item, reply.piece)]
        if finish:
            whole = _whole(reply, asked, items)
            frames.append({"type": f"response.{whole['status']}", "response": whole})
        return [_frame({**frame, "sequence_number": number}) for number, frame in enumerate(frames)]

    def document(self, reply: Reply, asked: Asked) -> bytes:
        return msgspec.json.encode(_whole(reply, asked, _items(reply, asked)))

    def error(self, status: int, message: str, code: str | None = None) -> dict[str, Any]:
        kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
        code = code or _CODES.get(status, "server_error" if status >= 500 else None)
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    def error_frame(self, status: int, message: str) -> bytes:
        code = _CODES.get(status, "server_error" if status >= 500 else "invalid_prompt")
        return _frame({"type": "error", "code": code, "message": message, "param": None, "sequence_number": 0})


DIALECT: Dialect = OpenAIResponses()


def signed(thinking: str) -> str:
    """Return the stub's encrypted form of reasoning, so that changed reasoning is detected when it comes back."""
    return "gAAAA" + hashlib.sha256(thinking.encode("utf-8", "replace")).hexdigest()


def _plain(items: Any) -> list[dict[str, Any]]:
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    messages: list[dict[str, Any]] = []
    for item in cast("list[dict[str, Any]]", items):
        match item.get("type", "message"):
            case "message":
                messages.append({"role": item["role"], "content": _text(item["content"])})
            case "function_call_output":
                messages.append({"role": "tool", "content": _text(item["output"])})
            case "function_call" if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": ""})
            case _:
                pass
    return messages


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text") or "") for part in cast("list[dict[str, Any]]", content))


def _items(reply: Reply, asked: Asked) -> list[Frame]:
    items: list[Frame] = [_reasoning("", reply.sealed)] if reply.sealed else []
    items += [_item(part, refused=reply.stop == "refusal") for part in reply.parts(len(asked.messages))]
    for index, item in enumerate(items):
        item["id"] = f"{item['type'][:2]}_{digest(asked.messages)}_{index}"
    return items


def _item(part: AssistantPart, *, refused: bool) -> Frame:
    match part:
        case Text():
            output: Frame = {"type": "output_text", "text": part.text, "annotations": [], "logprobs": []}
            content: Frame = {"type": "refusal", "refusal": part.text} if refused else output
            return {"type": "message", "role": "assistant", "status": "completed", "content": [content]}
        case Thinking():
            return _reasoning(part.text, signed(part.text))
        case ToolCall():
            call = {"call_id": part.id, "name": part.name, "arguments": part.arguments}
            return {"type": "function_call", "status": "completed", **call}
        case Image() | Audio() | Video():
            form = part.media_type.partition("/")[2]
            made = {"result": part.data, "output_format": form}
            return {"type": "image_generation_call", "status": "completed", **made}


def _reasoning(text: str, sealed: str) -> Frame:
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"type": "reasoning", "summary": summary, "encrypted_content": sealed}


def _item_frames(item: Frame, size: int) -> list[Frame]:
    start: Frame
    frames: list[Frame]
    match item["type"]:
        case "message":
            start, frames = {"status": "in_progress", "content": []}, _text_frames(item["content"][0], size)
        case "function_call":
            start, kind, text = {"arguments": ""}, "response.function_call_arguments", item["arguments"]
            frames = [{"type": f"{kind}.delta", "delta": piece} for piece in pieces(text, size)]
            frames.append({"type": f"{kind}.done", "name": item["name"], "arguments": text})
        case "image_generation_call":
            start, frames = {"result": None, "status": "in_progress"}, []
        case _:
            # The added item is incomplete: the rest comes as deltas.
            start = {"summary": [], "encrypted_content": item["encrypted_content"][:8]}
            frames = [frame for at, part in enumerate(item["summary"]) for frame in _thought(part, at, size)]
    added: Frame = {"type": "response.output_item.added", "item": {**item, **start}}
    inner: list[Frame] = [{"item_id": item["id"], **frame} for frame in frames]
    return [added, *inner, {"type": "response.output_item.done", "item": item}]


def _text_frames(content: Frame, size: int) -> list[Frame]:
    key, kind = ("text", "output_text") if "text" in content else ("refusal", "refusal")
    at: Frame = {"content_index": 0, "logprobs": []} if key == "text" else {"content_index": 0}
    return [
        {"type": "response.content_part.added", **at, "part": {**content, key: ""}},
        *({"type": f"response.{kind}.delta", **at, "delta": piece} for piece in pieces(content[key], size)),
        {"type": f"response.{kind}.done", **at, key: content[key]},
        {"type": "response.content_part.done", **at, "part": content},
    ]


def _thought(part: Frame, index: int, size: int) -> list[Frame]:
    at, kind = {"summary_index": index}, "response.reasoning_summary"
    return [
        {"type": f"{kind}_part.added", **at, "part": {**part, "text": ""}},
        *({"type": f"{kind}_text.delta", **at, "delta": piece} for piece in pieces(part["text"], size)),
        {"type": f"{kind}_text.done", **at, "text": part["text"]},
        {"type": f"{kind}_part.done", **at, "part": part},
    ]


def _whole(reply: Reply, asked: Asked, items: list[Frame]) -> Frame:
    reason = None if reply.stop == "refusal" and reply.text else _INCOMPLETE.get(reply.reason)
    status = "incomplete" if reason else "completed"
    details = {"reason": reason} if reason else None
    return {**_response(asked, status), "output": items, "incomplete_details": details, "usage": _usage(reply)}


def _response(asked: Asked, status: str) -> Frame:
    body = asked.body
    return {
        "id": f"resp_{digest(asked.messages)}",
        "object": "response",
        "created_at": 0,
        "status": status,
        "model": asked.model,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "top_p": 1.0,
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
    }


def _usage(reply: Reply) -> Frame:
    usage = reply.usage
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.written},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.thinking},
        "total_tokens": usage.input + usage.output,
    }


def _frame(data: Frame) -> bytes:
    return b"event: " + data["type"].encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
