"""What goes over the wire for a request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.log.content import AssistantMessage, Image, Text, Thinking, ToolCall, ToolMessage, UserMessage
from roost.models.compile import compiler
from roost.models.request import Profile, Request, ToolSpec
from roost.models.wire import Endpoint
from roost.models.wire_body import json_object
from roost.models.wires import wire
from roost.stub.dialects.openai_chat_check import check_openai_request
from roost.testing.models import ask, user
from roost.testing.transcript import check_transcript

OPEN = {"type": "object", "properties": {"n": {"type": "integer"}}}
CLOSED = {**OPEN, "required": ["n"], "additionalProperties": False}


def body(request: Request, profile: Profile | None = None, **quirks: Any) -> dict[str, Any]:
    profile = profile or Profile()
    prompt = compiler().compile(request, profile)
    where = Endpoint(base_url="http://host/v1")
    call = wire("openai_chat", quirks).call(prompt, "m", profile, where, stream=request.stream)
    compiled: dict[str, Any] = json.loads(call.body or b"")
    check_openai_request(compiled)
    return compiled


def test_the_least_request() -> None:
    assert body(Request(instruction="", messages=(user("hi"),))) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_every_field() -> None:
    request = ask(
        context=("The date is today.",),
        constraints=("No lies.", "No threats."),
        tools=(ToolSpec("look", "Looks.", OPEN),),
        tool_choice="required",
        output_schema=CLOSED,
        max_output=50,
        temperature=0.5,
        stop=("END",),
    )
    sent = body(request, stream_usage=False)
    system = "Be brief.\n\nThe date is today.\n\nRules:\n- No lies.\n- No threats."
    assert sent["messages"][0] == {"role": "system", "content": system}
    function = {"name": "look", "description": "Looks.", "parameters": OPEN}
    assert sent["tools"] == [{"type": "function", "function": function}]
    assert sent["tool_choice"] == "required"
    assert sent["response_format"]["json_schema"] == {"name": "output", "schema": CLOSED, "strict": True}
    assert (sent["max_tokens"], sent["temperature"], sent["stop"]) == (50, 0.5, ["END"])
    assert "stream_options" not in sent
    sent = body(request, Profile(knobs={"temperature": None}), max_field="max_completion_tokens")
    assert sent["max_completion_tokens"] == 50
    assert not {"max_tokens", "temperature"} & set(sent)


@pytest.mark.parametrize("schema", [OPEN, {**CLOSED, "properties": {"n": OPEN}}, {"anyOf": [CLOSED, OPEN]}])
def test_an_open_schema_is_not_called_strict(schema: dict[str, Any]) -> None:
    assert body(ask(output_schema=schema))["response_format"]["json_schema"]["strict"] is False


ARGUMENTS = [
    '{"a": 1}',
    "",
    " ",
    "{",
    "[1]",
    "null",
    '{"a": NaN}',
    '{"a": "\\ud83d"}',
    "\ud83d",
    "{" * 5000,
    '{"a":1}x',
]


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_a_history_with_any_arguments_is_valid(arguments: str) -> None:
    messages = (
        user("go"),
        AssistantMessage((Thinking("hm"), ToolCall("c1", "rm -rf /", arguments))),
        ToolMessage("c1", "rm -rf /", (), error=True),
        AssistantMessage((Thinking("only"),)),
        user(""),
    )
    sent = body(ask(*messages))
    function = sent["messages"][2]["tool_calls"][0]["function"]
    assert isinstance(json.loads(function["arguments"]), dict)
    assert function["name"] == "rm_-rf__"
    check_transcript(messages)


def test_valid_arguments_go_as_they_are() -> None:
    assert json_object('{ "b":1,  "a":2}') == '{ "b":1,  "a":2}'
    assert json.loads(json_object("{bad")) == {"invalid_arguments": "{bad"}


@given(st.text(st.characters(), max_size=40), st.text(st.characters(), max_size=40))
def test_any_text_can_be_sent(said: str, arguments: str) -> None:
    call = AssistantMessage((Text(said), ToolCall("c", said, arguments)))
    request = ask(user(said), call, ToolMessage("c", said, (Text(said),)), user("next"))
    sent = body(request)
    if said.isascii() and said:
        assert sent["messages"][1]["content"] == said


def test_a_lone_surrogate_is_replaced() -> None:
    assert body(ask(user("a\ud83db")))["messages"][1]["content"] == "a\ufffdb"


def test_images_go_where_the_model_takes_them() -> None:
    image = Image("image/png", "aGk=")
    messages = (
        UserMessage((Text("see"), image)),
        AssistantMessage((ToolCall("a", "f"), ToolCall("b", "f"))),
        ToolMessage("a", "f", (image,)),
        ToolMessage("b", "f", (Text("ok"),)),
    )
    sent = body(ask(*messages), Profile(images=True))["messages"]
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
    assert sent[1]["content"] == [{"type": "text", "text": "see"}, shown]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "tool", "user"]
    assert sent[-1]["content"][1] == shown
    plain = body(ask(*messages))["messages"]
    assert plain[1]["content"] == "see\n[image, image/png]"
    assert plain[3]["content"] == "[image, image/png]"
    check_transcript(messages)


def test_reasoning_goes_back_only_where_the_server_wants_it_and_only_in_the_running_turn() -> None:
    def step(call: str) -> tuple[AssistantMessage, ToolMessage]:
        return AssistantMessage((Thinking(call), ToolCall(call, "f"))), ToolMessage(call, "f", (Text("ok"),))

    messages = (user("1"), *step("old"), AssistantMessage((Text("done"),)), user("2"), *step("new"))
    sent = body(ask(*messages), send_reasoning=True)["messages"]
    assert [message["reasoning_content"] for message in sent if "reasoning_content" in message] == ["new"]
    assert "reasoning_content" not in json.dumps(body(ask(*messages)))


def test_short_ids_are_nine_characters_and_stay_paired() -> None:
    messages = (user("1"), AssistantMessage((ToolCall("call_long_id", "f"),)), ToolMessage("call_long_id", "f", ()))
    sent = body(ask(*messages), short_ids=True)["messages"]
    short = sent[2]["tool_calls"][0]["id"]
    assert len(short) == 9
    assert short.isalnum()
    assert sent[3]["tool_call_id"] == short
