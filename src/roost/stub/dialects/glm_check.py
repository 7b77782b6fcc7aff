"""Check a request as strictly as GLM does, for tests.

From the schema in docs.z.ai and docs.bigmodel.cn (Chat Completion), read in November 2026.
"""

from __future__ import annotations

import re
from typing import Any, cast

from roost.stub.dialects.checks import as_dict, need
from roost.stub.dialects.openai_chat_check import check_openai_request

_KEYS = {
    "model", "messages", "stream", "max_tokens", "temperature", "top_p", "do_sample", "thinking", "reasoning_effort",
    "tools", "tool_choice", "tool_stream", "stop", "response_format", "request_id", "user_id",
}  # fmt: skip
_EFFORTS = {"none", "minimal", "low", "medium", "high", "xhigh", "max"}
_PARTS = {"text", "image_url", "video_url", "file_url", "input_audio"}
_DATA = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,.+", re.DOTALL)
MAX_TOOLS = 128


def check_glm_request(body: dict[str, Any]) -> None:
    """Raise `AssertionError` with the reason."""
    need(not set(body) - _KEYS, f"1210: unknown parameters {sorted(set(body) - _KEYS)}")
    for key in ("temperature", "top_p"):
        need(round(body.get(key, 0), 2) == body.get(key, 0), f"1214: {key} has more than two decimal places")
    _range(body, "temperature", 0, 1)
    _range(body, "top_p", 0.01, 1)
    _range(body, "max_tokens", 1, 131_072)
    need(body.get("tool_choice", "auto") == "auto", "1214: tool_choice supports auto only")
    need(len(body.get("tools", ())) <= MAX_TOOLS, f"1214: at most {MAX_TOOLS} tools")
    need("tool_stream" not in body or bool(body.get("stream")), "1215: tool_stream without stream")
    need(len(body.get("stop", ())) <= 1, "1214: only one stop word is supported")
    need(as_dict(body.get("response_format", {"type": "text"})).get("type") in ("text", "json_object"), "1214: format")
    _check_thinking(body)
    check_openai_request(
        {**body, "messages": [_check_message(as_dict(message)) for message in body.get("messages", ())]}
    )


def _check_thinking(body: dict[str, Any]) -> None:
    if "thinking" in body:
        thinking = as_dict(body["thinking"])
        need(not set(thinking) - {"type", "clear_thinking"}, "1214: thinking has unknown parameters")
        need(thinking.get("type") in ("enabled", "disabled"), "1214: thinking.type is invalid")
        need(isinstance(thinking.get("clear_thinking", True), bool), "1214: clear_thinking is no boolean")
    need(body.get("reasoning_effort", "max") in _EFFORTS, "1214: reasoning_effort is invalid")


def _check_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message in the OpenAI protocol, which this one is modelled on."""
    content = message.get("content")
    if "reasoning_content" in message:
        need(message.get("role") == "assistant" and bool(message["reasoning_content"]), "1214: reasoning_content")
    if not isinstance(content, list):
        return message
    need(message.get("role") == "user", "1214: only the user shows media")
    parts: list[dict[str, Any]] = []
    for part in map(as_dict, cast("list[Any]", content)):
        kind = str(part.get("type"))
        need(kind in _PARTS, f"1214: the type of a part is invalid: {kind}")
        if kind.endswith("_url"):
            url = str(as_dict(part.get(kind)).get("url", ""))
            fine = url.startswith(("http://", "https://")) or (kind != "file_url" and _DATA.fullmatch(url) is not None)
            need(fine, f"1214: {kind} is no URL")
        parts.append({"type": "text", "text": "a file"} if kind == "file_url" else part)
    return {**message, "content": parts}


def _range(body: dict[str, Any], key: str, low: float, high: float) -> None:
    value = body.get(key, low)
    need(isinstance(value, int | float) and low <= value <= high, f"1214: {key} is not within {low} and {high}")
