"""Check a request of OpenAI's chat completions as strictly as its servers do."""

from __future__ import annotations

import re
from typing import Any, cast

import msgspec

from roost.stub.dialects.checks import as_dict, as_list, need

_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning_content"}
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PARTS = {"text", "image_url", "input_audio", "audio_url", "video_url", "file"}


def check_openai_request(body: dict[str, Any]) -> None:
    """Raise `AssertionError` with the reason unless every server would accept this chat completion request."""
    need(isinstance(body.get("model"), str) and bool(body["model"]), "no model is named")
    wire = [as_dict(message) for message in as_list(body.get("messages"))]
    need(bool(wire), "there are no messages")
    check_messages(wire)
    need(wire[-1].get("role") in ("user", "tool"), "the last message is neither the user's nor a tool's")
    names = [_tool_name(tool) for tool in as_list(body.get("tools"))]
    need(len(names) == len(set(names)), "two tools have one name")
    need("tools" not in body or bool(names), "the list of tools is empty")
    need(bool(names) or "tool_choice" not in body, "tool_choice without tools")
    need(bool(body.get("stream")) or "stream_options" not in body, "stream_options without stream")


def check_messages(messages: list[dict[str, Any]]) -> None:
    open_calls: set[str] = set()
    seen: set[str] = set()
    spoken = False
    for at, message in enumerate(messages):
        role, where = message.get("role"), f"message {at}"
        need(not set(message) - _KEYS, f"{where}: unknown keys {set(message) - _KEYS}")
        if role == "tool":
            call = message.get("tool_call_id")
            need(call in open_calls, f"{where}: the result {call!r} has no call directly before it")
            open_calls.discard(cast(str, call))
            _need_content(message.get("content"), where)
            continue
        need(not open_calls, f"{where}: calls {sorted(open_calls)} have no result before it")
        if role in ("system", "developer"):
            need(not spoken, f"{where}: the system speaks after the conversation began")
        else:
            need(role in ("user", "assistant"), f"{where}: unknown role {role!r}")
            need(spoken or role == "user", f"{where}: the first message is not the user's")
            spoken = True
        if role == "assistant" and "tool_calls" in message:
            open_calls = _check_calls(message["tool_calls"], seen, where)
            need("content" not in message or message["content"] != "", f"{where}: its content is empty")
        else:
            _need_content(message.get("content"), where)
    need(not open_calls, f"calls {sorted(open_calls)} have no result")


def _check_calls(calls: Any, seen: set[str], where: str) -> set[str]:
    need(bool(as_list(calls)), f"{where}: its list of calls is empty")
    ids: set[str] = set()
    for call in map(as_dict, as_list(calls)):
        name, number = call.get("id"), len(ids)
        need(isinstance(name, str) and bool(name), f"{where}: call {number} has no id")
        need(name not in seen, f"{where}: the call id {name!r} is not unique")
        need(call.get("type") == "function", f"{where}: call {number} is not of type function")
        function = as_dict(call.get("function"))
        need(_NAME.fullmatch(str(function.get("name"))) is not None, f"{where}: call {number} has an invalid name")
        need(_is_object(function.get("arguments")), f"{where}: the arguments of call {number} are not a JSON object")
        seen.add(cast(str, name))
        ids.add(cast(str, name))
    return ids


def _tool_name(tool: Any) -> str:
    need(as_dict(tool).get("type") == "function", "a tool is not of type function")
    function = as_dict(as_dict(tool).get("function"))
    name = str(function.get("name"))
    need(_NAME.fullmatch(name) is not None, f"the tool name {name!r} is invalid")
    parameters = as_dict(function.get("parameters", {"type": "object"}))
    need(parameters.get("type") == "object", f"{name!r} takes no object")
    return name


def _need_content(content: Any, where: str) -> None:
    need(bool(content) and (isinstance(content, str) or bool(as_list(content))), f"{where}: its content is empty")
    for part in map(as_dict, as_list(content)):
        need(part.get("type") in _PARTS, f"{where}: unknown part")
        need(part["type"] != "text" or bool(part.get("text")), f"{where}: a text part is empty")


def _is_object(text: Any) -> bool:
    try:
        return isinstance(text, str) and isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        return False
