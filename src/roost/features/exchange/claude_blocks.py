"""Convert content blocks of the Anthropic Messages API, as in Claude Code's logs, in both directions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from roost.features.exchange.conversation_items import Report, Result
from roost.features.exchange.json_lines import dicts, is_base64, mapping, words
from roost.log.content import AssistantPart, File, Image, Text, Thinking, ToolCall, UserPart
from roost.models.wire_body import call_id, json_object, tool_name

ORIGIN = "claude-code"
"""Origin of signatures that were read from a log: no model has it, so they are sent to none, and are written back."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


def text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(words(block.get("text")) for block in dicts(content) if block.get("type") == "text")


def user_parts(given: Sequence[dict[str, Any]], report: Report) -> tuple[UserPart, ...]:
    parts: list[UserPart] = []
    for block in given:
        part = _plain(block)
        if part is None:
            report.leave_out(f"block {block.get('type')!s}")
        else:
            parts.append(part)
    return tuple(parts)


def result(block: dict[str, Any], at: float, report: Report) -> Result:
    content = block.get("content")
    parts = user_parts([{"type": "text", "text": content}] if words(content) else dicts(content), report)
    call = words(block.get("tool_use_id"))
    return Result(at=at, call=call, parts=parts, error=block.get("is_error") is True)


def assistant_parts(content: Any, report: Report) -> list[AssistantPart]:
    if isinstance(content, str):
        return [Text(content)] if content else []
    parts: list[AssistantPart] = []
    for block in dicts(content):
        match block.get("type"):
            case "text":
                parts.append(Text(words(block.get("text"))))
            case "thinking":
                signature = words(block.get("signature")) or None
                parts.append(Thinking(words(block.get("thinking")), signature, ORIGIN if signature else None))
            case "redacted_thinking":
                parts.append(Thinking("", words(block.get("data")) or None, ORIGIN, True))
            case "tool_use":
                arguments = json.dumps(block.get("input", {}), ensure_ascii=False, separators=(",", ":"))
                parts.append(ToolCall(words(block.get("id")), words(block.get("name")) or "tool", arguments))
            case kind:
                report.leave_out(f"block {kind!s}")
    return parts


def _plain(block: dict[str, Any]) -> Text | Image | File | None:
    source = mapping(block.get("source"))
    kind, media_type, data = block.get("type"), words(source.get("media_type")), words(source.get("data"))
    if kind == "text":
        return Text(words(block.get("text")))
    if kind not in ("image", "document"):
        return None
    make, otherwise = (Image, "image/png") if kind == "image" else (File, "application/pdf")
    name = words(block.get("title")) or None
    if source.get("type") == "base64" and is_base64(data):
        return make(media_type or otherwise, data, name=name)
    if source.get("type") == "url" and words(source.get("url")):
        return make(media_type or otherwise, url=source["url"], name=name)
    if kind == "document" and source.get("type") == "text":
        return Text(data)
    return None


def of_user(parts: Sequence[UserPart], report: Report) -> list[dict[str, Any]]:
    """The inverse of `user_parts`."""
    found: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, Text):
            found.append({"type": "text", "text": part.text})
        elif isinstance(part, Image) or (isinstance(part, File) and part.media_type == "application/pdf"):
            source = {"type": "url", "url": part.url} if part.url else _base64(part)
            title = {"title": part.name} if part.name and isinstance(part, File) else {}
            found.append({"type": "image" if isinstance(part, Image) else "document", "source": source, **title})
        else:
            report.leave_out(f"media {part.media_type}")
            found.append({"type": "text", "text": f"[{part.media_type}: {part.name or 'not in this file'}]"})
    return found


def of_answer(part: AssistantPart, report: Report) -> dict[str, Any] | None:
    """Return a block of an answer; None for a part that only another program may send to this model again."""
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case ToolCall():
            given = json.loads(json_object(part.arguments))
            return {"type": "tool_use", "id": call_id(part.id, _ID), "name": tool_name(part.name), "input": given}
        case Thinking() if part.redacted and part.signature and _readable(part.origin):
            return {"type": "redacted_thinking", "data": part.signature}
        case Thinking() if part.signature and _readable(part.origin):
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}
        case Thinking():
            report.leave_out("reasoning that Anthropic has not signed")
        case _:
            report.leave_out(f"media {part.media_type} of the model")
    return None


def of_result(item: Result, report: Report) -> dict[str, Any]:
    found = of_user(item.parts, report)
    content = found[0]["text"] if len(found) == 1 and found[0]["type"] == "text" else found
    block = {"tool_use_id": call_id(item.call, _ID), "type": "tool_result", "content": content or ""}
    return {**block, "is_error": True} if item.error else block


def _readable(origin: str | None) -> bool:
    return origin == ORIGIN or (origin or "").startswith("anthropic/")


def _base64(part: Image | File) -> dict[str, Any]:
    return {"type": "base64", "media_type": part.media_type, "data": part.data}
