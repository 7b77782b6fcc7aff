"""What a request is for, where the agent does not say."""

from __future__ import annotations

import pytest

from roost.log.content import AssistantMessage, Text, ToolCall, ToolMessage, UserMessage
from roost.models.request import Intent, Request, ToolSpec
from roost.routing.guess import LONG
from roost.routing.request_features import features

TOOLS = (ToolSpec("look", "Look.", {"type": "object"}),)


def asked(text: str, *, tools: tuple[ToolSpec, ...] = TOOLS, intent: Intent | None = None) -> Request:
    return Request(instruction="", messages=(UserMessage((Text(text),)),), tools=tools, intent=intent)


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("hello", None),
        ("What is the capital of Italy?", None),
        ("Plan a trip to Rome", "plan"),
        ("Compare these three offers", "plan"),
        ("word " * LONG, "plan"),
        ("Fix the bug in src/app.py", "code_generation"),
        ("Write a Python function that sorts", "code_generation"),
        ("他说：写一个函数", "code_generation"),
        ("a planet in the explanation", None),
    ],
)
def test_the_newest_message_says_what_a_request_is_for(text: str, intent: Intent | None) -> None:
    assert features(asked(text)).intent == intent


def test_the_outcome_of_tools_is_execution() -> None:
    first = asked("Plan a trip")
    call = AssistantMessage((ToolCall("c1", "look", "{}"),))
    done = ToolMessage("c1", "look", (Text("seen"),))
    request = Request(instruction="", messages=(*first.messages, call, done), tools=TOOLS)
    assert features(request).intent == "execute"


def test_what_the_agent_says_counts_and_a_request_without_tools_is_talk() -> None:
    assert features(asked("Plan a trip", intent="review")).intent == "review"
    assert features(asked("Plan a trip", tools=())).intent is None
