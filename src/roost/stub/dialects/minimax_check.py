"""Check a request as strictly as MiniMax's interfaces do, for tests.

From the schemas in platform.minimax.io and platform.minimaxi.com, read in November 2026. Fields that the server accepts
and ignores, such as stop words, are refused here: a test must see that they have no effect.
"""

from __future__ import annotations

from typing import Any

from roost.stub.dialects.anthropic_check import OLDER, Signed, check_anthropic_request
from roost.stub.dialects.checks import as_dict, as_list, need
from roost.stub.dialects.openai_chat_check import check_openai_request

_TEXT = {
    "model", "messages", "stream", "stream_options", "max_completion_tokens", "temperature", "top_p", "tools",
    "tool_choice", "mask_sensitive_info",
}  # fmt: skip
_CHAT = _TEXT | {"thinking", "reasoning_split"}
_MESSAGES = {
    "model", "messages", "system", "max_tokens", "stream", "temperature", "top_p", "tools", "tool_choice", "metadata",
    "thinking", "service_tier",
}  # fmt: skip


def check_text_request(body: dict[str, Any]) -> None:
    """Raise `AssertionError` with the reason."""
    _check_chat(body, _TEXT, {"text", "image_url"}, "reasoning_content")


def check_chat_request(body: dict[str, Any]) -> None:
    """Raise `AssertionError` with the reason."""
    _check_chat(body, _CHAT, {"text", "image_url", "video_url"}, "reasoning_details")


def check_messages_request(body: dict[str, Any], signed: Signed) -> None:
    """Raise `AssertionError` with the reason. `signed`: returns the signature that reasoning must have."""
    _check_common(body, _MESSAGES)
    need("budget_tokens" not in as_dict(body.get("thinking")), "thinking has no budget")
    plain = {**body, "messages": [_check_blocks(as_dict(message)) for message in as_list(body.get("messages"))]}
    check_anthropic_request({**plain, "temperature": 1}, signed, version=OLDER)


def _check_chat(body: dict[str, Any], keys: set[str], parts: set[str], thought: str) -> None:
    _check_common(body, keys)
    need(body.get("tool_choice", "auto") in ("auto", "none"), "tool_choice is auto or none")
    messages: list[dict[str, Any]] = []
    for message in map(as_dict, as_list(body.get("messages"))):
        for part in map(as_dict, as_list(message.get("content"))):
            need(part.get("type") in parts, f"the type of a part is invalid: {part.get('type')}")
        for detail in as_list(message.get("reasoning_details")):
            fine = as_dict(detail).get("type") == "reasoning.text" and bool(as_dict(detail).get("text"))
            need(fine, "reasoning_details are not as they were")
        need(not ({"reasoning_content", "reasoning_details"} - {thought}) & set(message), f"it wants {thought}")
        messages.append({key: value for key, value in message.items() if key != "reasoning_details"})
    check_openai_request({**body, "messages": messages})


def _check_common(body: dict[str, Any], keys: set[str]) -> None:
    need(not set(body) - keys, f"unknown parameters {sorted(set(body) - keys)}")
    for key in ("temperature", "top_p"):
        need(0 < body.get(key, 1) <= 1, f"{key} is not within (0, 1]")
    need(as_dict(body.get("thinking", {"type": "adaptive"})).get("type") in ("adaptive", "disabled"), "thinking.type")


def _check_blocks(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message in Anthropic's protocol, which this one is modelled on."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_check_block(as_dict(block)) for block in as_list(content)]}


def _check_block(block: dict[str, Any]) -> dict[str, Any]:
    kind = block.get("type")
    need(kind not in ("document", "redacted_thinking"), f"there is no block {kind}")
    if kind == "tool_result":
        return {**block, "content": [_check_block(as_dict(inner)) for inner in as_list(block.get("content"))]}
    return {**block, "type": "image"} if kind == "video" else block
