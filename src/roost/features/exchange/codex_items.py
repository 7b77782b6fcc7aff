"""Convert items of the OpenAI Responses API, as in Codex's logs, in both directions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from roost.features.exchange.conversation_items import Report
from roost.features.exchange.json_lines import dicts, mapping, of_data_url, words
from roost.log.content import File, Image, ResultPart, Text, Thinking, ToolCall, UserPart
from roost.models.wire_body import call_id, tool_name

ORIGIN = "codex"
"""Origin of signatures that were read from a log: no model has it, so they are sent to none, and are written back."""
SEARCHED = "[the provider searched; what it found is not in the file]"
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SCAFFOLDING = (
    "<environment_context>",
    "<user_instructions>",
    "<permissions instructions>",
    "<turn_aborted>",
    "# AGENTS.md instructions",
)
"""Beginnings of texts that Codex sends to the model in the user's name (codex-rs/protocol, `*_OPEN_TAG`; txcript's
notes, 2026-08-10)."""


def is_scaffolding(parts: Sequence[UserPart]) -> bool:
    texts = [part.text.lstrip() for part in parts if isinstance(part, Text)]
    return bool(texts) and len(texts) == len(parts) and all(text.startswith(_SCAFFOLDING) for text in texts)


def content(given: Any, report: Report) -> tuple[UserPart, ...]:
    """Convert the content of a message, or of a call's output."""
    parts: list[UserPart] = []
    for one in dicts(given):
        match one.get("type"):
            case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
                parts.append(Text(words(one.get("text"))))
            case "input_image":
                url = words(one.get("image_url"))
                found = of_data_url(url)
                if found is not None:
                    parts.append(Image(*found))
                elif url.startswith(("http://", "https://")):
                    parts.append(Image("image/png", url=url))
                else:
                    report.leave_out("pictures that cannot be read")
            case kind:
                report.leave_out(f"content {kind!s}")
    return tuple(parts)


def output(payload: dict[str, Any], report: Report) -> tuple[tuple[ResultPart, ...], bool]:
    """Return (parts, whether it failed) of a call's output. Older logs put `{content, success}` around the text."""
    given = payload.get("output")
    failed = False
    if inside := mapping(given):
        failed = inside.get("success") is False
        given = inside.get("content")
    if isinstance(given, str):
        return ((Text(given),) if given else ()), failed or _exit_code(given) not in (None, 0)
    return content(given, report), failed


def _exit_code(text: str) -> int | None:
    """Read a command's exit code from its output: JSON with `metadata.exit_code`, or a line with the code."""
    if found := re.search(r"^(?:Exit code|Process exited with code):? (\d{1,9})$", text[:2000], re.MULTILINE):
        return int(found[1])
    if text.startswith("{") and '"exit_code"' in text[-400:]:
        try:
            code = mapping(mapping(json.loads(text)).get("metadata")).get("exit_code")
        except (ValueError, RecursionError):
            return None
        return code if isinstance(code, int) else None
    return None


def reasoning(payload: dict[str, Any]) -> Thinking:
    said = "\n\n".join(words(one.get("text")) for one in dicts(payload.get("summary")))
    signature = words(payload.get("encrypted_content")) or None
    return Thinking(said, signature, ORIGIN if signature else None)


def call(payload: dict[str, Any], number: int) -> tuple[ToolCall, dict[str, Any] | None] | None:
    """Return an item's call, and the note needed to write it back as the same kind of item; None for an item that is no
    call. A call without an id gets one from its `number`."""
    kind = payload.get("type")
    id = words(payload.get("call_id")) or words(payload.get("id")) or f"{kind}_{number}"
    if kind == "function_call":
        return ToolCall(id, words(payload.get("name")) or "tool", words(payload.get("arguments")) or "{}"), None
    if kind == "custom_tool_call":
        given, name = {"input": words(payload.get("input"))}, words(payload.get("name"))
    elif kind in ("local_shell_call", "web_search_call"):
        given, name = mapping(payload.get("action")), kind.removesuffix("_call")
    else:
        return None
    said = ("type", "name", "input", "action")
    rest = {key: value for key, value in payload.items() if key not in said}
    return ToolCall(id, name or "tool", _json(given)), {"note": "call", "call": id, "kind": kind, "rest": rest}


def of_call(part: ToolCall, note: dict[str, Any] | None) -> dict[str, Any]:
    """The inverse of `call`."""
    id, name = call_id(part.id, _ID), tool_name(part.name)
    kind = words((note or {}).get("kind"))
    given = _object(part.arguments)
    rest = mapping((note or {}).get("rest"))
    if kind == "custom_tool_call" and isinstance(given.get("input"), str):
        return {"type": kind, **rest, "call_id": id, "name": name, "input": given["input"]}
    if kind == "local_shell_call":
        return {"type": kind, "status": "completed", **rest, "call_id": id, "action": given}
    if kind == "web_search_call":
        return {"type": kind, "status": "completed", **rest, "action": given}
    return {"type": "function_call", "name": name, "arguments": part.arguments, "call_id": id}


def of_output(id: str, parts: Sequence[ResultPart], report: Report, *, custom: bool) -> dict[str, Any]:
    kind = "custom_tool_call_output" if custom else "function_call_output"
    if all(isinstance(part, Text) for part in parts):
        text = "\n".join(part.text for part in parts if isinstance(part, Text))
        return {"type": kind, "call_id": call_id(id, _ID), "output": text}
    return {"type": kind, "call_id": call_id(id, _ID), "output": of_content(parts, report)}


def of_content(parts: Sequence[UserPart], report: Report) -> list[dict[str, Any]]:
    """The inverse of `content`."""
    found: list[dict[str, Any]] = []
    for part in parts:
        match part:
            case Text():
                found.append({"type": "input_text", "text": part.text})
            case Image():
                url = part.url or f"data:{part.media_type};base64,{part.data}"
                found.append({"type": "input_image", "image_url": url})
            case File() | _:
                report.leave_out(f"media {part.media_type}")
                found.append({"type": "input_text", "text": f"[{part.media_type}: {part.name or 'not in this file'}]"})
    return found


def of_reasoning(part: Thinking) -> dict[str, Any] | None:
    """The inverse of `reasoning`; None for a part that OpenAI has not signed."""
    if not part.signature or not (part.origin == ORIGIN or (part.origin or "").startswith("openai_responses/")):
        return None
    summary = [{"type": "summary_text", "text": part.text}] if part.text else []
    return {"type": "reasoning", "summary": summary, "content": None, "encrypted_content": part.signature}


def _json(given: dict[str, Any]) -> str:
    return json.dumps(given, ensure_ascii=False, separators=(",", ":"))


def _object(text: str) -> dict[str, Any]:
    try:
        return mapping(json.loads(text))
    except (ValueError, RecursionError):
        return {}
