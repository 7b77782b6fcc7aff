"""The strict checks accept what providers accept and name what they refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from roost.log.content import AssistantMessage, Message, Text, ToolCall, ToolMessage
from roost.stub.dialects.openai_chat_check import check_openai_request
from roost.testing.models import user
from roost.testing.transcript import check_transcript


def says(*calls: str, text: str = "") -> AssistantMessage:
    return AssistantMessage((*([Text(text)] if text else []), *(ToolCall(call, "f", "{bad") for call in calls)))


def result(call: str, name: str = "f") -> ToolMessage:
    return ToolMessage(call, name, (Text("ok"),))


def test_what_is_valid_passes() -> None:
    check_transcript([])
    check_transcript([user("a"), says("1", "2"), result("2"), result("1"), says(text="done"), user("b"), user("c")])


INVALID: list[tuple[str, Sequence[Message]]] = [
    ("not the user's", [says(text="hi")]),
    ("not the user's", [result("1")]),
    ("have no result", [user("a"), says("1")]),
    ("have no result before it", [user("a"), says("1"), user("b"), result("1")]),
    ("have no result before it", [user("a"), says("1", "2"), result("1"), says(text="b"), result("2")]),
    ("no call directly before", [user("a"), says("1"), result("1"), result("1")]),
    ("no call directly before", [user("a"), says(text="hi"), result("1")]),
    ("no call directly before", [user("a"), says("1"), result("2")]),
    ("not unique", [user("a"), says("1", "1"), result("1")]),
    ("not unique", [user("a"), says("1"), result("1"), says("1"), result("1")]),
    ("another tool", [user("a"), says("1"), result("1", "g")]),
    ("empty", [user("a"), AssistantMessage(())]),
]


@pytest.mark.parametrize(("reason", "messages"), INVALID)
def test_what_a_provider_would_refuse_is_named(reason: str, messages: Sequence[Message]) -> None:
    with pytest.raises(AssertionError, match=reason):
        check_transcript(messages)


USER = {"role": "user", "content": "hi"}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def calls(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": list(entries)}


def answer(call: str, content: str = "ok") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": content}


def test_a_valid_body_passes() -> None:
    messages = [{"role": "system", "content": "s"}, USER, calls(CALL), answer("1")]
    check_openai_request({"model": "m", "messages": messages, "tools": [TOOL], "tool_choice": "auto"})


BODIES: list[tuple[str, dict[str, Any]]] = [
    ("no model", {"model": ""}),
    ("no messages", {"messages": []}),
    ("no messages", {"messages": "hi"}),
    ("neither the user's", {"messages": [USER, {"role": "assistant", "content": "hi"}]}),
    ("the system speaks", {"messages": [USER, {"role": "system", "content": "s"}, USER]}),
    ("unknown role", {"messages": [{"role": "robot", "content": "s"}]}),
    ("unknown keys", {"messages": [{**USER, "extra": 1}]}),
    ("content is empty", {"messages": [{"role": "user", "content": ""}]}),
    ("content is empty", {"messages": [{"role": "user"}]}),
    ("text part is empty", {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}),
    ("content is empty", {"messages": [USER, calls(CALL), answer("1", "")]}),
    ("not a JSON object", {"messages": [USER, calls({**CALL, "function": {"name": "f", "arguments": "{"}})]}),
    ("not a JSON object", {"messages": [USER, calls({**CALL, "function": {"name": "f", "arguments": {}}})]}),
    ("invalid name", {"messages": [USER, calls({**CALL, "function": {"name": "a b", "arguments": "{}"}})]}),
    ("has no id", {"messages": [USER, calls({**CALL, "id": None})]}),
    ("not unique", {"messages": [USER, calls(CALL, CALL)]}),
    ("list of calls is empty", {"messages": [USER, calls()]}),
    ("have no result before", {"messages": [USER, calls(CALL), USER]}),
    ("no call directly before", {"messages": [USER, answer("1"), USER]}),
    ("one name", {"tools": [TOOL, TOOL]}),
    ("takes no object", {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "null"}}}]}),
    ("is invalid", {"tools": [{"type": "function", "function": {"name": "f f"}}]}),
    ("list of tools is empty", {"tools": []}),
    ("tool_choice without", {"tool_choice": "auto"}),
    ("stream_options without", {"stream_options": {}}),
]


@pytest.mark.parametrize(("reason", "change"), BODIES)
def test_an_invalid_body_is_named(reason: str, change: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match=reason):
        check_openai_request({"model": "m", "messages": [USER], **change})
