"""The strict check that model providers make on a transcript, so that a test can make it too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, cast

import msgspec

from roost.llm.profile import Profile
from roost.llm.wires.openai_chat.request import compile_messages
from roost.log.content import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ALL = Profile(images=True, audio=True, video=True, files=True)
_PARTS = {"text", "image_url", "input_audio", "audio_url", "video_url", "file"}
_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning_content"}


def check_transcript(messages: Sequence[Message], *, provider: Literal["openai"] = "openai") -> None:
    """Raises `AssertionError` with the reason where a provider would refuse `messages`. An empty transcript passes.

    The first message is the user's; every call is answered exactly once, directly after its message and before anything
    else; no result is an orphan; call ids are unique in the whole transcript; no message is empty; and what the wire of
    `provider` makes of it passes that wire's own check.
    """
    _need(not messages or isinstance(messages[0], UserMessage), "the first message is not the user's")
    open_calls: dict[str, ToolCall] = {}
    seen: set[str] = set()
    for at, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            call = open_calls.pop(message.call, None)
            _need(call is not None, f"message {at}: the result {message.call!r} has no call directly before it")
            _need(call is None or call.name == message.name, f"message {at}: the result is of another tool")
            continue
        _need(not open_calls, f"message {at}: calls {list(open_calls)} have no result before it")
        _need(bool(message.parts), f"message {at}: it is empty")
        if isinstance(message, AssistantMessage):
            for call in message.calls:
                _need(bool(call.id) and call.id not in seen, f"message {at}: the call id {call.id!r} is not unique")
                seen.add(call.id)
                open_calls[call.id] = call
    _need(not open_calls, f"calls {list(open_calls)} have no result")
    if provider == "openai" and messages:
        _check_messages(compile_messages(messages, profile=_ALL))


def check_openai_request(body: dict[str, Any]) -> None:
    """Raises `AssertionError` with the reason where `body` is not a chat completion request that every server takes."""
    _need(isinstance(body.get("model"), str) and bool(body["model"]), "no model is named")
    wire = [_object(message) for message in _list(body.get("messages"))]
    _need(bool(wire), "there are no messages")
    _check_messages(wire)
    _need(wire[-1].get("role") in ("user", "tool"), "the last message is neither the user's nor a tool's")
    names = [_tool_name(tool) for tool in _list(body.get("tools"))]
    _need(len(names) == len(set(names)), "two tools have one name")
    _need("tools" not in body or bool(names), "the list of tools is empty")
    _need(bool(names) or "tool_choice" not in body, "tool_choice without tools")
    _need(bool(body.get("stream")) or "stream_options" not in body, "stream_options without stream")


def _check_messages(messages: list[dict[str, Any]]) -> None:
    open_calls: set[str] = set()
    seen: set[str] = set()
    spoken = False
    for at, message in enumerate(messages):
        role, where = message.get("role"), f"message {at}"
        _need(not set(message) - _KEYS, f"{where}: unknown keys {set(message) - _KEYS}")
        if role == "tool":
            call = message.get("tool_call_id")
            _need(call in open_calls, f"{where}: the result {call!r} has no call directly before it")
            open_calls.discard(cast(str, call))
            _need_content(message.get("content"), where)
            continue
        _need(not open_calls, f"{where}: calls {sorted(open_calls)} have no result before it")
        if role in ("system", "developer"):
            _need(not spoken, f"{where}: the system speaks after the conversation began")
        else:
            _need(role in ("user", "assistant"), f"{where}: unknown role {role!r}")
            _need(spoken or role == "user", f"{where}: the first message is not the user's")
            spoken = True
        if role == "assistant" and "tool_calls" in message:
            open_calls = _check_calls(message["tool_calls"], seen, where)
            _need("content" not in message or message["content"] != "", f"{where}: its content is empty")
        else:
            _need_content(message.get("content"), where)
    _need(not open_calls, f"calls {sorted(open_calls)} have no result")


def _check_calls(calls: Any, seen: set[str], where: str) -> set[str]:
    _need(bool(_list(calls)), f"{where}: its list of calls is empty")
    ids: set[str] = set()
    for call in map(_object, _list(calls)):
        name, number = call.get("id"), len(ids)
        _need(isinstance(name, str) and bool(name), f"{where}: call {number} has no id")
        _need(name not in seen, f"{where}: the call id {name!r} is not unique")
        _need(call.get("type") == "function", f"{where}: call {number} is not of type function")
        function = _object(call.get("function"))
        _need(_NAME.fullmatch(str(function.get("name"))) is not None, f"{where}: call {number} has an invalid name")
        _need(_is_object(function.get("arguments")), f"{where}: the arguments of call {number} are not a JSON object")
        seen.add(cast(str, name))
        ids.add(cast(str, name))
    return ids


def _tool_name(tool: Any) -> str:
    _need(_object(tool).get("type") == "function", "a tool is not of type function")
    function = _object(_object(tool).get("function"))
    name = str(function.get("name"))
    _need(_NAME.fullmatch(name) is not None, f"the tool name {name!r} is invalid")
    parameters = _object(function.get("parameters", {"type": "object"}))
    _need(parameters.get("type") == "object", f"{name!r} takes no object")
    return name


def _need_content(content: Any, where: str) -> None:
    _need(bool(content) and (isinstance(content, str) or bool(_list(content))), f"{where}: its content is empty")
    for part in map(_object, _list(content)):
        _need(part.get("type") in _PARTS, f"{where}: unknown part")
        _need(part["type"] != "text" or bool(part.get("text")), f"{where}: a text part is empty")


def _object(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _is_object(text: Any) -> bool:
    try:
        return isinstance(text, str) and isinstance(msgspec.json.decode(text), dict)
    except (ValueError, RecursionError):
        return False


def _need(fine: bool, reason: str) -> None:
    if not fine:
        raise AssertionError(reason)
